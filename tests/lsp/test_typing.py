"""Requests while the user types: superseded, cancelled, gone on with, served from memory."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from neuralforge_server.lsp_client import LspClient, ServerError

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"
END = (5, 17)
_numbers = itertools.count()


def fresh(editor: LspClient, text: str = SOURCE) -> str:
    """A new document, so that nothing of it is remembered."""
    uri = f"file:///typing{next(_numbers)}.py"
    editor.open(uri, text)
    return uri


async def type_text(editor: LspClient, uri: str, position: tuple[int, int], text: str) -> None:
    for at, character in enumerate(text):
        editor.change(uri, character, (position[0], position[1] + at))


async def test_a_newer_request_answers_the_older_with_nothing(editor: LspClient) -> None:
    uri = fresh(editor)
    with editor.together():
        _, older = editor.send_complete(uri, (3, 9))
        _, newer = editor.send_complete(uri, END)
    assert await older == []
    assert await newer != []


async def test_requests_of_different_documents_do_not_disturb_each_other(
    editor: LspClient,
) -> None:
    one, other = fresh(editor), fresh(editor)
    answers = [editor.send_complete(uri, END)[1] for uri in (one, other)]
    assert all(await asyncio.gather(*answers))


async def test_a_cancelled_request_is_answered_as_cancelled(editor: LspClient) -> None:
    uri = fresh(editor)
    with editor.together():
        request_id, answer = editor.send_complete(uri, (3, 9))
        editor.cancel(request_id)
    with pytest.raises(ServerError) as raised:
        await answer
    assert raised.value.code == -32800
    assert await editor.complete(uri, END) != []


async def test_typing_through_a_suggestion_gives_its_rest_without_computing(
    editor: LspClient,
) -> None:
    uri = fresh(editor)
    (item,) = await editor.complete(uri, END)
    whole = item["insertText"]
    assert len(whole) > 4
    await type_text(editor, uri, END, whole[:3])
    (rest,) = await editor.complete(uri, (5, 20))
    assert rest["insertText"] == whole[3:]
    assert rest["command"] == item["command"]
    editor.change(uri, "", (5, 18), (5, 20))
    (again,) = await editor.complete(uri, (5, 18))
    assert again["insertText"] == whole[1:]
    rows = (await editor.execute("neuralforge.status"))["own_ms"]
    assert rows["requests"] >= 3


async def test_other_text_than_the_suggestion_is_computed_anew(editor: LspClient) -> None:
    uri = fresh(editor)
    (item,) = await editor.complete(uri, END)
    editor.change(uri, "Z", END)
    answer = await editor.complete(uri, (5, 18))
    assert all(a["command"] != item["command"] for a in answer)


async def test_a_suggestion_for_older_text_is_not_given_for_newer(editor: LspClient) -> None:
    uri = fresh(editor)
    with editor.together():
        _, answer = editor.send_complete(uri, END)
        editor.change(uri, "XYZ", (5, 8))
    assert await answer == []


async def test_typing_on_while_it_is_computed_gives_the_rest(
    editor: LspClient,
) -> None:
    (item,) = await editor.complete(fresh(editor), END)
    whole = item["insertText"]
    uri = fresh(editor)
    with editor.together():
        _, answer = editor.send_complete(uri, END)
        editor.change(uri, whole[0], END)
    assert [i["insertText"] for i in await answer] == [whole[1:]]
    _, newer = editor.send_complete(uri, (5, 18))
    assert [i["insertText"] for i in await newer] == [whole[1:]]


async def test_a_closed_document_forgets_its_suggestions(editor: LspClient) -> None:
    uri = fresh(editor)
    (first,) = await editor.complete(uri, END)
    editor.close(uri)
    assert await editor.complete(uri, END) == []
    editor.open(uri, SOURCE)
    (second,) = await editor.complete(uri, END)
    assert first["command"] != second["command"]
    assert first["insertText"] == second["insertText"]


async def test_a_burst_of_keystrokes_ends_with_one_suggestion(editor: LspClient) -> None:
    uri = fresh(editor, SOURCE[:-2])
    answers = []
    with editor.together():
        for at, character in enumerate("js"):
            editor.change(uri, character, (5, 15 + at))
            answers.append(editor.send_complete(uri, (5, 16 + at))[1])
    *older, last = await asyncio.gather(*answers)
    assert all(items == [] for items in older)
    assert len(last) == 1
