"""A shared engine seen from its clients: found by the right ones, fair, and its death told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gguf_maker import make_adapter, make_base
from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import Home, read_json
from neuralforge_adapters.stack import ResolvedStack, StackEntry, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.engine.interface import EngineOptions
from neuralforge_server.engine.place import LOST, Note, Place, cause_of_death, place_of
from neuralforge_server.engine.process import Message
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    LoadRequest,
    RememberRequest,
    encode_request,
)
from neuralforge_server.engine.shared import Meeting, SharedEngine, join
from neuralforge_server.engine.stopping import StopRules
from neuralforge_server.engine.supervisor import EngineSupervisor
from neuralforge_server.errors import EngineError
from neuralforge_server.notice import Notice

LOAD = LoadRequest("/somewhere/base.gguf", "0" * 64, 1024, 1)
LONG = "".join(f"value_{i} = compute_{i * 7}(argument_{i * 3})\n" for i in range(100))
REQUEST = CompleteRequest("def add(first, second):\n    return ", "\n", evaluation=True)
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


class Caller:
    """A client that reads its engine's answers one after the other."""

    def __init__(self, meeting: Meeting) -> None:
        self.replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.engine = SharedEngine(
            meeting, self.replies.put, lambda code: self.replies.put({"exit": code})
        )

    def ask(self, number: int, request: LoadRequest | CompleteRequest) -> Message:
        self.engine.send(encode_request(number, request))
        while "piece" in (reply := self.replies.get(timeout=60)):
            pass
        return reply


@pytest.fixture
def place(home: Home) -> Place:
    return place_of(home, LOAD)


@pytest.fixture(params=["socket", "loopback"])
def tcp(request: pytest.FixtureRequest) -> bool:
    if request.param == "socket" and not hasattr(socket, "AF_UNIX"):
        pytest.skip("there are no such sockets here")
    return bool(request.param == "loopback")


# where it is


def test_only_what_answers_alike_is_shared(home: Home, tmp_path: Path) -> None:
    place = place_of(home, LOAD)
    assert place_of(home, replace(LOAD, base="/elsewhere/copy.gguf")) == place
    others = [
        replace(LOAD, digest="1" * 64), replace(LOAD, context=2048), replace(LOAD, threads=2),
        replace(LOAD, gpu_layers=-1), replace(LOAD, batch=64), replace(LOAD, memory="/other"),
    ]  # fmt: skip
    names = {place_of(home, other).name for other in others} | {place.name}
    assert len(names) == len(others) + 1
    assert place_of(Home(tmp_path / "another"), LOAD).name not in names


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets here")
def test_a_home_with_a_long_path_gets_its_socket_in_a_private_folder(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = Place(home.root / ("x" * 100), "name")
    folder = place.socket().parent
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(HomeError, match="not a folder of yours alone"):
        place.socket()


# how it is met


def test_all_who_look_at_once_meet_the_same_engine(place: Place, base: Base, tcp: bool) -> None:
    with ThreadPoolExecutor(6) as threads:
        meetings = list(threads.map(lambda _: join(place, tcp=tcp), range(6)))
    assert len({meeting.pid for meeting in meetings}) == 1
    assert len({meeting.client for meeting in meetings}) == 6
    callers = [Caller(meeting) for meeting in meetings]
    load = LoadRequest(str(base.path), base.digest, 512, 1)
    for caller in callers:
        assert caller.ask(1, load)["result"]["context"] == 512
        assert caller.ask(2, REQUEST)["result"]["text"]
    other = callers[0].ask(3, replace(load, context=256))
    assert "start another one" in other["error"]
    for caller in callers:
        caller.engine.close()


def test_who_does_not_know_the_token_is_not_greeted(place: Place, tcp: bool) -> None:
    meeting = join(place, tcp=tcp)
    address = read_json(place.address)["address"]  # type: ignore[index]
    family = socket.AF_INET if tcp else socket.AF_UNIX
    for greeting in (b'{"token": "%s"}\n' % (b"0" * 32), b"[]\n", b"nonsense\n", b"\n", b"x" * 500):
        with socket.socket(family) as stranger:
            stranger.connect(tuple(address) if tcp else address)
            stranger.sendall(greeting)
            with contextlib.suppress(ConnectionError):
                assert stranger.recv(100) == b""
    assert join(place, tcp=tcp).pid == meeting.pid, "and the engine is still there"


def test_a_client_that_talks_nonsense_is_left_and_the_others_are_not(place: Place) -> None:
    good, bad = Caller(join(place)), Caller(join(place))
    bad.engine.send(b'{"id": 1, "op": "dance"}\n')
    assert bad.replies.get(timeout=60) == {"exit": LOST}
    assert "no base" in good.ask(1, REQUEST)["error"]


def test_a_client_that_never_reads_holds_nobody_up_for_long(place: Place) -> None:
    good, deaf = Caller(join(place)), join(place)
    for number in range(1, 5000):
        deaf.connection.sendall(encode_request(number, REQUEST))
    assert "no base" in good.ask(1, REQUEST)["error"]
    with pytest.raises(OSError):
        while True:
            deaf.connection.sendall(encode_request(1, REQUEST))


def test_an_engine_that_cannot_be_started_says_where_its_last_words_are(place: Place) -> None:
    place.socket().mkdir()
    with pytest.raises(EngineError, match=r"cannot be started.*\.log"):
        join(place, tcp=False)
    assert "Error" in place.log.read_text()


# how it ends


def test_a_new_engine_is_started_where_one_was_killed(place: Place, tcp: bool) -> None:
    first = Caller(join(place, tcp=tcp))
    psutil.Process(first.engine.pid).kill()
    assert first.replies.get(timeout=60) == {"exit": LOST}
    assert join(place, tcp=tcp).pid != first.engine.pid


def test_a_death_is_blamed_on_nobody_but_whose_request_was_computed(tmp_path: Path) -> None:
    note = Note(tmp_path / "note")
    note.turn(7)
    assert cause_of_death(tmp_path / "note", 7) == LOST, "as of a kill"
    os.write(note.fileno(), b"Fatal Python error: Segmentation fault\n\nThread ...")
    if os.name == "posix":
        assert cause_of_death(tmp_path / "note", 7) == -signal.SIGSEGV
    assert cause_of_death(tmp_path / "note", 8) == LOST
    assert cause_of_death(tmp_path / "none", 7) == LOST


class Window:
    """A supervisor that shares its engine, and the notices that it gave."""

    def __init__(self, base: Base, home: Home, batch: int = 256) -> None:
        self.notices: list[Notice] = []
        self.noticed = asyncio.Event()
        options = EngineOptions(base, 1024, 1, batch=batch, share=True)
        self.supervisor = EngineSupervisor(options, home, self._notice)

    def _notice(self, notice: Notice) -> None:
        self.notices.append(notice)
        self.noticed.set()

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.supervisor.pid)

    async def answer(self, request: CompleteRequest = REQUEST) -> str:
        return (await self.supervisor.generate(request).result()).text

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    async def until_ready(self) -> None:
        await self.noticed.wait()
        ready = asyncio.Event()
        self.supervisor.on_ready = ready.set
        if self.supervisor.state != "ready":
            await ready.wait()


@pytest.fixture
async def windows(base: Base, home: Home) -> AsyncIterator[list[Window]]:
    windows = [Window(base, home), Window(base, home)]
    await asyncio.gather(*(window.supervisor.start() for window in windows))
    yield windows
    for window in windows:
        await window.supervisor.stop()


@posix
async def test_a_crash_costs_the_stack_of_whose_request_it_was_and_no_other(
    windows: list[Window], base: Base, home: Home, tmp_path: Path
) -> None:
    culprit, other = windows
    stacks: list[ResolvedStack] = []
    for window, name in zip(windows, ("bad.gguf", "good.gguf"), strict=True):
        path = make_adapter(tmp_path / name, seed=len(stacks), strength=0.2)
        stacks.append(resolve([StackEntry(str(path))], AdapterStore(home), base.digest))
        await window.supervisor.set_stack(stacks[-1])
    before = await other.answer()
    for _ in range(3):
        long = CompleteRequest("x = ", "", max_tokens=900, rules=StopRules(99))
        running = [culprit.supervisor.generate(long) for _ in range(50)]
        begun = asyncio.Event()
        running[0].on_text(lambda _, begun=begun: begun.set())  # type: ignore[misc]
        await begun.wait()
        for window in windows:
            window.noticed.clear()
        culprit.process.send_signal(signal.SIGABRT)
        with pytest.raises(EngineError, match="ended"):
            await running[-1].result()
        await asyncio.gather(*(window.until_ready() for window in windows))
        assert await other.answer() == before
    assert not culprit.supervisor.stack.adapters
    assert other.supervisor.stack == stacks[1]
    assert [notice.kind for notice in other.notices] == ["warning"] * 3
    assert "bad.gguf" in culprit.notices[-1].message
    assert len([*home.set_aside.iterdir()]) == 1


# what clients are to each other


async def test_the_fast_memory_forgets_a_window_that_has_gone(windows: list[Window]) -> None:
    leaving, staying = windows
    secret = "frobnicate_zyx(quux_level=17, mode='sideways')"
    for window in windows:
        window.supervisor.tell(RememberRequest("a.py", f"def one():\n    {secret}\n\n" * 3))
    staying.supervisor.tell(RememberRequest("a.py", ""))
    request = CompleteRequest("def two():\n    frobnicate_zyx(", "\n", memory=1.0)
    assert (await leaving.answer(request)).startswith("quux_level=17")
    assert (await staying.answer(request)).startswith("quux_level=17"), "the key is another's"
    await leaving.supervisor.stop()
    while (await staying.answer(request)).startswith("quux_level"):
        pass


@pytest.fixture(scope="module")
def hundred_million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(
        tmp_path_factory.mktemp("base") / "hundred-million.gguf",
        layers=12, width=768, heads=12, kv_heads=2, hidden=3072, vocabulary=12_288,
    )  # fmt: skip


@pytest.fixture
async def slow(hundred_million: Path, home: Home) -> AsyncIterator[list[Window]]:
    base = open_base(hundred_million, home)
    windows = [Window(base, home, batch=32), Window(base, home, batch=32)]
    await asyncio.gather(*(window.supervisor.start() for window in windows))
    yield windows
    for window in windows:
        await window.supervisor.stop()


def computing(window: Window) -> float:
    """Wait until the engine computes; returns the processor time that it has used."""
    before = window.cpu_seconds()
    while window.cpu_seconds() - before < 0.1:
        pass
    return window.cpu_seconds()


@pytest.mark.slow
async def test_what_one_window_waits_for_stops_anothers_background_work(slow: list[Window]) -> None:
    background = slow[0].supervisor.generate(CompleteRequest(LONG, "", background=True))
    computing(slow[0])
    urgent = slow[1].supervisor.generate(CompleteRequest("x = ", "", max_tokens=1))
    assert (await urgent.result()).generated_tokens == 1
    assert (await background.result()).stop == "cancelled"


@pytest.mark.slow
async def test_a_cancel_of_one_window_stops_nothing_of_another(slow: list[Window]) -> None:
    running = slow[0].supervisor.generate(CompleteRequest(LONG, "", max_tokens=1))
    computing(slow[0])
    for number in range(20):  # the other's among them
        slow[1].supervisor._send(json.dumps({"cancel": number}).encode() + b"\n")
    waiting = slow[1].supervisor.generate(CompleteRequest("x = ", "", max_tokens=1))
    waiting.cancel()
    assert (await waiting.result()).stop == "cancelled"
    assert (await running.result()).generated_tokens == 1


@pytest.mark.slow
async def test_requests_of_a_window_that_goes_are_not_computed(slow: list[Window]) -> None:
    for _ in range(3):
        slow[0].supervisor.generate(CompleteRequest(LONG, "", max_tokens=200))
    before = computing(slow[1])
    await slow[0].supervisor.stop()
    urgent = slow[1].supervisor.generate(CompleteRequest("x = ", "", max_tokens=1))
    assert (await urgent.result()).generated_tokens == 1
    assert slow[1].cpu_seconds() - before < 1.0, "a prompt takes seconds"


@pytest.mark.slow
async def test_a_window_that_opens_while_another_kills_the_engine_gets_a_new_one(
    slow: list[Window], hundred_million: Path, home: Home
) -> None:
    late = Window(open_base(hundred_million, home), home, batch=32)
    busy = slow[0].supervisor.generate(CompleteRequest(LONG, "", max_tokens=1))
    computing(slow[0])
    starting = asyncio.create_task(late.supervisor.start())
    while late.supervisor.pid is None:  # then its wish to load waits for the one that is busy
        await asyncio.wait([starting], timeout=0.01)
    assert not busy.done and not starting.done()
    slow[0].process.kill()
    await starting
    assert late.supervisor.state == "ready" and late.notices == []
    await late.supervisor.stop()
