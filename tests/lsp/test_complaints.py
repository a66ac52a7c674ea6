"""What users of other tools complain of, each on a real server: it does not happen here.

The numbers are those of the list of complaints that the tests are named by; complaints about the
text of suggestions are tested where texts are (`tests/unit/test_filter*.py`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gguf_maker import make_adapter
from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import seconds_since_typing
from neuralforge_server.lsp_client import LspClient, ServerError

Starter = Callable[..., Awaitable[LspClient]]

TEXT = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"
END = (5, 17)
BARE = {
    "context": {"enabled": False},
    "memory": {"scale": 0, "enabled": False},
    "index": {"enabled": False},
}
"""Nothing but the base and its stack decides a text."""


def children(editor: LspClient) -> list[psutil.Process]:
    return psutil.Process(editor.process.pid).children(recursive=True)


async def status(editor: LspClient) -> Any:
    return await editor.execute("neuralforge.status")


async def fresh(editor: LspClient, name: str) -> list[str]:
    """The suggestions in a new document."""
    editor.open(f"file:///{name}.py", TEXT)
    return [i["insertText"] for i in await editor.complete(f"file:///{name}.py", END)]


async def test_complaint_01_after_a_swap_every_text_is_that_of_a_cold_start(
    start: Starter, home: Home, tmp_path: Path
) -> None:
    wild = str(make_adapter(tmp_path / "wild.gguf", seed=3, strength=0.2))
    editor = await start(settings=BARE)
    before = await fresh(editor, "a")
    await editor.execute("neuralforge.adapter.swap", {"adapter": wild, "scale": 4})
    swapped = [i["insertText"] for i in await editor.complete("file:///a.py", END)]
    assert swapped != before
    await editor.stop()
    cold = await start(settings=BARE)
    assert await fresh(cold, "a") == swapped
    await cold.execute("neuralforge.adapter.swap")
    assert [i["insertText"] for i in await cold.complete("file:///a.py", END)] == before


async def test_complaint_01_stacks_of_two_languages_do_not_mix(
    start: Starter, tmp_path: Path
) -> None:
    wild = str(make_adapter(tmp_path / "wild.gguf", seed=3, strength=0.2))
    alone = await start(settings=BARE)
    plain = await fresh(alone, "a")
    await alone.execute("neuralforge.adapter.swap", {"adapter": wild, "scale": 4})
    wildly = await fresh(alone, "b")
    await alone.execute("neuralforge.adapter.swap")
    both = await start(settings={**BARE, "stacks": {"python": [f"{wild}*4"]}})
    assert await fresh(both, "a") == wildly
    both.open("file:///c.x", TEXT, language="unknown")
    await both.complete("file:///c.x", END)
    rows = (await status(both))["digest"]
    assert rows == (await status(alone))["digest"]
    both.settings = BARE
    both.notify("workspace/didChangeConfiguration", {"settings": None})
    while [i["insertText"] for i in await both.complete("file:///a.py", END)] != plain:
        pass


async def test_complaint_02_adapters_change_without_loading_the_base_again(
    start: Starter, tmp_path: Path
) -> None:
    wild = str(make_adapter(tmp_path / "wild.gguf", seed=3, strength=0.2))
    editor = await start(settings=BARE)
    before = (await status(editor))["engine"]
    for arguments in ({"adapter": wild, "scale": 4}, {"adapter": wild, "scale": 1}):
        await editor.execute("neuralforge.adapter.swap", arguments)
    after = (await status(editor))["engine"]
    assert after["pid"] == before["pid"] and after["restarts"] == 0


async def test_complaints_04_and_06_typing_reaches_a_trainer_that_is_to_pause(
    start: Starter, home: Home
) -> None:
    """The trainer pauses within a step of it: tests/learning/test_personal_trainer.py."""
    editor = await start(settings={"learning": {"idle_seconds": 86_400}})
    editor.open("file:///a.py", TEXT)
    await status(editor)
    while seconds_since_typing(home) > 5:
        editor.change("file:///a.py", "x", (0, 0))
        await status(editor)


async def test_complaint_05_of_a_burst_of_keys_hardly_any_run_is_thrown_away(
    start: Starter,
) -> None:
    editor = await start(settings={"completion": {"prefetch": False}})
    editor.open("file:///a.py", TEXT)
    await editor.complete("file:///a.py", END)
    answers = []
    with editor.together():
        for at, character in enumerate("abcdefghijklmnop"):
            editor.change("file:///a.py", character, (5, 17 + at))
            answers.append(editor.send_complete("file:///a.py", (5, 18 + at))[1])
    await asyncio.gather(*answers)
    counts = (await status(editor))["completion"]
    assert counts["requests"] == 17
    assert counts["runs"] <= 17 and counts["runs_used"] >= 2
    assert 0 <= counts["wasted_share"] <= 1


async def test_complaint_07_disabled_means_no_engine_process(start: Starter) -> None:
    editor = await start(settings={"completion": {"enabled": False}})
    editor.open("file:///a.py", TEXT)
    while children(editor):
        assert await editor.complete("file:///a.py", END) == []
    assert (await status(editor))["engine"]["state"] == "stopped"
    editor.settings = {}
    editor.notify("workspace/didChangeConfiguration", {"settings": None})
    while not await editor.complete("file:///a.py", END):
        pass
    assert len(children(editor)) == 1
    editor.settings = {"completion": {"enabled": False}}
    editor.notify("workspace/didChangeConfiguration", {"settings": None})
    while children(editor):
        await status(editor)


async def test_complaint_07_an_unused_base_leaves_the_memory_and_comes_back(
    start: Starter, tmp_path: Path
) -> None:
    wild = str(make_adapter(tmp_path / "wild.gguf", seed=3, strength=0.2))
    editor = await start(settings={**BARE, "engine": {"idle_minutes": 0.005}})
    stack = (await editor.execute("neuralforge.adapter.load", wild))["stack"]
    while children(editor):
        await status(editor)
    texts = await fresh(editor, "woken")  # the very request that wakes it is answered
    assert texts
    assert (await status(editor))["stack"] == stack
    while children(editor):
        await status(editor)
    unloaded = await editor.execute("neuralforge.adapter.swap")
    assert unloaded["stack"] == []
    assert await fresh(editor, "again") != texts


async def test_complaint_12_no_text_for_older_text_is_given(start: Starter) -> None:
    editor = await start(settings=BARE)
    editor.open("file:///a.py", TEXT)
    for number in range(12):
        with editor.together():
            _, answer = editor.send_complete("file:///a.py", END)
            editor.change("file:///a.py", f"{number}", (5, 8))
        assert await answer == []
        editor.change("file:///a.py", TEXT)
    (item,) = await editor.complete("file:///a.py", END)
    assert item["range"]["start"] == {"line": 5, "character": 17}


async def test_complaint_13_cancelled_requests_do_not_stop_the_loading(start: Starter) -> None:
    editor = await start()
    editor.open("file:///a.py", TEXT)
    for _ in range(20):
        request, answer = editor.send_complete("file:///a.py", END)
        editor.cancel(request)
        with pytest.raises(ServerError):
            await answer
    assert await editor.complete("file:///a.py", END)
    engine = (await status(editor))["engine"]
    assert (engine["state"], engine["restarts"]) == ("ready", 0)
    await editor.wait_for("$/progress", lambda p: p["value"].get("title") == "Loading the base")
    await editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")


def sockets(editor: LspClient) -> list[Any]:
    """Of the server and all it started: local ones between them are none of the network."""
    found = []
    for process in (psutil.Process(editor.process.pid), *children(editor)):
        found += process.net_connections(kind="inet")
    return found


@pytest.mark.skipif(os.name == "nt", reason="asyncio's own wake-up is a local socket there")
async def test_complaint_14_a_session_opens_no_socket_and_what_it_logged_can_be_deleted(
    start: Starter, home: Home, source: Path
) -> None:
    editor = await start()
    editor.open(source.as_uri(), TEXT)
    assert sockets(editor) == []
    (item,) = await editor.complete(source.as_uri(), END)
    await editor.accept(item)
    editor.change(source.as_uri(), item["insertText"], END)
    assert sockets(editor) == []
    log = (await status(editor))["log"]
    assert log["overall"]["accepted"] == 1
    gone = await editor.execute("neuralforge.log.purge", {"everything": True})
    assert gone["suggestions"] >= 1
    assert (await status(editor))["log"]["overall"]["suggestions"] == 0
    assert sockets(editor) == []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_complaint_15_deleting_the_last_line_leaves_a_sound_document(
    start: Starter, end: str
) -> None:
    editor = await start(settings=BARE)
    text = end.join(["# 😀 é", "def add(first, second):", "    return first + second", ""])
    editor.open("file:///a.py", text)
    editor.change("file:///a.py", "", (2, 25), (3, 0))
    editor.change("file:///a.py", "", (1, 23), (2, 25))
    for position in ((1, 23), (2, 0), (9, 9), (0, 4)):
        assert isinstance(await editor.complete("file:///a.py", position), list)
    editor.change("file:///a.py", f"{end}    return ", (1, 23))
    (item,) = await editor.complete("file:///a.py", (2, 11))
    assert item["range"]["start"] == {"line": 2, "character": 11}
    editor.open("file:///b.py", end.join(["# 😀 é", "def add(first, second):", "    return "]))
    (same,) = await editor.complete("file:///b.py", (2, 11))
    assert item["insertText"] == same["insertText"] != ""


async def test_typed_through_costs_at_most_five_milliseconds(start: Starter) -> None:
    """Of the server's own time; the median, since other processes share the machine."""
    editor = await start(settings=BARE)
    editor.open("file:///a.py", TEXT)
    (item,) = await editor.complete("file:///a.py", END)
    spent = []
    for at, character in enumerate(item["insertText"][:-1]):
        editor.change("file:///a.py", character, (5, 17 + at))
        began = time.perf_counter()
        (rest,) = await editor.complete("file:///a.py", (5, 18 + at))
        spent.append(time.perf_counter() - began)
        assert rest["command"] == item["command"]
    assert sorted(spent)[len(spent) // 2] < 0.05  # a round trip on a busy machine
