"""Seeded kills of the server and of its engine: what was acknowledged stays, and typing goes on.

Together with the trainer's (tests/learning/test_kills.py) these are a hundred points. A kill is
SIGKILL, from outside, after a seeded number of the messages of an editing session.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from gguf_maker import make_adapter
from neuralforge_adapters.home import Home
from neuralforge_server.lsp_client import LspClient, ServerError
from neuralforge_server.session.log import SessionLog

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL"),
    pytest.mark.slow,
]

Starter = Callable[..., Awaitable[LspClient]]

TEXT = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"
END = (5, 17)
SERVER_SEEDS, ENGINE_SEEDS = 30, 20
STEPS = 12


class Session:
    """An editing session of seeded steps, which notes what the server has acknowledged."""

    def __init__(self, editor: LspClient, source: Path, seed: int) -> None:
        self.editor = editor
        self.uri = source.as_uri()
        self.random = random.Random(seed)
        self.accepted: set[str] = set()
        editor.open(self.uri, TEXT)

    async def step(self) -> None:
        """Type, ask, accept or change the stack."""
        kind = self.random.choice(["type", "ask", "accept", "accept", "scale"])
        if kind == "type":
            self.editor.change(self.uri, self.random.choice("xyz"), (0, 0))
            self.editor.send_complete(self.uri, END)
        elif kind == "ask":
            await self.editor.complete(self.uri, END)
        elif kind == "accept":
            for item in await self.editor.complete(self.uri, END):
                await self.editor.accept(item)
                self.accepted.add(item["command"]["arguments"][0])
        else:
            await self.editor.execute("neuralforge.adapter.swap")
        self.editor.change(self.uri, f"# {self.random.random()}\n", (0, 0), (1, 0))


def engine_of(editor: LspClient) -> psutil.Process:
    """The server's engine process."""
    (engine,) = psutil.Process(editor.process.pid).children()
    return engine


@pytest.mark.parametrize("seed", range(SERVER_SEEDS))
async def test_a_killed_server_loses_nothing_that_it_acknowledged(
    start: Starter, home: Home, source: Path, seed: int
) -> None:
    editor = await start()
    engine = engine_of(editor)
    session = Session(editor, source, seed)
    for _ in range(session.random.randrange(STEPS)):
        await session.step()
    # the last messages are on their way, none of them answered, when the kill comes
    for _ in range(session.random.randrange(3)):
        editor.send_complete(session.uri, END)
        editor.change(session.uri, "q", (0, 0))
    editor.process.kill()
    await editor.process.wait()
    with SessionLog.open(home.session_log) as log:
        rows = {row.id: row.outcome for row in log.show(1000)}
        assert log.verify() == [] and log.notices == []
    assert {i for i, outcome in rows.items() if outcome == "accepted"} >= session.accepted
    psutil.wait_procs([engine], timeout=10)
    assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE


async def test_a_new_server_goes_on_where_killed_ones_left_off(
    start: Starter, home: Home, source: Path
) -> None:
    killed = await start()
    session = Session(killed, source, 3)
    while not session.accepted:
        await session.step()
    killed.process.kill()
    again = await start()
    again.open(session.uri, TEXT)
    assert await again.complete(session.uri, END)
    stats = (await again.execute("neuralforge.status"))["log"]["overall"]
    assert stats["accepted"] == len(session.accepted)


@pytest.mark.parametrize("seed", range(0, ENGINE_SEEDS, 5))
async def test_a_killed_engine_costs_a_restart_and_the_connection_stays_up(
    start: Starter, home: Home, source: Path, tmp_path: Path, seed: int
) -> None:
    """Five kills for each server, at different steps; the stack in force comes back each time."""
    editor = await start()
    adapter = make_adapter(tmp_path / "house.gguf", strength=0.01)  # too weak to silence
    await editor.execute("neuralforge.adapter.load", str(adapter))
    digest = (await editor.execute("neuralforge.status"))["digest"]
    editor.open(source.as_uri(), TEXT)
    chance = random.Random(seed)
    for kill in range(1, 6):
        for _ in range(chance.randrange(4)):
            editor.change(source.as_uri(), "k", (0, 0))
            editor.send_complete(source.as_uri(), END)
        engine = engine_of(editor)
        engine.kill()
        assert await editor.complete(source.as_uri(), END) is not None
        status = await editor.execute("neuralforge.status")
        while status["engine"]["state"] != "ready" or status["engine"]["restarts"] < kill:
            status = await editor.execute("neuralforge.status")
        assert status["digest"] == digest
        editor.change(source.as_uri(), f"# {kill}\n", (0, 0))
        editor.change(source.as_uri(), "", (0, 0), (1, 0))
        assert await editor.complete(source.as_uri(), END), f"after kill {kill}"
    told = [n for n in editor.notifications if n["method"] == "window/showMessage"]
    assert len(told) <= 5, "each death is told at most once"
    assert not home.set_aside.exists(), "a kill from outside blames no file"


async def test_requests_to_a_killed_server_fail_at_once(start: Starter, source: Path) -> None:
    editor = await start()
    editor.open(source.as_uri(), TEXT)
    _, answer = editor.send_complete(source.as_uri(), END)
    editor.process.kill()
    with pytest.raises(ServerError, match="ended"):
        await answer
        await editor.complete(source.as_uri(), END)
