"""Settings on their way from the client: asked for, pushed, wrong, changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from neuralforge_adapters.base import embedded_base
from neuralforge_adapters.home import Home
from neuralforge_server.lsp_client import LspClient

Starter = Callable[..., Awaitable[LspClient]]

URI = "file:///a.py"
TEXT = "def add(first, second):\n    return "
END = (1, 11)
PLAIN = {"textDocument": {"inlineCompletion": {}}}
"""Capabilities of a client that cannot be asked for its configuration."""


def messages(editor: LspClient) -> list[str]:
    return [
        n["params"]["message"] for n in editor.notifications if n["method"] == "window/showMessage"
    ]


async def until(editor: LspClient, done: Callable[[list[Any]], bool]) -> None:
    """Complete again until the answer shows that a change has arrived."""
    while not done(await editor.complete(URI, END)):
        pass


async def test_a_bad_value_is_named_once_and_its_default_used(start: Starter) -> None:
    editor = await start(
        settings={"completion": {"max_lines": 99, "max_tokens": 4, "colour": "red"}}
    )
    editor.open(URI, TEXT)
    assert await editor.complete(URI, END)
    await editor.wait_for("window/showMessage", lambda p: "colour" in p["message"])
    editor.notify("workspace/didChangeConfiguration", {"settings": None})
    await editor.execute("neuralforge.status")
    assert sorted(m.split(" ")[0] for m in messages(editor)) == [
        "neuralforge.completion.colour",
        "neuralforge.completion.max_lines",
    ]


async def test_options_of_initialize_serve_a_client_that_cannot_be_asked(start: Starter) -> None:
    options = {"completion": {"enabled": False}}
    editor = await start(initialize={"capabilities": PLAIN, "options": options})
    editor.open(URI, TEXT)
    assert await editor.complete(URI, END) == []
    pushed = {"neuralforge": {"completion": {"enabled": True}}}
    editor.notify("workspace/didChangeConfiguration", {"settings": pushed})
    await until(editor, lambda items: bool(items))


async def test_a_change_is_asked_for_and_acts_at_once(start: Starter) -> None:
    editor = await start()
    editor.open(URI, TEXT)
    assert await editor.complete(URI, END)
    editor.settings = {"completion": {"enabled": False}}
    editor.notify("workspace/didChangeConfiguration", {"settings": None})
    await until(editor, lambda items: not items)


async def test_a_profile_keeps_its_own_log(start: Starter, home: Home, tmp_path: Path) -> None:
    editor = await start(settings={"profile": "work"})
    uri = (tmp_path / "a.py").as_uri()
    editor.open(uri, TEXT)
    assert await editor.complete(uri, END)
    assert (await editor.execute("neuralforge.status"))["profile"] == "work"
    assert Home(home.root, "work").session_log.exists()
    assert not home.session_log.exists()


async def test_another_base_is_loaded_without_a_restart(start: Starter, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(embedded_base().read_bytes())
    editor = await start()
    editor.open(URI, TEXT)
    before = await editor.complete(URI, END)
    editor.settings = {"engine": {"base": str(copy), "context_tokens": 512}}
    editor.notify("workspace/didChangeConfiguration", {"settings": None})
    status: dict[str, Any] = {"base": ""}
    while status["base"] != str(copy) or status["state"] != "ready":
        status = (await editor.execute("neuralforge.status"))["engine"]
    assert status["info"]["context"] == 512
    editor.close(URI)
    editor.open(URI, TEXT)
    after = await editor.complete(URI, END)
    assert [i["insertText"] for i in after] == [i["insertText"] for i in before]


@pytest.mark.parametrize("running", [True, False])
async def test_a_base_that_cannot_be_loaded_gives_way_to_the_one_before(
    start: Starter, tmp_path: Path, running: bool
) -> None:
    whole = embedded_base().read_bytes()
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(whole[: len(whole) // 2])
    broken = {"engine": {"base": str(truncated)}}
    editor = await start(settings={} if running else broken)
    editor.open(URI, TEXT)
    if running:
        assert await editor.complete(URI, END)
        editor.settings = broken
        editor.notify("workspace/didChangeConfiguration", {"settings": None})
    told = await editor.wait_for("window/showMessage", lambda p: str(truncated) in p["message"])
    assert f"{embedded_base()} is served again" in told["message"]
    editor.change(URI, "first + s", END)
    assert await editor.complete(URI, (1, 20))
    status = (await editor.execute("neuralforge.status"))["engine"]
    assert (status["base"], status["state"]) == (str(embedded_base()), "ready")


@pytest.mark.parametrize("inline", [True, False])
async def test_the_menu_can_be_asked_for_besides_inline_completion(
    start: Starter, inline: bool
) -> None:
    editor = await start(
        initialize={
            "capabilities": PLAIN if inline else {},
            "options": {"completion": {"popup": inline}},
        }
    )
    assert "completionProvider" in editor.capabilities
