"""A workspace: indexed, remembered as it is typed, forgotten on request; several candidates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from git_maker import GitMaker, isolate
from neuralforge_adapters.home import Home
from neuralforge_server.context.places import context_file
from neuralforge_server.lsp_client import LspClient

Starter = Callable[..., Awaitable[LspClient]]

TEXT = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"
END = (5, 17)
ODD = "zebra_quota = harbour.weigh(17, tide='spring')"
UNTRAINED = {"learning": {"enabled": False}}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    made = GitMaker(tmp_path / "project")
    made.commit({"a.py": "def add(first, second):\n    return first + second\n"})
    return made.root


async def status(editor: LspClient) -> Any:
    return await editor.execute("neuralforge.status")


async def indexed(editor: LspClient, folder: Path) -> None:
    while (await status(editor))["index"].get(str(folder), {}).get("state") != "watching":
        pass


async def test_the_workspace_is_indexed_and_the_indexer_ends_with_the_server(
    start: Starter, home: Home, repository: Path
) -> None:
    editor = await start(initialize={"folder": repository}, settings=UNTRAINED)
    await indexed(editor, repository)
    assert context_file(home, repository).exists()
    processes = psutil.Process(editor.process.pid).children()
    assert len(processes) == 2
    await editor.stop()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


async def test_without_index_there_is_no_indexer(start: Starter, repository: Path) -> None:
    settings = {**UNTRAINED, "index": {"enabled": False}}
    editor = await start(initialize={"folder": repository}, settings=settings)
    editor.open((repository / "a.py").as_uri(), TEXT)
    assert await editor.complete((repository / "a.py").as_uri(), END)
    assert len(psutil.Process(editor.process.pid).children()) == 1


async def test_purging_a_repository_deletes_its_indexes_and_brings_none_back(
    start: Starter, home: Home, repository: Path
) -> None:
    editor = await start(initialize={"folder": repository}, settings=UNTRAINED)
    await indexed(editor, repository)
    await editor.execute("neuralforge.log.purge", {"repository": str(repository)})
    assert not context_file(home, repository).exists()
    assert len(psutil.Process(editor.process.pid).children()) == 1
    assert (await status(editor))["index"] == {}


async def test_a_line_written_in_one_file_a_second_ago_is_known_in_another(
    start: Starter, repository: Path
) -> None:
    settings = {
        **UNTRAINED,
        "index": {"enabled": False},
        "context": {"enabled": False},
        "memory": {"scale": 2.0},
        "completion": {"max_tokens": 64},
    }
    editor = await start(initialize={"folder": repository}, settings=settings)
    one, other = ((repository / f"{name}.py").as_uri() for name in ("one", "other"))
    editor.open(one, "import harbour\n\n")
    for at in range(3):
        editor.change(one, f"{ODD}\n", (2 + at, 0))
    editor.save(one)
    editor.open(other, f"import harbour\n\n{ODD[:26]}")
    found: list[str] = []
    while found != [ODD[26:]]:
        found = [i["insertText"] for i in await editor.complete(other, (2, 26))]
        editor.change(other, " ", (0, 0))  # so that it is computed anew
        editor.change(other, "", (0, 0), (0, 1))


async def test_an_invoked_request_gives_several_each_logged_with_its_own_id(
    start: Starter, home: Home, source: Path
) -> None:
    editor = await start(settings=UNTRAINED)
    editor.open(source.as_uri(), TEXT)
    items = await editor.send_complete(source.as_uri(), END, trigger=1)[1]
    assert len({i["insertText"] for i in items}) == len(items) >= 2
    identifiers = {i["command"]["arguments"][0] for i in items}
    assert len(identifiers) == len(items)
    await editor.accept(items[1])
    editor.change(source.as_uri(), items[1]["insertText"], END)
    overall = (await status(editor))["log"]["overall"]
    assert (overall["suggestions"], overall["accepted"]) == (len(items), 1)
    automatic = await editor.complete(source.as_uri(), (0, 7))
    assert len(automatic) <= 1


async def test_what_comes_after_acceptance_is_there_before_it_is_asked_for(
    start: Starter, source: Path
) -> None:
    editor = await start(settings=UNTRAINED)
    editor.open(source.as_uri(), TEXT)
    (item,) = await editor.complete(source.as_uri(), END)
    while (await status(editor))["completion"]["prefetches"] == 0:
        pass
    editor.change(source.as_uri(), item["insertText"], END)
    await editor.complete(source.as_uri(), (5, 17 + len(item["insertText"])))
    counts = (await status(editor))["completion"]
    assert (counts["runs"], counts["prefetches_used"]) == (1, 1)
