"""The session log behind the server: what is shown, accepted, typed through, and never written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from neuralforge_adapters.home import Home
from neuralforge_server.lsp_client import LspClient, ServerError
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.rows import LoggedSuggestion

pytestmark = pytest.mark.asyncio(loop_scope="module")

Starter = Callable[..., Awaitable[LspClient]]

TEXT = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"
END = (5, 17)


async def suggest(editor: LspClient, file: Path) -> tuple[str, dict[str, Any]]:
    uri = file.as_uri()
    editor.open(uri, TEXT)
    (item,) = await editor.complete(uri, END)
    return uri, item


def row_of(home: Home, item: dict[str, Any]) -> LoggedSuggestion | None:
    """The suggestion's row, read as another process would."""
    identifier = item["command"]["arguments"][0]
    with SessionLog.open(home.session_log) as log:
        return next((row for row in log.show(1000) if row.id == identifier), None)


def bytes_of(home: Home) -> bytes:
    """Everything in the log's folder, the write-ahead log included."""
    return b"".join(file.read_bytes() for file in home.profile_dir.glob("session.db*"))


async def settle(editor: LspClient) -> None:
    """Everything recorded before this answer is committed: the queue is in order."""
    await editor.execute("neuralforge.status")


async def test_an_answered_acceptance_is_in_the_log_with_all_that_matters(
    editor: LspClient, editor_home: Home, source: Path
) -> None:
    uri, item = await suggest(editor, source)
    editor.change(uri, item["insertText"], END)
    assert await editor.accept(item) == {"recorded": True}
    row = row_of(editor_home, item)
    status = await editor.execute("neuralforge.status")
    assert row is not None
    assert (row.outcome, row.outcome_source) == ("accepted", "client")
    assert (row.text, row.accepted_length) == (item["insertText"], len(item["insertText"]))
    assert (row.base, row.stack) == (status["engine"]["base_digest"], status["digest"])
    assert (row.line, row.character, row.language, row.path) == (*END, "python", str(source))
    assert row.latency_ms > 0 and row.trigger == "automatic"
    assert row.retained == {30: None, 120: None, 300: None}


async def test_closing_the_file_measures_what_is_retained(
    editor: LspClient, editor_home: Home, source: Path
) -> None:
    uri, item = await suggest(editor, source)
    await editor.accept(item)  # some editors report first and send the edit later
    editor.change(uri, item["insertText"], END)
    for _ in range(2):  # so that looking for the text again could not tell which one it was
        editor.change(uri, f"# {item['insertText']}\n", (0, 0))
    editor.close(uri)
    await settle(editor)
    row = row_of(editor_home, item)
    assert row is not None and set(row.retained.values()) == {1.0}


async def test_shown_and_partly_accepted_as_other_completion_servers_define_it(
    editor: LspClient, editor_home: Home, source: Path
) -> None:
    _, item = await suggest(editor, source)
    editor.notify("textDocument/didShowCompletion", {"item": item})
    await settle(editor)
    row = row_of(editor_home, item)
    assert row is not None and (row.outcome, row.outcome_source) == ("shown", "client")
    editor.notify("textDocument/didPartiallyAcceptCompletion", {"item": item, "acceptedLength": 3})
    await settle(editor)
    row = row_of(editor_home, item)
    assert row is not None and (row.outcome, row.accepted_length) == ("partial", 3)


async def test_a_part_is_counted_in_the_text_that_the_client_names(
    editor: LspClient, editor_home: Home, source: Path
) -> None:
    uri, item = await suggest(editor, source)
    editor.change(uri, item["insertText"][:2], END)
    (rest,) = await editor.complete(uri, (END[0], END[1] + 2))
    assert rest["command"]["arguments"] == item["command"]["arguments"]
    assert item["insertText"] == item["insertText"][:2] + rest["insertText"]
    for named, length in ((item, 3), (rest, 2)):  # the first was still on the client's screen
        accepted = {"item": named, "acceptedLength": length}
        editor.notify("textDocument/didPartiallyAcceptCompletion", accepted)
        await settle(editor)
        row = row_of(editor_home, item)
        assert row is not None and row.outcome == "partial"
        assert row.accepted_length == (3 if named is item else 4)


async def test_a_client_that_knows_of_a_dismissal_tells_it(
    editor: LspClient, editor_home: Home, source: Path
) -> None:
    uri, item = await suggest(editor, source)
    editor.notify("textDocument/didDismissCompletion", {"item": item})
    editor.change(uri, item["insertText"], END)  # typed after all: that is not inferred any more
    await settle(editor)
    row = row_of(editor_home, item)
    assert row is not None
    assert (row.outcome, row.outcome_source) == ("dismissed", "client")


async def test_typing_through_is_inferred(
    editor: LspClient, editor_home: Home, source: Path
) -> None:
    uri, item = await suggest(editor, source)
    for at, character in enumerate(item["insertText"]):
        editor.change(uri, character, (5, 17 + at))
        await editor.complete(uri, (5, 18 + at))
    await settle(editor)
    row = row_of(editor_home, item)
    assert row is not None
    assert (row.outcome, row.outcome_source) == ("typed_through", "inferred")


async def test_a_dismissal_is_inferred_and_what_was_typed_instead_is_kept(
    editor: LspClient, editor_home: Home, source: Path
) -> None:
    uri, item = await suggest(editor, source)
    for at, character in enumerate("_own = 1"):
        editor.change(uri, character, (5, 17 + at))
    editor.close(uri)
    await settle(editor)
    row = row_of(editor_home, item)
    assert row is not None and row.outcome == "dismissed"
    with SessionLog.open(editor_home.session_log) as log:
        events = [e for e in log.training_events() if e.path == str(source)]
    assert any("_own = 1" in event.text for event in events)


async def test_files_of_the_same_text_have_rows_of_their_own(
    editor: LspClient, editor_home: Home, tmp_path: Path
) -> None:
    items = []
    for file in (tmp_path / "one.py", tmp_path / "two.py", tmp_path / "one.py"):
        uri, item = await suggest(editor, file)
        items += [item, *await editor.complete(uri, END)]  # the second one is remembered
        if file.name == "one.py":
            editor.close(uri)  # the third time it is a document of its own
    await settle(editor)
    rows = [row_of(editor_home, item) for item in items]
    assert len({item["insertText"] for item in items}) == 1
    assert [row and row.path and Path(row.path).name for row in rows] == [
        *("one.py", "one.py", "two.py", "two.py", "one.py", "one.py")
    ]
    assert len({row.id for row in rows if row}) == 3


@pytest.mark.parametrize("name", [".env", "id_rsa", "server.key"])
async def test_files_of_secrets_are_completed_but_leave_no_trace(
    editor: LspClient, editor_home: Home, tmp_path: Path, name: str
) -> None:
    _, item = await suggest(editor, tmp_path / name)
    assert await editor.accept(item) == {"recorded": False}
    assert row_of(editor_home, item) is None


async def test_documents_that_are_no_files_leave_no_trace(
    editor: LspClient, editor_home: Home
) -> None:
    editor.open("untitled:one", TEXT)
    (item,) = await editor.complete("untitled:one", END)
    assert await editor.accept(item) == {"recorded": False}
    assert row_of(editor_home, item) is None


async def test_a_secret_in_the_text_is_not_in_the_file(
    editor: LspClient, editor_home: Home, source: Path
) -> None:
    secret = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"[:36]
    editor.open(source.as_uri(), f'TOKEN = "{secret}"\n\ndef add(first, second):\n    return ')
    items = await editor.complete(source.as_uri(), (3, 11))
    assert items
    await settle(editor)
    assert secret.encode() not in bytes_of(editor_home)


async def test_purging_everything_empties_the_log(
    editor: LspClient, editor_home: Home, source: Path
) -> None:
    _, item = await suggest(editor, source)
    await settle(editor)
    assert row_of(editor_home, item) is not None
    purged = await editor.execute("neuralforge.log.purge", {"everything": True})
    assert purged["suggestions"] >= 1
    assert row_of(editor_home, item) is None


@pytest.mark.asyncio(loop_scope="function")
async def test_without_a_log_there_are_suggestions_and_a_clear_answer(
    start: Starter, home: Home, source: Path
) -> None:
    editor = await start(settings={"log": {"enabled": False}})
    _, item = await suggest(editor, source)
    with pytest.raises(ServerError, match=r"neuralforge\.log\.enabled"):
        await editor.accept(item)
    assert not home.session_log.exists()


@pytest.mark.asyncio(loop_scope="function")
async def test_a_log_that_cannot_be_opened_is_a_message_in_the_status(
    start: Starter, home: Home, source: Path
) -> None:
    home.session_log.mkdir(parents=True)
    editor = await start()
    await suggest(editor, source)
    status = await editor.execute("neuralforge.status")
    assert status["engine"]["state"] == "ready"
    assert str(home.session_log) in status["log"]["error"]


@pytest.mark.asyncio(loop_scope="function")
async def test_acknowledged_rows_survive_a_kill(start: Starter, home: Home, source: Path) -> None:
    editor = await start()
    uri, item = await suggest(editor, source)
    editor.change(uri, item["insertText"], END)
    assert await editor.accept(item) == {"recorded": True}
    editor.process.kill()
    await editor.process.wait()
    row = row_of(home, item)
    assert row is not None and row.outcome == "accepted"


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.asyncio(loop_scope="function")
async def test_an_entry_taken_from_a_menu_is_an_acceptance_with_or_without_its_report(
    start: Starter, home: Home, source: Path, tells: bool
) -> None:
    capabilities = {"textDocument": {"completion": {}}, "workspace": {"configuration": True}}
    editor = await start(initialize={"capabilities": capabilities})
    uri = source.as_uri()
    editor.open(uri, TEXT)
    place = {"line": END[0], "character": END[1]}
    found = await editor.request(
        "textDocument/completion", {"textDocument": {"uri": uri}, "position": place}
    )
    (item,) = found["items"]
    edit = item["textEdit"]
    begin = (END[0], END[1] - len("js"))
    assert edit["range"]["start"] == {"line": begin[0], "character": begin[1]}
    editor.change(uri, edit["newText"], begin, END)
    if tells:
        await editor.accept(item)
    await settle(editor)
    row = row_of(home, item)
    assert row is not None and row.outcome == "accepted"
    assert row.outcome_source == ("client" if tells else "inferred")
