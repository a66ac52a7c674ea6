"""Commands: each changes what it says at once, here and for every server, or says what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gguf_maker import make_adapter
from neuralforge_adapters.base import open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import StackEntry, StackFile
from neuralforge_adapters.store import GGUF_FILE, PERSONAL, AdapterStore, AdapterVersion, Manifest
from neuralforge_adapters.trainer_files import read_control
from neuralforge_server.lsp_client import LspClient, ServerError

pytestmark = pytest.mark.asyncio(loop_scope="module")

Starter = Callable[..., Awaitable[LspClient]]


def publish(home: Home, name: str, seed: int) -> AdapterVersion:
    """A random adapter, as the next version of `name`."""
    store, digest = AdapterStore(home), open_base(None, home).digest
    with store.staging(name) as folder:
        make_adapter(folder / GGUF_FILE, seed=seed, base_digest=digest)
        return store.publish(folder, Manifest(name, digest, rank=8, alpha=8.0))


async def stack_of(editor: LspClient) -> list[dict[str, Any]]:
    stack: list[dict[str, Any]] = (await editor.execute("neuralforge.status"))["stack"]
    return stack


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _bare_stack(editor: LspClient) -> None:
    await editor.execute("neuralforge.adapter.swap")


async def test_loading_scaling_and_unloading_an_adapter_by_name(
    editor: LspClient, editor_home: Home
) -> None:
    reference = publish(editor_home, "team", 1).reference
    loaded = await editor.execute("neuralforge.adapter.load", "team", 0.5)
    assert loaded["stack"] == [{"adapter": reference, "scale": 0.5}]
    assert StackFile(editor_home).read() == (StackEntry("team", 0.5),)
    scaled = await editor.execute("neuralforge.adapter.scale", {"adapter": "team", "scale": 2})
    assert scaled["stack"] == [{"adapter": reference, "scale": 2.0}]
    assert scaled["digest"] != loaded["digest"]
    unloaded = await editor.execute("neuralforge.adapter.unload", "team")
    assert unloaded["stack"] == [] == await stack_of(editor)


async def test_swapping_the_whole_stack_changes_what_is_suggested_and_back(
    editor: LspClient, tmp_path: Path
) -> None:
    uri = "file:///swap.py"
    editor.open(
        uri, "import json\n\ndef load(path):\n    with open(path) as file:\n        data = "
    )
    (base,) = await editor.complete(uri, (4, 15))
    file = make_adapter(tmp_path / "wild.gguf", seed=3, strength=0.2)
    await editor.execute("neuralforge.adapter.swap", {"adapter": str(file), "scale": 4})
    changed = await editor.complete(uri, (4, 15))
    assert [i["insertText"] for i in changed] != [base["insertText"]]
    await editor.execute("neuralforge.adapter.swap")
    (back,) = await editor.complete(uri, (4, 15))
    assert back["insertText"] == base["insertText"]


async def test_rolling_back_goes_to_the_version_before(
    editor: LspClient, editor_home: Home
) -> None:
    old, new = publish(editor_home, PERSONAL, 4), publish(editor_home, PERSONAL, 5)
    await editor.execute("neuralforge.adapter.load", PERSONAL)
    assert await stack_of(editor) == [{"adapter": new.reference, "scale": 1.0}]
    result = await editor.execute("neuralforge.adapter.rollback")
    assert result["adapter"] == old.reference
    assert await stack_of(editor) == [{"adapter": old.reference, "scale": 1.0}]
    listed = (await editor.execute("neuralforge.adapter.list"))["adapters"]
    assert [a["adapter"] for a in listed if a["current"] and PERSONAL in a["adapter"]] == [
        old.reference
    ]


async def test_a_change_in_a_terminal_reaches_a_running_server(
    editor: LspClient, editor_home: Home
) -> None:
    publish(editor_home, "shared", 6)
    StackFile(editor_home).write([StackEntry("shared")])
    while not await stack_of(editor):  # each round trip gives the watch its turn
        pass
    for scale in (0.5, 0.6, 0.7):  # more often than the store's own watch could account for
        StackFile(editor_home).write([StackEntry("shared", scale)])
        while (await stack_of(editor))[0]["scale"] != scale:
            pass
    newer = publish(editor_home, "shared", 7)
    while (await stack_of(editor))[0]["adapter"] != newer.reference:
        pass


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("adapter.load", ["no-such-adapter"], "no adapter"),
        ("adapter.load", ["/no/such/file.gguf"], "no adapter file"),
        ("adapter.unload", ["never-loaded"], "not in the stack"),
        ("adapter.scale", ["never-loaded", 1], "not in the stack"),
        ("adapter.rollback", ["never-made"], "no adapter"),
    ],
)
async def test_what_cannot_be_done_is_an_error_that_says_why(
    editor: LspClient, command: str, arguments: list[Any], says: str
) -> None:
    with pytest.raises(ServerError, match=says) as raised:
        await editor.execute(f"neuralforge.{command}", *arguments)
    assert raised.value.code == -32803
    assert raised.value.data["command"] == f"neuralforge.{command}"
    assert await stack_of(editor) == []


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("adapter.load", []),
        ("adapter.load", [7]),
        ("adapter.load", ["team", "much"]),
        ("adapter.swap", [None]),
        ("log.purge", []),
        ("log.purge", [{"all": True}]),
        ("log.purge", [{"older_than_days": "x"}]),
        ("consent", ["/no/such/folder", "yes"]),
        ("train.now", [{"repository": "/no/such/folder"}]),
        ("suggestion.accepted", []),
        ("no.such.command", []),
    ],
)
async def test_wrong_arguments_are_named(
    editor: LspClient, command: str, arguments: list[Any]
) -> None:
    with pytest.raises(ServerError) as raised:
        await editor.execute(f"neuralforge.{command}", *arguments)
    assert raised.value.code == -32602


async def test_a_file_that_cannot_be_served_leaves_the_stack_and_its_file_alone(
    editor: LspClient, editor_home: Home, tmp_path: Path
) -> None:
    publish(editor_home, "good", 8)
    before = await editor.execute("neuralforge.adapter.load", "good")
    spoiled = make_adapter(tmp_path / "nan.gguf", spoil=float("nan"))
    with pytest.raises(ServerError):
        await editor.execute("neuralforge.adapter.load", str(spoiled))
    assert await stack_of(editor) == before["stack"]
    assert StackFile(editor_home).read() == (StackEntry("good"),)


@pytest.mark.parametrize(
    ("command", "order"),
    [("pause", "pause"), ("resume", "run"), ("skip", "skip"), ("cancel", "cancel")],
)
async def test_the_trainer_is_given_orders(
    editor: LspClient, editor_home: Home, command: str, order: str
) -> None:
    before = read_control(editor_home)
    result = await editor.execute(f"neuralforge.train.{command}")
    given = read_control(editor_home)
    assert replace(given, at=0.0) == replace(
        before, command=order, sequence=before.sequence + 1, at=0.0
    )
    assert result == {"command": order, "sequence": given.sequence, "running": False}


@pytest.mark.asyncio(loop_scope="function")
async def test_an_adapter_of_the_command_line_lies_on_top_without_a_subcommand(
    start: Starter, home: Home, tmp_path: Path
) -> None:
    publish(home, PERSONAL, 9)
    file = make_adapter(tmp_path / "x.gguf", seed=10)
    editor = await start("--adapter", f"{file}*0.5")
    await editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")
    stack = await stack_of(editor)
    assert [entry["adapter"] for entry in stack] == [f"{PERSONAL}@v0001", str(file)]
    assert not home.stack_file.exists()
