"""The status line: sent to clients that ask for it, when something has changed, and to no other."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gguf_maker import make_adapter
from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import TrainerState, write_state
from neuralforge_server.lsp_client import DEFAULT_CAPABILITIES, LspClient

Starter = Callable[..., Awaitable[LspClient]]

METHOD = "neuralforge/status"
ASKS = {"capabilities": {**DEFAULT_CAPABILITIES, "experimental": {"neuralforge": {"status": True}}}}
TEXT = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"
ALONE: dict[str, Any] = {"memory": {"scale": 0}, "context": {"enabled": False}}


async def test_engine_stack_latency_and_acceptance_are_told_as_they_change(
    start: Starter, source: Path, tmp_path: Path
) -> None:
    editor = await start(initialize=ASKS, settings=ALONE)
    first = await editor.wait_for(METHOD, lambda p: p["engine"]["state"] == "ready")
    assert (first["enabled"], first["stack"], first["latency_ms"]) == (True, [], None)
    assert (first["shown"], first["acceptance"]) == (0, None)
    editor.open(source.as_uri(), TEXT)
    (item,) = await editor.complete(source.as_uri(), (5, 17))
    assert (await editor.wait_for(METHOD, lambda p: p["latency_ms"] is not None))["latency_ms"] >= 0
    editor.change(source.as_uri(), item["insertText"], (5, 17))
    await editor.accept(item)
    await editor.wait_for(METHOD, lambda p: p["acceptance"] == 1.0 and p["shown"] == 1)
    adapter = str(make_adapter(tmp_path / "x.gguf"))
    await editor.execute("neuralforge.adapter.load", adapter)
    await editor.wait_for(METHOD, lambda p: [e["adapter"] for e in p["stack"]] == [adapter])
    await editor.execute("neuralforge.completion.toggle")
    off = await editor.wait_for(METHOD, lambda p: not p["enabled"])
    assert off["engine"]["state"] == "stopped"


async def test_the_trainers_progress_is_told(start: Starter, home: Home) -> None:
    editor = await start(initialize=ASKS)
    await editor.wait_for(METHOD, lambda p: p["learning"]["state"] == "idle")
    state = TrainerState(os.getpid(), time.time(), "project", "training", 3, 10, 30, "going on")
    write_state(home, state)
    told = await editor.wait_for(METHOD, lambda p: p["learning"]["running"])
    learning = told["learning"]
    assert (learning["job"], learning["percent"], learning["steps"]) == ("project", 30, 10)
    await editor.execute("neuralforge.train.pause")
    await editor.wait_for(METHOD, lambda p: p["learning"]["paused"])


async def test_nothing_is_said_twice_nor_to_who_did_not_ask(start: Starter, source: Path) -> None:
    editor, deaf = await start(initialize=ASKS), await start()
    await editor.wait_for(METHOD, lambda p: p["engine"]["state"] == "ready")
    editor.open(source.as_uri(), TEXT)
    for _ in range(20):
        await editor.execute("neuralforge.train.resume")
        await deaf.execute("neuralforge.train.resume")
    told = [n["params"] for n in editor.notifications if n["method"] == METHOD]
    assert all(one != next_ for one, next_ in itertools.pairwise(told))
    assert not [n for n in deaf.notifications if n["method"] == METHOD]
