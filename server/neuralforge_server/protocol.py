"""pygls' protocol, hardened: nonsense costs an error answer, and pygls keeps no text.

Invariant: every request that has an id is answered exactly once, whatever its shape; documents
live in `documents` alone. Knows JSON-RPC and text synchronisation, no completion.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method
from pygls.protocol.json_rpc import JsonRPCNotification

from neuralforge_server.documents import Change, Document, Edit, Encoding, Position
from neuralforge_server.framing import FrameReader

logger = logging.getLogger(__name__)

_PARSE_ERROR, _INVALID_REQUEST, _INVALID_PARAMS = -32700, -32600, -32602
_NOT_INITIALIZED = -32002

_ENCODINGS: dict[str, Encoding] = {"utf-8": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}


class DocumentListener:
    """What wants to know of documents; the methods do nothing unless overridden."""

    def opened(self, document: Document) -> None:
        """A document was opened, or grew over the limit while open."""

    def before_change(self, document: Document) -> None:
        """One edit of a message is about to be made."""

    def changed(self, document: Document, change: Change) -> None:
        """One edit was made."""

    def closed(self, document: Document) -> None:
        """A document was closed."""


class Protocol(LanguageServerProtocol):
    """The protocol of one connection."""

    def __init__(self, server: LanguageServer, converter: Any) -> None:
        self.documents: dict[str, Document] = {}
        self.encoding: Encoding = "utf-16"
        self.listener = DocumentListener()
        self.on_exit: Callable[[int], None] = lambda _: None
        self.execute: Callable[[str, list[Any]], Any] | None = None
        """Runs a command: (name, arguments) to an awaitable result."""
        self.commands: list[str] = []
        """The names of all commands."""
        self.received = 0.0
        """When the newest bytes came, by `time.perf_counter`."""
        self._frames = FrameReader()
        self._draining = False
        super().__init__(server, converter)

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        self.received = time.perf_counter()
        self._frames.push(data)
        if not self._draining:
            self._drain()

    def _drain(self) -> None:
        """Handle one message; the next waits until what this one set off has begun.

        So a request sees its document as it was when the request was sent.
        """
        body = self._frames.take()
        self._draining = body is not None
        if body is not None:
            try:
                self._decode(body)
            finally:
                asyncio.get_running_loop().call_soon(self._drain)

    def _decode(self, body: bytes | bytearray) -> None:
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            logger.warning("a message of %d bytes is no JSON", len(body))
            self._frames.reject(body)
            self._refuse(None, _PARSE_ERROR, "the message is no JSON")
        else:
            self._take(message)

    def _take(self, message: Any) -> None:
        """Dispatch one decoded message; the one place where anything may be caught."""
        if not _is_message(message):
            self._refuse(_id_of(message), _INVALID_REQUEST, "this is no JSON-RPC 2.0 message")
            return
        if (early_or_late := self._out_of_turn(message.get("method"))) is not None:
            if "id" in message:
                self._refuse(_id_of(message), *early_or_late)
            return
        try:
            self.handle_message(self.structure_message(message))
        except JsonRpcException as error:
            self._fail(message, error)
        except Exception as error:
            logger.exception("a message could not be handled")
            self._fail(message, JsonRpcException(str(error)))

    def structure_message(self, data: dict[str, Any]) -> Any:
        """pygls' own, but for notifications that the specification does not have: as they came."""
        method = data.get("method")
        if "id" in data or method is None or method in types.METHOD_TO_TYPES:
            return super().structure_message(data)
        return JsonRPCNotification(method, "2.0", data.get("params"))

    def _out_of_turn(self, method: str | None) -> tuple[int, str] | None:
        """The error for a message before `initialize` or after `shutdown`."""
        if method in (None, types.INITIALIZE, types.EXIT):
            return None
        if self._workspace is None:
            return _NOT_INITIALIZED, "send `initialize` first"
        return (_INVALID_REQUEST, "the server is shutting down") if self._shutdown else None

    def _fail(self, message: dict[str, Any], error: JsonRpcException) -> None:
        method = message.get("method")
        if method is None:  # an answer of the client: whoever waits for it must not wait on
            future = self._request_futures.pop(message["id"], None)
            if future is not None and not future.done():
                future.set_exception(error)
        elif "id" in message:
            self._refuse(
                _id_of(message), _INVALID_PARAMS, f"the parameters of {method} are not its own"
            )

    def _refuse(self, request_id: int | str | None, code: int, text: str) -> None:
        error = {"code": code, "message": text}
        self._send_data({"jsonrpc": "2.0", "id": request_id, "error": error})

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Any:
        """pygls' own; its result names the encoding to use, and our commands."""
        result = yield from super().lsp_initialize(params)
        result.capabilities.execute_command_provider = types.ExecuteCommandOptions(self.commands)
        chosen = str(result.capabilities.position_encoding or "utf-16")
        self.encoding = _ENCODINGS.get(getattr(chosen, "value", chosen), "utf-16")
        return result

    @lsp_method(types.EXIT)
    def lsp_exit(self, *args: Any) -> Any:
        """End the server: status 0 after a shutdown request, else 1."""
        self.on_exit(0 if self._shutdown else 1)

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: types.DidOpenTextDocumentParams) -> None:
        """Keep a document's text."""
        item = params.text_document
        self._close(item.uri)
        document = Document.open(
            item.uri, str(item.language_id), item.version, item.text, self.encoding
        )
        self.documents[item.uri] = document
        self.listener.opened(document)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Edit a document; a version that is not newer is an edit of another text."""
        document = self.documents.get(params.text_document.uri)
        version = params.text_document.version
        if document is None or version <= document.version:
            logger.warning("an edit of an unknown or newer text was left out")
            return
        document.version = version
        for event in params.content_changes:
            self._edit(document, _edit(event))

    def _edit(self, document: Document, edit: Edit) -> None:
        self.listener.before_change(document)
        kept = not document.too_large
        change = document.apply(edit)
        if change is not None:
            self.listener.changed(document, change)
        if document.too_large and kept:
            self.listener.opened(document)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        """Forget a document."""
        self._close(params.text_document.uri)

    def _close(self, uri: str) -> None:
        if document := self.documents.pop(uri, None):
            self.listener.closed(document)

    # Cells of notebooks come as documents of their own; pygls would keep their text here.

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def lsp_notebook_document__did_open(self, params: Any) -> None:
        """Nothing: cells are synchronised as text documents."""

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def lsp_notebook_document__did_change(self, params: Any) -> None:
        """Nothing: cells are synchronised as text documents."""

    @lsp_method(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def lsp_notebook_document__did_close(self, params: Any) -> None:
        """Nothing: cells are synchronised as text documents."""

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # type: ignore[override]
        self, params: types.ExecuteCommandParams
    ) -> Any:
        """Run a command; unlike pygls' own this can be cancelled."""
        assert self.execute is not None
        return await self.execute(params.command, list(params.arguments or ()))


def _is_message(message: Any) -> bool:
    """Whether it has the shape of a request, a notification or a response."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return False
    if "id" in message and _id_of(message) is None:
        return False
    if "method" in message:
        return isinstance(message["method"], str)
    return "id" in message and ("result" in message or "error" in message)


def _id_of(message: Any) -> int | str | None:
    """A usable id of a message, None for any other."""
    found = message.get("id") if isinstance(message, dict) else None
    return found if isinstance(found, int | str) and not isinstance(found, bool) else None


def _edit(event: types.TextDocumentContentChangeEvent) -> Edit:
    if isinstance(event, types.TextDocumentContentChangePartial):
        start, end = event.range.start, event.range.end
        return Edit(
            event.text, Position(start.line, start.character), Position(end.line, end.character)
        )
    return Edit(event.text)
