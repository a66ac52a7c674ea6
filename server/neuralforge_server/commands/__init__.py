"""The commands of `workspace/executeCommand`: their table, by which they are found and documented.

A module for each noun holds the handlers; `arguments` reads what clients give, and `shared` what
several need of the server.

Invariant: a command that was answered is in force: in this server, and in the files that every
other server watches. Each gives a JSON value or raises an error that says what to do. Knows no
protocol type.
"""

from __future__ import annotations

import asyncio
from typing import Any

from neuralforge_server.app import App
from neuralforge_server.commands import (
    adapters,
    bases,
    completion,
    learning,
    log,
    report,
    stacks,
    status,
)
from neuralforge_server.commands.shared import Handler
from neuralforge_server.errors import CommandError

_BEGIN_SECONDS = 10.0

ACCEPTED = "neuralforge.suggestion.accepted"

COMMANDS: dict[str, Handler] = {
    "neuralforge.adapter.list": adapters.list_adapters,
    "neuralforge.adapter.load": adapters.load,
    "neuralforge.adapter.unload": adapters.unload,
    "neuralforge.adapter.swap": adapters.swap,
    "neuralforge.adapter.scale": adapters.scale,
    "neuralforge.adapter.rollback": adapters.rollback,
    "neuralforge.adapter.export": adapters.export,
    "neuralforge.stack.list": stacks.list_stacks,
    "neuralforge.stack.save": stacks.save,
    "neuralforge.stack.use": stacks.use,
    "neuralforge.stack.remove": stacks.remove,
    "neuralforge.base.list": bases.list_bases,
    "neuralforge.base.pull": bases.pull,
    "neuralforge.base.use": bases.use,
    "neuralforge.train.now": learning.train_now,
    "neuralforge.train.pause": learning.order(
        "pause", "let the trainer wait, also one that starts later."
    ),
    "neuralforge.train.resume": learning.order("run", "let the trainer go on."),
    "neuralforge.train.skip": learning.order(
        "skip", "end the training, and never train on its samples."
    ),
    "neuralforge.train.cancel": learning.order("cancel", "end the training; its samples stay new."),
    "neuralforge.train.state": learning.state,
    "neuralforge.train.runs": learning.runs,
    "neuralforge.status": status.status,
    "neuralforge.report.write": report.write,
    "neuralforge.log.show": log.show,
    "neuralforge.log.purge": log.purge,
    "neuralforge.consent": learning.consent,
    "neuralforge.consent.state": learning.consent_state,
    "neuralforge.completion.toggle": completion.toggle,
    ACCEPTED: log.accepted,
}


async def run(app: App, name: str, arguments: list[Any]) -> Any:
    """Carry out a command.

    Raises:
        CommandError: there is no such command, or its arguments are not its own.
        NeuralForgeError: it cannot be done.
    """
    if name not in COMMANDS:
        raise CommandError(f"there is no command {name!r}; there is: {', '.join(COMMANDS)}")
    try:
        await asyncio.wait_for(app.begun.wait(), _BEGIN_SECONDS)
    except TimeoutError as error:
        raise CommandError("the server waits for `initialized`; send it first") from error
    return await COMMANDS[name](app, arguments)


def docs_table() -> str:
    """The content of `docs/lsp-commands.md`."""
    rows = "\n".join(
        f"| `{name}` | {' '.join((handler.__doc__ or '').split()).replace('|', '&#124;')} |"
        for name, handler in COMMANDS.items()
    )
    return (
        "# Commands of the language server\n\n"
        "Made from the code by `make docs`; a test fails when it is stale.\n\n"
        "By `workspace/executeCommand`, with arguments by place or as one object with their "
        "names. What cannot be done is an error: code -32602 for wrong arguments, -32803 for "
        "the rest, with a message that says what to do and `data.kind`, the error's name.\n\n"
        "## The status line\n\n"
        'A client whose `capabilities.experimental` has `{"neuralforge": {"status": true}}` gets '
        "the notification `neuralforge/status` when something in it has changed, four times a "
        "second at most: `enabled`; `engine` (`state`, `base`, `base_digest`); `stack` and its "
        "`digest`; `learning` (`enabled`, `running`, `paused`, `state`, `job`, `percent`, `step`, "
        "`steps`, `message`, `version`); `latency_ms` of the last suggestion; `acceptance`, the "
        "share of those `shown` lately.\n\n"
        "## The commands\n\n"
        f"| command | arguments → result |\n|---|---|\n{rows}\n"
    )
