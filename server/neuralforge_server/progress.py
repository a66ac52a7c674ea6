"""Work-done progress in the editor, where the client can show it.

Invariant: what was begun is ended, and a client that cannot show progress costs nothing but the
calls. Knows the protocol's progress, not what goes on.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import Future

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

logger = logging.getLogger(__name__)

_CREATE_SECONDS = 5.0
"""How long a client may take to accept a progress."""


class Bar:
    """One piece of work on show."""

    def __init__(self, server: LanguageServer | None, token: str) -> None:
        self._server = server
        self._token = token

    def report(self, percent: int, message: str = "") -> None:
        """Show how far it is: `percent` from 0 to 100."""
        if self._server is not None:
            value = types.WorkDoneProgressReport(
                percentage=max(0, min(100, percent)), message=message or None
            )
            self._server.work_done_progress.report(self._token, value)

    def end(self, message: str = "") -> None:
        """Show that it is over; further calls do nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.work_done_progress.end(
                self._token, types.WorkDoneProgressEnd(message=message or None)
            )
            server.work_done_progress.tokens.pop(self._token, None)


async def begin(
    server: LanguageServer, title: str, on_cancel: Callable[[], None] | None = None
) -> Bar:
    """Put a new piece of work on show; `on_cancel` is called when the user stops it there."""
    token = f"neuralforge-{uuid.uuid4()}"
    if not await _accepted(server, token):
        return Bar(None, token)
    progress = server.work_done_progress
    progress.begin(
        token,
        types.WorkDoneProgressBegin(title=title, cancellable=on_cancel is not None, percentage=0),
    )

    def cancelled(future: Future[None]) -> None:
        if future.cancelled() and on_cancel is not None:
            on_cancel()

    progress.tokens[token].add_done_callback(cancelled)
    return Bar(server, token)


async def _accepted(server: LanguageServer, token: str) -> bool:
    window = server.client_capabilities.window
    if window is None or not window.work_done_progress:
        return False
    try:
        await asyncio.wait_for(server.work_done_progress.create_async(token), _CREATE_SECONDS)
    except (JsonRpcException, TimeoutError):
        logger.warning("the client did not accept a progress")
        return False
    return True
