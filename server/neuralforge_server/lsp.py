"""The LSP surface: handlers that fetch, delegate and return.

Invariant: no handler computes or waits for a disk, and what a client asks is answered: with no
suggestion rather than with an error. Knows the protocol's types; what they set off lies in `app`,
`commands` and `completion`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInternalError
from pygls.lsp.server import LanguageServer

from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_server import commands, transport
from neuralforge_server.app import App
from neuralforge_server.client_link import ClientLink
from neuralforge_server.completion.waiting import Suggestion
from neuralforge_server.documents import Document, Position, uri_path
from neuralforge_server.errors import CommandError
from neuralforge_server.protocol import Protocol
from neuralforge_server.session.rows import Trigger
from neuralforge_server.settings import parse
from neuralforge_server.status_feed import METHOD, StatusFeed, wants_status

logger = logging.getLogger(__name__)

_REQUEST_FAILED, _INVALID_PARAMS = -32803, -32602
_LABEL = 60
"""Characters of a suggestion that a completion menu shows."""


class Server(LanguageServer):
    """pygls' server with our protocol and the app behind it."""

    protocol: Protocol

    def __init__(self, app: App) -> None:
        super().__init__("neuralforge", version("neuralforge"), protocol_cls=Protocol)
        self.app = app
        logging.getLogger("pygls").setLevel(logging.CRITICAL)  # it logs refused commands as errors
        app.attach(ClientLink(self), self.protocol.documents)
        self.protocol.listener = app
        self.protocol.execute = self._execute
        self.protocol.commands = list(commands.COMMANDS)
        _register(self)

    async def run(self) -> int:
        """Serve one client until it leaves; returns the exit status.

        Raises:
            OSError: the TCP address cannot be bound.
        """
        left: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.protocol.on_exit = lambda code: None if left.done() else left.set_result(code)
        reading = asyncio.ensure_future(self._read())
        reading.add_done_callback(lambda _: self.protocol.on_exit(0))
        code = await left
        reading.cancel()
        await self.app.end()
        if self.protocol.writer is not None:
            self.protocol.writer.close()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        return code

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log what went wrong in a handler, which nobody expected; the client has an answer."""
        if not isinstance(error, JsonRpcException) or isinstance(error, JsonRpcInternalError):
            logger.exception("a handler failed: %s", error)

    async def _read(self) -> None:
        if self.app.options.tcp is None:
            stdin, stdout = transport.take_stdio()
            self.protocol.set_writer(transport.PipeWriter(stdout))
            await transport.read_pipe(stdin, self.protocol.receive)
            return
        reader, writer = await transport.accept_one(*self.app.options.tcp, _listening)
        self.protocol.set_writer(writer)
        await transport.read_socket(reader, self.protocol.receive)

    async def _execute(self, name: str, arguments: list[Any]) -> Any:
        try:
            result = await commands.run(self.app, name, arguments)
            self.app.touch()
            return result
        except NeuralForgeError as error:
            code = _INVALID_PARAMS if isinstance(error, CommandError) else _REQUEST_FAILED
            data = {"kind": type(error).__name__, "command": name}
            raise JsonRpcException(str(error), code, data) from error

    async def suggest(
        self, uri: str, position: types.Position, trigger: Trigger
    ) -> list[tuple[Document, Suggestion]]:
        """The suggestions at a client's position, remembered as sent."""
        received, document = self.protocol.received, self.protocol.documents.get(uri)
        if document is None:
            return []
        place = document.position(Position(position.line, position.character))
        self.app.asked(document, place)
        found = await self.app.host.service.complete(document, place, invoked=trigger == "invoked")
        self.app.sent(document, found, trigger)
        if found and found[0].engine_ms is not None:
            spent = (time.perf_counter() - received) * 1000
            self.app.own_ms.append(spent - found[0].engine_ms)
        return [(document, suggestion) for suggestion in found]


def _register(server: Server) -> None:
    server.feature(types.INITIALIZE)(_initialize)
    server.feature(types.INITIALIZED)(_initialized)
    server.feature(types.SHUTDOWN)(_shutdown)
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(_did_change_configuration)
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(
        _inline_completion
    )
    server.feature(types.TEXT_DOCUMENT_DID_SAVE)(_did_save)
    server.feature("textDocument/didShowCompletion")(_did_show)
    server.feature("textDocument/didPartiallyAcceptCompletion")(_did_partially_accept)
    server.feature("textDocument/didDismissCompletion")(_did_dismiss)


def _initialize(ls: Server, params: types.InitializeParams) -> None:
    """Offer what this client can show: a status line, a menu in place of inline completion."""
    ls.app.initial = params.initialization_options
    ls.app.folders = _folders(params)
    if wants_status(params.capabilities.experimental):
        ls.app.feed = StatusFeed(ls.app, lambda content: ls.protocol.notify(METHOD, content))
    text_document = params.capabilities.text_document
    inline = text_document is not None and text_document.inline_completion is not None
    wanted = parse(params.initialization_options)[0].completion.popup
    if not inline or wanted:
        options = types.CompletionOptions(trigger_characters=list(" .(=,["))
        ls.feature(types.TEXT_DOCUMENT_COMPLETION, options)(_completion)


def _folders(params: types.InitializeParams) -> list[Path]:
    """The workspace's folders that lie on this machine's disk."""
    uris = [folder.uri for folder in params.workspace_folders or ()]
    if not uris and params.root_uri:
        uris = [params.root_uri]
    paths = [uri_path(uri) for uri in uris]
    return [Path(path) for path in paths if path is not None]


def _initialized(ls: Server, params: types.InitializedParams) -> None:
    ls.app.spawn(ls.app.begin())


def _did_change_configuration(ls: Server, params: types.DidChangeConfigurationParams) -> None:
    ls.app.spawn(ls.app.configure(params.settings))


async def _inline_completion(
    ls: Server, params: types.InlineCompletionParams
) -> list[types.InlineCompletionItem]:
    invoked = params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked
    found = await ls.suggest(
        params.text_document.uri, params.position, "invoked" if invoked else "automatic"
    )
    return [
        types.InlineCompletionItem(
            insert_text=suggestion.text,
            range=_range(document, suggestion),
            command=_report(suggestion),
        )
        for document, suggestion in found
    ]


async def _completion(ls: Server, params: types.CompletionParams) -> types.CompletionList:
    found = await ls.suggest(params.text_document.uri, params.position, "completion")
    return types.CompletionList(is_incomplete=True, items=[_item(*one) for one in found])


async def _shutdown(server: Server, *_: Any) -> None:
    await server.app.settle()


def _did_save(ls: Server, params: types.DidSaveTextDocumentParams) -> None:
    if (document := ls.protocol.documents.get(params.text_document.uri)) is not None:
        ls.app.saved(document)


def _did_show(ls: Server, params: Any) -> None:
    identifier = _reported_id(params)
    if ls.app.writer is not None and identifier is not None:
        ls.app.writer.post(lambda recorder: recorder.shown(identifier))


def _did_partially_accept(ls: Server, params: Any) -> None:
    identifier = _reported_id(params)
    length = params.get("acceptedLength") if isinstance(params, dict) else None
    if ls.app.writer is not None and identifier is not None and type(length) is int:
        texts, shown = ls.app.snapshot(), params["item"].get("insertText")
        of = shown if isinstance(shown, str) else None
        ls.app.writer.post(lambda recorder: recorder.accepted(identifier, length, texts, of))


def _did_dismiss(ls: Server, params: Any) -> None:
    identifier = _reported_id(params)
    if ls.app.writer is not None and identifier is not None:
        ls.app.writer.post(lambda recorder: recorder.dismissed(identifier))


def _item(document: Document, suggestion: Suggestion) -> types.CompletionItem:
    """A menu's entry: it writes the identifier at the cursor anew, which is what menus filter by.

    Editors would indent further lines once more unless told that they stand as they are.
    """
    word = _word_before(document, suggestion.position)
    text = word + suggestion.text
    return types.CompletionItem(
        label=text.strip().splitlines()[0][:_LABEL],
        kind=types.CompletionItemKind.Text,
        detail="NeuralForge",
        documentation=text if "\n" in text.strip() else None,
        sort_text="\0",
        filter_text=text,
        preselect=True,
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(range=_range(document, suggestion, len(word)), new_text=text),
        command=_report(suggestion),
    )


def _range(document: Document, suggestion: Suggestion, before: int = 0) -> types.Range:
    """What a suggestion takes the place of, from so many code points before the cursor."""
    line, character = suggestion.position.line, suggestion.position.character
    first = document.to_client(Position(line, character - before))
    last = document.to_client(Position(line, character + suggestion.replaces))
    return types.Range(
        start=types.Position(first.line, first.character),
        end=types.Position(last.line, last.character),
    )


def _word_before(document: Document, position: Position) -> str:
    """The identifier that ends at the cursor."""
    left = document.between(Position(position.line, 0), position)
    start = len(left)
    while start and (left[start - 1].isalnum() or left[start - 1] == "_"):
        start -= 1
    return left[start:]


def _report(suggestion: Suggestion) -> types.Command:
    return types.Command(
        title="Report acceptance", command=commands.ACCEPTED, arguments=[suggestion.id]
    )


def _reported_id(params: Any) -> str | None:
    """The suggestion that a custom notification is about: `{item: {command: {arguments}}}`."""
    try:
        identifier = params["item"]["command"]["arguments"][0]
    except (TypeError, KeyError, IndexError):
        return None
    return identifier if isinstance(identifier, str) else None


def _listening(host: str, port: int) -> None:
    sys.stderr.write(f"neuralforge: listening on {host}:{port}\n")
    sys.stderr.flush()
