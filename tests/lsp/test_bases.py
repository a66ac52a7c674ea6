"""A running server and the base that its profile uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gguf_maker import make_base
from neuralforge_adapters.home import Home
from neuralforge_server.base_change import change_base
from neuralforge_server.lsp_client import LspClient

Starter = Callable[..., Awaitable[LspClient]]

URI = "file:///a.py"


async def test_a_base_chosen_elsewhere_is_loaded_at_once(
    start: Starter, home: Home, tmp_path: Path
) -> None:
    path = make_base(tmp_path / "other.gguf", layers=1, width=64, heads=2, kv_heads=1, hidden=128,
                     vocabulary=12_288)  # fmt: skip
    editor = await start()
    editor.open(URI, "import o")
    await editor.complete(URI, (0, 8))
    await asyncio.to_thread(change_base, path, home, now=False)
    status: dict[str, Any] = {"base": ""}
    while status["base"] != str(path) or status["state"] != "ready":
        status = (await editor.execute("neuralforge.status"))["engine"]
    assert status["info"]["name"] == "random"


async def test_a_context_longer_than_the_bases_is_taken_down_and_said(start: Starter) -> None:
    editor = await start(settings={"engine": {"context_tokens": 65_536}})
    told = await editor.wait_for("window/showMessage", lambda p: "taken down" in p["message"])
    assert "engine.context_tokens (65536)" in told["message"]
    info = (await editor.execute("neuralforge.status"))["engine"]["info"]
    assert info["context"] == info["trained_context"] < 65_536
