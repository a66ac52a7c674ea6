"""A client that speaks nonsense: the server answers, lives, and keeps its documents."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from neuralforge_server.lsp_client import LspClient, ServerError

pytestmark = pytest.mark.asyncio(loop_scope="module")

URI = "file:///kept.py"
TEXT = "def add(first, second):\n    return "


def framed(body: bytes, length: int | None = None) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body) if length is None else length, body)


async def assert_alive(editor: LspClient) -> None:
    """The server answers, and the document is as it was."""
    (item,) = await editor.complete(URI, (1, 11))
    assert item["insertText"].startswith("first")


@pytest.fixture(autouse=True)
def _open_document(editor: LspClient) -> None:
    if URI not in editor._versions:
        editor.open(URI, TEXT)


@pytest.mark.parametrize(
    "raw",
    [
        b"hello, server\r\n\r\n",
        b"\x00\x01\xff" * 3000,
        b"Content-Length: many\r\n\r\n{}",
        b"Content-Length: 99999999999\r\n\r\n{}",
        framed(b"{broken"),
        framed(b'{"jsonrpc": "2.0", "method": "exit"', 400),
        framed(b'{"jsonrpc": "2.0", "method": "exit"', 45),
        framed(b'{"jsonrpc": "2.0", "method": "exit"}', 10),
        framed(b"[" * 100_000),
        framed(b'{"jsonrpc": "2.0", "id": ' + b"9" * 5000 + b', "method": "shutdown"}'),
        framed(b'"\\ud800"'),
        framed(b"null"),
        framed(b"\xff\xfe{}"),
    ],
    ids=range(13),
)
async def test_garbage_on_the_wire_is_survived(editor: LspClient, raw: bytes) -> None:
    editor.send_raw(raw)
    await assert_alive(editor)


POSITION = {"line": 0, "character": 0}
CHANGE = "textDocument/didChange"


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "1.0", "id": 1, "method": "shutdown"},
        {"jsonrpc": "2.0", "id": [1], "method": "shutdown"},
        {"jsonrpc": "2.0", "id": {}, "result": 1},
        {"jsonrpc": "2.0", "id": True, "method": "exit"},
        {"jsonrpc": "2.0", "id": 10**30, "result": None},
        {"jsonrpc": "2.0", "id": "unknown", "error": 7},
        {"jsonrpc": "2.0", "method": 5},
        {"jsonrpc": "2.0", "method": "no/such/notification", "params": [1, {"jsonrpc": "2.0"}]},
        {"jsonrpc": "2.0", "method": CHANGE, "params": None},
        {"jsonrpc": "2.0", "method": CHANGE, "params": {"textDocument": {"uri": URI}}},
        {
            "jsonrpc": "2.0",
            "method": CHANGE,
            "params": {"textDocument": {"uri": URI, "version": "x"}, "contentChanges": 3},
        },
        {"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": {"textDocument": 1}},
        {"jsonrpc": "2.0", "method": "textDocument/didClose", "params": {}},
        {"jsonrpc": "2.0", "method": "textDocument/didShowCompletion", "params": {"item": [[]]}},
        {
            "jsonrpc": "2.0",
            "method": "textDocument/didPartiallyAcceptCompletion",
            "params": {"item": {"command": {"arguments": ["?"]}}, "acceptedLength": "all"},
        },
        {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 123456}},
        {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {}},
        {"jsonrpc": "2.0", "method": "window/workDoneProgress/cancel", "params": {"token": []}},
        {"jsonrpc": "2.0", "method": "workspace/didChangeConfiguration", "params": 1},
    ],
    ids=range(19),
)
async def test_messages_of_wrong_shape_are_survived(
    editor: LspClient, message: dict[str, Any]
) -> None:
    editor.send_raw(framed(json.dumps(message).encode()))
    await assert_alive(editor)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("no/such/request", {}, -32601),
        ("textDocument/inlineCompletion", {}, -32602),
        ("textDocument/inlineCompletion", None, -32602),
        (
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": URI},
                "position": {"line": -1, "character": 10**40},
                "context": {"triggerKind": 2},
            },
            -32602,
        ),
        ("workspace/executeCommand", {"command": "rm -rf"}, -32602),
        ("workspace/executeCommand", {"command": "neuralforge.status", "arguments": 5}, -32602),
        ("textDocument/hover", {"textDocument": {"uri": URI}, "position": POSITION}, -32601),
    ],
)
async def test_a_request_that_cannot_be_served_gets_an_error(
    editor: LspClient, method: str, params: Any, code: int
) -> None:
    with pytest.raises(ServerError) as raised:
        await editor.request(method, params)
    assert raised.value.code == code
    await assert_alive(editor)


async def test_a_batch_is_refused(editor: LspClient) -> None:
    editor.send_raw(framed(b'[{"jsonrpc": "2.0", "id": 1, "method": "shutdown"}]'))
    await assert_alive(editor)


async def test_messages_in_one_byte_pieces_are_read(editor: LspClient) -> None:
    editor._next_id += 1
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": editor._next_id,
            "method": "workspace/executeCommand",
            "params": {"command": "neuralforge.status"},
        }
    ).encode()
    import asyncio

    answer = editor._pending[editor._next_id] = asyncio.get_running_loop().create_future()
    for byte in framed(body):
        editor.send_raw(bytes([byte]))
    assert (await answer)["engine"]["state"] == "ready"


@pytest.mark.asyncio(loop_scope="function")
async def test_requests_before_initialize_and_after_shutdown_are_refused(
    start: Callable[..., Awaitable[LspClient]],
) -> None:
    editor = await start(initialize=False)
    with pytest.raises(ServerError) as raised:
        await editor.complete(URI, (0, 0))
    assert raised.value.code == -32002
    await editor.initialize()
    await editor.request("shutdown")
    with pytest.raises(ServerError) as raised:
        await editor.complete(URI, (0, 0))
    assert raised.value.code == -32600
