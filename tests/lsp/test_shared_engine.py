"""Two windows of one user with one engine between them: real servers, real kills."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from gguf_maker import make_adapter, make_base
from neuralforge_adapters.home import Home
from neuralforge_server.lsp_client import LspClient

Starter = Callable[..., Awaitable[LspClient]]

ALONE: dict[str, Any] = {
    "memory": {"scale": 0},
    "context": {"enabled": False},
    "completion": {"deadline_ms": 60_000},  # nothing is cut short on a busy machine
}
SHARED: dict[str, Any] = {**ALONE, "engine": {"share": True}}
TEXT = """import json


class Config:
    def __init__(self, path):
        self.

    def load(self):
        with open(
        self.values = json.

    def save(self):
        for key in self.
"""
PLACES = [(5, 13), (8, 18), (9, 27), (12, 24), (4, 13)]
GONE_SECONDS = 30


Texts = list[list[str]]


async def texts(editor: LspClient, uri: str) -> Texts:
    """What is suggested at each of the places: the beginnings, in which engines must agree.

    Later, sums in batches of other shapes may choose another token.
    """
    editor.open(uri, TEXT)
    found = [[i["insertText"][:12] for i in await editor.complete(uri, place)] for place in PLACES]
    editor.close(uri)
    return found


def same(found: Texts, expected: Texts) -> bool:
    """Whether one stack made both: a near tie may go the other way at one of the places.

    What several windows ask for at a time is summed in batches of other shapes.
    """
    differing = [place for place in range(len(PLACES)) if found[place] != expected[place]]
    return any(expected) and len(differing) <= 1


async def engine_of(editor: LspClient) -> psutil.Process:
    return psutil.Process((await editor.execute("neuralforge.status"))["engine"]["pid"])


async def until_restarted(editor: LspClient) -> None:
    """Wait for the engine that comes after one that died."""
    ready, restarts = False, 0
    while not (ready and restarts):
        engine = (await editor.execute("neuralforge.status"))["engine"]
        ready, restarts = engine["state"] == "ready", engine["restarts"]


async def gone(process: psutil.Process) -> bool:
    _, alive = await asyncio.to_thread(psutil.wait_procs, [process], timeout=GONE_SECONDS)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


async def test_two_windows_have_one_engine_which_ends_after_both(
    start: Starter, source: Path, home: Home
) -> None:
    one, two = await asyncio.gather(start(settings=SHARED), start(settings=SHARED))
    first, second = await asyncio.gather(texts(one, source.as_uri()), texts(two, source.as_uri()))
    assert same(first, second)
    engine = await engine_of(one)
    assert engine == await engine_of(two)
    processes = [
        process
        for editor in (one, two)
        for process in psutil.Process(editor.process.pid).children(recursive=True)
        if "neuralforge_server.engine" in process.cmdline()
    ]
    assert processes == [engine], "the ones that were prepared are gone"
    assert await one.stop() == 0
    assert engine.is_running() and same(await texts(two, source.as_uri()), first)
    assert await two.stop() == 0
    assert await gone(engine)
    assert not [*home.engines.glob("*.json"), *home.engines.glob("*.sock")]


async def test_whichever_window_is_killed_the_other_goes_on(start: Starter, source: Path) -> None:
    starter = await start(settings=SHARED)
    before = await texts(starter, source.as_uri())
    other = await start(settings=SHARED)
    await texts(other, source.as_uri())
    engine = await engine_of(other)
    starter.open(source.as_uri(), TEXT)
    starter.send_complete(source.as_uri(), PLACES[0])
    starter.process.kill()
    await starter.process.wait()
    assert await texts(other, source.as_uri()) == before
    third = await start(settings=SHARED)
    assert await texts(third, source.as_uri()) == before
    assert await engine_of(other) == await engine_of(third) == engine
    for editor in (other, third):
        editor.process.kill()
    assert await gone(engine), "kills leave no engine either"


async def test_a_killed_engine_comes_back_once_for_both_windows(
    start: Starter, source: Path, home: Home, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path / "own.gguf", seed=1, strength=0.2)
    one = await start(settings=SHARED)
    two = await start("serve", "--adapter", str(adapter), settings=SHARED)
    before = [await texts(editor, source.as_uri()) for editor in (one, two)]
    killed = await engine_of(one)
    killed.kill()
    await asyncio.gather(until_restarted(one), until_restarted(two))
    for editor, expected in zip((one, two), before, strict=True):
        assert await texts(editor, source.as_uri()) == expected
    assert await engine_of(one) == await engine_of(two) != killed
    assert not home.set_aside.exists(), "a kill from outside blames no file"


async def test_stacks_of_two_windows_never_mix(
    start: Starter, source: Path, tmp_path: Path
) -> None:
    adapters = [make_adapter(tmp_path / f"{n}.gguf", seed=n, strength=0.2) for n in range(2)]
    windows = [["serve"], *(["serve", "--adapter", str(adapter)] for adapter in adapters)]
    apart = []
    for arguments in windows:
        editor = await start(*arguments, settings=ALONE)
        apart.append(await texts(editor, source.as_uri()))
        await editor.stop()
    pairs = itertools.combinations(apart, 2)
    assert not any(same(one, other) for one, other in pairs), "the adapters change nothing"
    editors = [await start(*arguments, settings=SHARED) for arguments in windows]
    found = await asyncio.gather(*(texts(e, source.as_uri()) for e in editors))
    assert all(same(own, expected) for own, expected in zip(found, apart, strict=True))
    assert len({(await engine_of(editor)).pid for editor in editors}) == 1
    for _ in range(2):  # in turns, each finding what the others left in the cache
        for editor, expected in zip(editors, apart, strict=True):
            assert await texts(editor, source.as_uri()) == expected


async def test_another_base_setting_is_another_engine(start: Starter, source: Path) -> None:
    engine = {"share": True, "context_tokens": 512}
    one, two = await start(settings=SHARED), await start(settings={**ALONE, "engine": engine})
    assert await texts(one, source.as_uri()) and await texts(two, source.as_uri())
    assert await engine_of(one) != await engine_of(two)


async def test_a_home_that_cannot_be_written_leaves_each_window_its_own_engine(
    start: Starter, source: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("a file where a folder should be")
    editor = await start(home=file / "home", settings=SHARED)
    await editor.wait_for("window/showMessage", lambda p: "not shared" in p["message"])
    assert any(await texts(editor, source.as_uri()))


async def test_sharing_may_be_turned_on_and_off_while_typing(start: Starter, source: Path) -> None:
    editor = await start(settings=ALONE)
    found = await texts(editor, source.as_uri())
    own = await engine_of(editor)
    for settings in (SHARED, ALONE):
        before = await engine_of(editor)
        editor.settings = settings
        editor.notify("workspace/didChangeConfiguration", {"settings": None})
        while (status := await editor.execute("neuralforge.status"))["engine"]["pid"] in (
            None,
            before.pid,
        ):
            pass
        assert await texts(editor, source.as_uri()) == found, status
    assert await gone(own)


async def test_requests_while_the_settings_arrive_do_not_keep_the_engine_from_loading(
    start: Starter, source: Path, tmp_path: Path
) -> None:
    """A request that meets no base has one loaded: but not the one of before the settings."""
    base = make_base(
        tmp_path / "base.gguf",
        layers=4, width=512, heads=8, kv_heads=2, hidden=2048, vocabulary=60_000,
    )  # fmt: skip
    editor = await start(settings={**ALONE, "engine": {"share": True, "base": str(base)}})
    editor.open(source.as_uri(), TEXT)
    engine: dict[str, Any] = {}
    while (engine.get("state"), engine.get("base")) != ("ready", str(base)):
        for place in PLACES:
            editor.send_complete(source.as_uri(), place)
        engine = (await editor.execute("neuralforge.status"))["engine"]
    children = psutil.Process(editor.process.pid).children()
    engines = [c for c in children if "neuralforge_server.engine" in c.cmdline()]
    assert engines == [await engine_of(editor)], "and no other was started"
