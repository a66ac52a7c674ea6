"""Serving: what is announced, what is suggested, for which documents, in which encoding."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from neuralforge_server.lsp_client import LspClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADD = "def add(first, second):\n    return "
END = (1, 11)


async def test_what_the_server_announces(editor: LspClient) -> None:
    assert editor.capabilities["textDocumentSync"]["change"] == 2
    assert "inlineCompletionProvider" in editor.capabilities
    assert "completionProvider" not in editor.capabilities
    commands = editor.capabilities["executeCommandProvider"]["commands"]
    assert {"neuralforge.status", "neuralforge.adapter.swap", "neuralforge.log.purge"} <= set(
        commands
    )


async def test_a_suggestion_carries_text_range_and_a_command(editor: LspClient) -> None:
    editor.open("file:///a.py", ADD)
    (item,) = await editor.complete("file:///a.py", END)
    assert item["insertText"].startswith("first")
    place = {"line": 1, "character": 11}
    assert item["range"] == {"start": place, "end": place}
    assert item["command"]["command"] == "neuralforge.suggestion.accepted"


@pytest.mark.parametrize(
    "uri", ["untitled:Untitled-1", "vscode-notebook-cell:/a/n.ipynb#W0", "file:///c%3A/b.py"]
)
async def test_documents_that_are_no_files_are_completed_too(editor: LspClient, uri: str) -> None:
    editor.open(uri, ADD)
    assert await editor.complete(uri, END)


@pytest.mark.parametrize("uri", ["git:/a.py?x", "output:log", "diffview:///a.py"])
async def test_comparisons_and_outputs_are_left_alone(editor: LspClient, uri: str) -> None:
    editor.open(uri, ADD)
    assert await editor.complete(uri, END) == []


async def test_an_unknown_document_has_no_suggestion(editor: LspClient) -> None:
    assert await editor.complete("file:///never-opened.py", (0, 0)) == []


@pytest.mark.parametrize("position", [(1, 999), (99, 0), (99, 99)])
async def test_a_position_past_the_end_is_the_end(
    editor: LspClient, position: tuple[int, int]
) -> None:
    editor.open("file:///end.py", ADD)
    (item,) = await editor.complete("file:///end.py", position)
    assert item["range"]["start"] == {"line": 1, "character": 11}


async def test_edits_after_odd_line_ends_land_where_the_client_means_them(
    editor: LspClient,
) -> None:
    uri = "file:///odd.py"
    editor.open(uri, "# a\fb\u2028c 😀\r\ndef add(first, second):\r\n    retur")
    editor.change(uri, "n ", (2, 9))
    (item,) = await editor.complete(uri, (2, 11))
    assert item["insertText"].startswith(("first", "second")), "what stands behind `return `"


async def test_the_range_covers_a_bracket_that_the_editor_closed(editor: LspClient) -> None:
    uri = "file:///bracket.py"
    editor.open(
        uri, "import json\nwith open(path) as file:\n    data = json.load()\n    print(data)\n"
    )
    (item,) = await editor.complete(uri, (2, 21))
    closes = item["insertText"].endswith(")")
    assert item["range"]["end"]["character"] == 21 + closes


async def test_an_edit_with_a_stale_version_changes_nothing(editor: LspClient) -> None:
    uri = "file:///stale.py"
    editor.open(uri, ADD)
    fresh = await editor.complete(uri, END)
    editor.notify(
        "textDocument/didChange",
        {"textDocument": {"uri": uri, "version": 1}, "contentChanges": [{"text": "nonsense"}]},
    )
    again = await editor.complete(uri, END)
    assert [i["insertText"] for i in again] == [i["insertText"] for i in fresh]


async def test_a_document_of_a_hundred_megabytes_is_told_once_and_empty(
    editor: LspClient,
) -> None:
    uri = "file:///huge.py"
    editor.open(uri, "x = 1\n" * 17_000_000)
    assert await editor.complete(uri, (0, 5)) == []
    editor.change(uri, "y", (0, 0))
    assert await editor.complete(uri, (0, 5)) == []
    told = [n for n in editor.notifications if uri in str(n["params"]) and "showM" in n["method"]]
    assert len(told) == 1
    editor.close(uri)


async def test_progress_of_loading_has_percentages(editor: LspClient) -> None:
    await editor.wait_for("$/progress", lambda p: p["value"]["kind"] == "end")
    values = [n["params"]["value"] for n in editor.notifications if n["method"] == "$/progress"]
    assert values[0]["title"] == "Loading the base" and values[0]["percentage"] == 0
    assert 100 in [value.get("percentage") for value in values]


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
@pytest.mark.asyncio(loop_scope="function")
async def test_positions_count_in_the_negotiated_encoding(
    start: Callable[..., Awaitable[LspClient]], encoding: str, units: int
) -> None:
    capabilities = {
        "general": {"positionEncodings": [encoding]},
        "textDocument": {"inlineCompletion": {}},
    }
    editor = await start(initialize={"capabilities": capabilities})
    assert editor.capabilities["positionEncoding"] == encoding
    editor.open("file:///a.py", "def add(first, second):\n    print('😀', XXXfi")
    editor.change("file:///a.py", "", (1, 14 + units), (1, 17 + units))
    (item,) = await editor.complete("file:///a.py", (1, 16 + units))
    assert item["range"]["start"] == {"line": 1, "character": 16 + units}
    assert item["insertText"].startswith("rst")


@pytest.mark.asyncio(loop_scope="function")
async def test_a_client_without_inline_completion_gets_a_menu_entry(
    start: Callable[..., Awaitable[LspClient]],
) -> None:
    editor = await start(initialize={"capabilities": {"textDocument": {"completion": {}}}})
    assert "completionProvider" in editor.capabilities
    editor.open("file:///a.py", "def add(first, second):\n    return fi")
    params: dict[str, Any] = {
        "textDocument": {"uri": "file:///a.py"},
        "position": {"line": 1, "character": 13},
    }
    result = await editor.request("textDocument/completion", params)
    (item,) = result["items"]
    assert result["isIncomplete"] and item["preselect"]
    assert item["textEdit"]["newText"].startswith("first")
    assert item["textEdit"]["range"] == {
        "start": {"line": 1, "character": 11},
        "end": {"line": 1, "character": 13},
    }
    assert item["filterText"] == item["textEdit"]["newText"]
    assert item["label"].startswith("first") and item["insertTextFormat"] == 1
    assert item["insertTextMode"] == 1  # as it is: no editor indents its lines once more
    assert item["command"]["command"] == "neuralforge.suggestion.accepted"
