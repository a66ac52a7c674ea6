"""What commands of several nouns need of a running server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from neuralforge_server.app import App
from neuralforge_server.errors import CommandError
from neuralforge_server.pickers import Shelf
from neuralforge_server.session_writer import SessionWriter

Handler = Callable[[App, list[Any]], Awaitable[Any]]
"""A command: its arguments to a JSON value. The docstring is `arguments → result` for the docs."""


def writer_of(app: App) -> SessionWriter:
    """The thread of the session log.

    Raises:
        CommandError: the settings say that there is none.
    """
    if app.writer is None:
        raise CommandError("there is no session log; set neuralforge.log.enabled to true")
    return app.writer


def stack_in_force(app: App) -> dict[str, Any]:
    """The stack as this server serves it."""
    stack = app.host.engine.stack
    return {"stack": stack.describe(), "digest": stack.digest}


def shelf(app: App) -> Shelf:
    """What there is to choose from, seen from this server's base."""
    engine = app.host.engine
    return Shelf(app.host.home, engine.options.base, engine.stack)
