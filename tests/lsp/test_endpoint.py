"""A server that computes elsewhere: typing goes on, whatever the endpoint does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from endpoint import Answer, Endpoint, hang, healthy, nonsense, reset, running
from neuralforge_adapters.home import Home
from neuralforge_server.engine.remote import KEY_VARIABLE
from neuralforge_server.lsp_client import LspClient

KEY = "sk-very-secret"
Starter = Callable[..., Awaitable[LspClient]]


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with running() as served:
        yield served


async def test_suggestions_come_from_the_endpoint_and_the_key_is_nowhere_else(
    start: Starter, endpoint: Endpoint, source: Path, home: Home
) -> None:
    editor = await start("serve", "--engine", endpoint.url, environment={KEY_VARIABLE: KEY})
    editor.open(source.as_uri(), "x = pri")
    (item,) = await completed(editor, source)
    assert item["insertText"] == "nt(1)"
    status = await editor.execute("neuralforge.status")
    await editor.stop()
    assert status["engine"]["info"]["name"] == "stand-in"
    assert f"Bearer {KEY}" in endpoint.received[-1].head
    written = [p for p in home.root.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert written == []


async def test_the_endpoint_can_be_a_setting(
    start: Starter, endpoint: Endpoint, source: Path
) -> None:
    settings = {"engine": {"endpoint": endpoint.url}}
    editor = await start(settings=settings)
    editor.open(source.as_uri(), "x = pri")
    (item,) = await completed(editor, source)
    assert item["insertText"] == "nt(1)"


@pytest.mark.parametrize("failure", [hang, reset, nonsense])
async def test_typing_goes_on_while_an_endpoint_fails_and_one_message_says_so(
    start: Starter, endpoint: Endpoint, source: Path, failure: Answer
) -> None:
    editor = await start("serve", "--engine", endpoint.url)
    editor.open(source.as_uri(), "x = pri")
    await completed(editor, source)
    endpoint.answer = failure
    settings: dict[str, Any] = {"completion": {"deadline_ms": 50}}
    editor.notify("workspace/didChangeConfiguration", {"settings": settings})
    editor.settings = settings
    for number in range(4):
        editor.change(source.as_uri(), f"{number}", (0, 0))
        assert await editor.complete(source.as_uri(), (0, 8 + number)) == []
    await editor.wait_for("window/showMessage", lambda p: endpoint.url in p["message"])
    endpoint.answer = healthy
    editor.change(source.as_uri(), "y", (0, 0))
    assert await completed(editor, source, 12)
    shown = [n for n in editor.notifications if n["method"] == "window/showMessage"]
    assert len([n for n in shown if endpoint.url in n["params"]["message"]]) == 1


async def completed(editor: LspClient, source: Path, column: int = 7) -> list[dict[str, Any]]:
    """The first suggestion that comes, once the endpoint has been found."""
    async with asyncio.timeout(20):
        while True:
            if items := await editor.complete(source.as_uri(), (0, column)):
                return items
