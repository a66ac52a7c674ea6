"""What pickers choose from: adapters, named stacks and bases; export; each shows what it must."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gguf_maker import make_adapter, make_base
from hub_server import COMMIT, REPOSITORY, FakeHub
from neuralforge_adapters.base import open_base
from neuralforge_adapters.bases import BaseList
from neuralforge_adapters.home import Home
from neuralforge_adapters.pinned import pinned_versions
from neuralforge_adapters.stack import StackEntry, StackFile
from neuralforge_adapters.store import GGUF_FILE, PERSONAL, AdapterStore, AdapterVersion, Manifest
from neuralforge_server.lsp_client import LspClient, ServerError

pytestmark = pytest.mark.asyncio(loop_scope="module")

Starter = Callable[..., Awaitable[LspClient]]

MEASURED = {
    "rows": [
        {"system": "current", "items": "held-out", "em": 0.1, "es": 0.2},
        {"system": "candidate", "items": "held-out", "em": 0.3, "es": 0.6},
    ]
}


def publish(home: Home, name: str, base: str = "", **more: Any) -> AdapterVersion:
    store, digest = AdapterStore(home), base or open_base(None, home).digest
    with store.staging(name) as folder:
        make_adapter(folder / GGUF_FILE, seed=len(name), base_digest=digest)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "fisher.safetensors").write_bytes(b"of the trainer alone")
        return store.publish(folder, Manifest(name, digest, rank=8, alpha=8.0, **more))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _bare_stack(editor: LspClient) -> None:
    await editor.execute("neuralforge.adapter.swap")


async def test_an_adapter_is_listed_with_all_that_a_picker_shows(
    editor: LspClient, editor_home: Home
) -> None:
    mine = publish(editor_home, "mine", metrics=MEASURED, data={"samples": 7})
    foreign = publish(editor_home, "foreign", base="f" * 64)
    await editor.execute("neuralforge.adapter.load", "mine", 0.5)
    rows = {
        row["adapter"]: row
        for row in (await editor.execute("neuralforge.adapter.list"))["adapters"]
    }
    row = rows[mine.reference]
    assert (row["name"], row["version"], row["current"]) == ("mine", "v0001", True)
    assert (row["base"], row["fits"], row["rank"], row["scale"]) == ("embedded", True, 8, 0.5)
    assert (row["em"], row["es"], row["data"]) == (0.3, 0.6, {"samples": 7})
    assert row["bytes"] == mine.gguf.stat().st_size and row["created"] > 1e9
    row = rows[foreign.reference]
    assert (row["base"], row["fits"], row["scale"]) == ("f" * 12, False, None)
    assert (row["em"], row["es"]) == (None, None)


async def test_a_stack_is_saved_listed_used_and_removed_by_its_name(
    editor: LspClient, editor_home: Home
) -> None:
    reference = publish(editor_home, "team", metrics=MEASURED).reference
    await editor.execute("neuralforge.adapter.load", "team", 0.5)
    saved = await editor.execute("neuralforge.stack.save", "review work")
    assert saved["entries"] == [{"adapter": "team", "scale": 0.5}]
    await editor.execute("neuralforge.adapter.swap")
    (row,) = (await editor.execute("neuralforge.stack.list"))["stacks"]
    assert (row["name"], row["base"], row["in_force"]) == ("review work", "embedded", False)
    assert (row["fits"], row["problem"]) == (True, "")
    assert row["adapters"] == [
        {"adapter": "team", "scale": 0.5, "means": reference, "em": 0.3, "es": 0.6}
    ]
    used = await editor.execute("neuralforge.stack.use", "review work")
    assert used["stack"] == [{"adapter": reference, "scale": 0.5}]
    assert StackFile(editor_home).read() == (StackEntry("team", 0.5),)
    assert (await editor.execute("neuralforge.stack.list"))["stacks"][0]["in_force"]
    await editor.execute("neuralforge.stack.remove", "review work")
    left = await editor.execute("neuralforge.stack.list")
    assert left["stacks"] == [] and left["stack"] == used["stack"]


@pytest.mark.asyncio(loop_scope="function")
async def test_versions_that_settings_and_command_line_name_are_not_pruned(
    start: Starter, home: Home
) -> None:
    for _ in range(3):
        publish(home, "mine")
    publish(home, "team")
    settings = {"stacks": {"python": ["mine@v0002", "team@v0001"]}}
    editor = await start("serve", "--adapter", "mine@v0001", settings=settings)
    await editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")
    async with asyncio.timeout(60):
        while pinned_versions("team", home) != {"v0001"}:
            await editor.execute("neuralforge.status")
    await editor.stop()
    assert pinned_versions("mine", home) == {"v0001", "v0002"}
    assert AdapterStore(home).prune("mine", 1, pinned_versions("mine", home)) == []


async def test_a_stack_that_does_not_fit_says_why_and_changes_nothing(
    editor: LspClient, editor_home: Home
) -> None:
    publish(editor_home, "alien", base="a" * 64)
    await editor.execute("neuralforge.stack.save", {"name": "other", "adapters": ["alien"]})
    (row,) = (await editor.execute("neuralforge.stack.list"))["stacks"]
    assert not row["fits"] and "trained for base aaaaaaaaaaaa" in row["problem"]
    with pytest.raises(ServerError, match="trained for base"):
        await editor.execute("neuralforge.stack.use", "other")
    assert StackFile(editor_home).read() == ()
    await editor.execute("neuralforge.stack.remove", "other")


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("stack.use", ["never saved"], "there is no stack 'never saved'"),
        ("stack.remove", ["never saved"], "there is no stack"),
        ("stack.save", ["../x"], "cannot name a stack"),
        ("stack.save", ["twice", ["a", "a"]], "stands twice"),
        ("adapter.export", ["/tmp/x", "never-made"], "no adapter"),
        ("base.use", ["never-made"], "there is no base"),
        ("base.pull", ["never-made"], "neither a preset nor"),
    ],
)
async def test_what_cannot_be_done_says_why(
    editor: LspClient, command: str, arguments: list[Any], says: str
) -> None:
    with pytest.raises(ServerError, match=says) as raised:
        await editor.execute(f"neuralforge.{command}", *arguments)
    assert raised.value.code == -32803


async def test_an_export_holds_what_others_read_and_nothing_of_where_it_was_learnt(
    editor: LspClient, editor_home: Home, tmp_path: Path
) -> None:
    version = publish(
        editor_home, PERSONAL, data={"repository": "secret-project", "author": "Me", "samples": 9}
    )
    folder, archive = tmp_path / "mine", tmp_path / "mine.zip"
    await editor.execute("neuralforge.adapter.export", str(folder))
    result = await editor.execute("neuralforge.adapter.export", archive.as_uri())
    assert result == {"adapter": version.reference, "path": str(archive)}
    files = {"adapter.gguf", "adapter_config.json", "manifest.json"}
    assert {file.name for file in folder.iterdir()} == files
    assert json.loads((folder / "manifest.json").read_text())["data"] == {"samples": 9}
    with zipfile.ZipFile(archive) as packed:
        assert set(packed.namelist()) == {f"mine/{name}" for name in files}
        assert packed.read("mine/adapter.gguf") == version.gguf.read_bytes()
    assert (folder / "adapter.gguf").read_bytes() == version.gguf.read_bytes()
    loaded = await editor.execute("neuralforge.adapter.load", str(folder))
    assert loaded["stack"][-1]["adapter"] == str(folder)
    assert names_in(tmp_path) == ["mine", "mine.zip"]


async def test_an_export_into_a_folder_gets_the_versions_name_and_replaces_none(
    editor: LspClient, editor_home: Home, tmp_path: Path
) -> None:
    version = publish(editor_home, PERSONAL)
    result = await editor.execute("neuralforge.adapter.export", str(tmp_path))
    assert result["path"] == str(tmp_path / version.reference.replace("@", "-"))
    with pytest.raises(ServerError, match="exists already"):
        await editor.execute("neuralforge.adapter.export", str(tmp_path))


async def test_an_export_that_cannot_be_written_leaves_nothing(
    editor: LspClient, editor_home: Home, tmp_path: Path
) -> None:
    publish(editor_home, PERSONAL)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ServerError, match="cannot be written"):
        await editor.execute("neuralforge.adapter.export", str(tmp_path / "file" / "x"))
    assert names_in(tmp_path) == ["file"]


@pytest.mark.asyncio(loop_scope="function")
async def test_a_base_is_pulled_with_progress_listed_and_used(
    start: Starter, home: Home, tmp_path: Path
) -> None:
    content = make_base(tmp_path / "tiny-Q8_0.gguf", layers=1, width=64, heads=2,
                        kv_heads=1, hidden=128, vocabulary=20_000).read_bytes()  # fmt: skip
    with FakeHub(files={"tiny-Q8_0.gguf": content}) as hub:
        cache = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf")}
        editor = await start(environment=cache)
        await editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")
        pulled = await editor.execute("neuralforge.base.pull", REPOSITORY)
    assert (pulled["name"], pulled["revision"]) == ("tiny-Q8_0", COMMIT)
    shown = [n["params"]["value"] for n in editor.notifications if n["method"] == "$/progress"]
    assert any(v.get("title", "").startswith("Fetching") and v["cancellable"] for v in shown)
    assert any(v["kind"] == "report" and v.get("percentage") == 100 for v in shown)
    rows = (await editor.execute("neuralforge.base.list"))["bases"]
    state = {row["name"]: row["state"] for row in rows}
    assert (state["embedded"], state["tiny-Q8_0"]) == ("in use", "pulled")
    used = await editor.execute("neuralforge.base.use", "tiny-Q8_0")
    assert (used["result"], used["path"]) == ("switched", pulled["path"])
    while (await editor.execute("neuralforge.status"))["engine"]["base"] != pulled["path"]:
        pass


@pytest.mark.asyncio(loop_scope="function")
async def test_a_pull_that_is_cancelled_in_the_editor_keeps_what_came(
    start: Starter, home: Home, tmp_path: Path
) -> None:
    path = make_base(tmp_path / "big-Q8_0.gguf", layers=2, width=512, heads=8, kv_heads=2,
                     hidden=2048, vocabulary=32_000)  # fmt: skip
    with FakeHub(files={path.name: path.read_bytes()}, stall_after=15 << 20) as hub:
        cache = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf")}
        editor = await start(environment=cache)
        params = {"command": "neuralforge.base.pull", "arguments": [REPOSITORY]}
        _, answer = editor.send_request("workspace/executeCommand", params)
        begun = await editor.wait_for(
            "$/progress", lambda p: "Fetching" in p["value"].get("title", "")
        )
        await editor.wait_for(
            "$/progress",
            lambda p: p["token"] == begun["token"] and p["value"]["kind"] == "report",
        )
        editor.notify("window/workDoneProgress/cancel", {"token": begun["token"]})
        with pytest.raises(ServerError, match="was stopped"):
            await answer
    assert BaseList(home).all() == []
    (partial,) = (tmp_path / "hf").rglob("*.incomplete")
    assert 0 < partial.stat().st_size < path.stat().st_size
