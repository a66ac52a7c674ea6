"""The supervisor: an engine that dies comes back with the last stack that worked.

Deaths are real: the engine process gets the signal of an abort (as from a file that breaks
llama.cpp) or of a kill at the moment that counts. Windows knows no such signals.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from gguf_maker import make_adapter
from neuralforge_adapters.base import Base
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedStack, StackEntry, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.engine.interface import EngineOptions
from neuralforge_server.engine.protocol import CompleteRequest
from neuralforge_server.engine.supervisor import EngineSupervisor
from neuralforge_server.errors import EngineError
from neuralforge_server.notice import Notice

REQUEST = CompleteRequest("def add(first, second):\n    return ", "\n", evaluation=True)


pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


class Watched:
    """A supervisor, the notices that it gave, and its process to do harm to."""

    def __init__(self, base: Base, home: Home) -> None:
        self.notices: list[Notice] = []
        self.noticed = asyncio.Event()
        self.supervisor = EngineSupervisor(EngineOptions(base, 1024, 1), home, self._notice)

    def _notice(self, notice: Notice) -> None:
        self.notices.append(notice)
        self.noticed.set()

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.supervisor.pid)

    async def answer(self) -> str:
        return (await self.supervisor.generate(REQUEST).result()).text

    async def notice(self) -> Notice:
        await self.noticed.wait()
        self.noticed.clear()
        return self.notices[-1]


@pytest.fixture
async def watched(base: Base, home: Home) -> AsyncIterator[Watched]:
    watched = Watched(base, home)
    await watched.supervisor.start()
    yield watched
    await watched.supervisor.stop()


def crash(process: psutil.Process) -> None:
    """Let it die as by a failed assertion in llama.cpp, even where it is stopped."""
    process.send_signal(signal.SIGABRT)
    process.resume()


def stack_of(home: Home, base: Base, path: Path) -> ResolvedStack:
    return resolve([StackEntry(str(path))], AdapterStore(home), base.digest)


async def test_a_killed_engine_comes_back_with_its_stack(
    watched: Watched, base: Base, home: Home, tmp_path: Path
) -> None:
    stack = stack_of(home, base, make_adapter(tmp_path / "a.gguf", strength=0.2))
    await watched.supervisor.set_stack(stack)
    before = await watched.answer()
    first = watched.process
    first.suspend()
    waiting = watched.supervisor.generate(REQUEST)
    first.kill()
    with pytest.raises(EngineError, match="ended"):
        await waiting.result()
    assert (await watched.notice()).kind == "warning"
    again = await watched.supervisor.generate(REQUEST).result()
    assert (again.text, again.stack) == (before, stack.digest)
    assert watched.process != first and watched.supervisor.state == "ready"


async def test_an_adapter_that_kills_the_engine_is_set_aside(
    watched: Watched, base: Base, home: Home, tmp_path: Path
) -> None:
    good = stack_of(home, base, make_adapter(tmp_path / "good.gguf", strength=0.2))
    await watched.supervisor.set_stack(good)
    before = await watched.answer()
    killer = stack_of(home, base, make_adapter(tmp_path / "killer.gguf", seed=9))
    watched.process.suspend()
    change = asyncio.create_task(watched.supervisor.set_stack(killer))
    await asyncio.sleep(0)  # the request is in the pipe now
    crash(watched.process)
    with pytest.raises(EngineError):
        await change
    notice = await watched.notice()
    assert notice.kind == "error" and "killer.gguf" in notice.message
    assert await watched.answer() == before, "the last stack that worked is back"
    with pytest.raises(AdapterError, match="set aside"):
        await watched.supervisor.set_stack(killer)
    assert await watched.answer() == before


async def test_a_stack_under_which_the_engine_keeps_dying_is_given_up(
    watched: Watched, base: Base, home: Home, tmp_path: Path
) -> None:
    plain = await watched.answer()
    stack = stack_of(home, base, make_adapter(tmp_path / "bad.gguf", strength=0.2))
    await watched.supervisor.set_stack(stack)
    for _ in range(3):
        await watched.answer()
        crash(watched.process)
        notice = await watched.notice()
    assert notice.kind == "error" and "bad.gguf" in notice.message
    assert await watched.answer() == plain
    assert watched.supervisor.stack == ResolvedStack()


async def test_a_base_that_kills_the_engine_is_set_aside(base: Base, home: Home) -> None:
    watched = Watched(base, home)
    start = asyncio.create_task(watched.supervisor.start())
    await asyncio.sleep(0)
    crash(watched.process)
    with pytest.raises(EngineError):
        await start
    assert watched.supervisor.state == "failed"
    with pytest.raises(EngineError, match="failed"):
        await watched.answer()
    with pytest.raises(EngineError, match="set aside"):
        await Watched(base, home).supervisor.start()


async def test_a_kill_from_outside_blames_no_file(
    watched: Watched, base: Base, home: Home, tmp_path: Path
) -> None:
    stack = stack_of(home, base, make_adapter(tmp_path / "a.gguf", strength=0.2))
    watched.process.suspend()
    change = asyncio.create_task(watched.supervisor.set_stack(stack))
    await asyncio.sleep(0)
    watched.process.kill()
    with pytest.raises(EngineError):
        await change
    assert (await watched.notice()).kind == "warning"
    assert await watched.answer()
    await watched.supervisor.set_stack(stack)
    assert not home.set_aside.exists()


async def test_a_kill_while_the_base_loads_does_not_set_it_aside(base: Base, home: Home) -> None:
    watched = Watched(base, home)
    start = asyncio.create_task(watched.supervisor.start())
    await asyncio.sleep(0)
    watched.process.kill()
    with pytest.raises(EngineError):
        await start
    again = Watched(base, home)
    await again.supervisor.start()
    assert await again.answer()
    await again.supervisor.stop()


async def test_completions_asked_for_while_the_base_loads_are_answered(
    base: Base, home: Home
) -> None:
    watched = Watched(base, home)
    start = asyncio.create_task(watched.supervisor.start())
    await asyncio.sleep(0)
    assert watched.supervisor.state == "starting"
    assert await watched.answer()
    await start
    await watched.supervisor.stop()


async def test_stopping_ends_the_process(base: Base, home: Home) -> None:
    watched = Watched(base, home)
    await watched.supervisor.start()
    process = watched.process
    await watched.supervisor.stop()
    assert not process.is_running()
    assert watched.notices == []
