"""Commands on the trainer, and the yes or no to learning from a repository."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralforge_adapters.trainer_files import Command, is_running, read_state, request
from neuralforge_adapters.trainer_runs import MOST, finished_runs
from neuralforge_server.app import App
from neuralforge_server.commands.arguments import (
    flag,
    folder_of,
    number,
    options,
    repository_of,
    text,
)
from neuralforge_server.commands.shared import Handler, writer_of
from neuralforge_server.documents import uri_path
from neuralforge_server.errors import CommandError
from neuralforge_server.learning.trigger import Job

if TYPE_CHECKING:
    from neuralforge_server.recorder import Recorder


async def train_now(app: App, arguments: list[Any]) -> Any:
    """`[{repository?, session?}]` → a training, started now: on a repository, else on sessions.

    Asking for it is the yes for a repository.
    """
    wanted = options(arguments, {"repository", "session"})
    given, session = wanted.get("repository"), flag([wanted.get("session")], 0, "session")
    if session and given is not None:
        raise CommandError("name a repository, or session: true, not both; they train one by one")
    assert app.learner is not None
    repository = None if given is None else await asyncio.to_thread(repository_of, given)
    if repository is not None and app.consent is not None:
        await app.consent.answer(repository, "yes")
    return await app.learner.start(Job(repository))


def order(command: Command, description: str) -> Handler:
    """The handler that gives the trainer a command, whoever started it."""

    async def handler(app: App, _: list[Any]) -> Any:
        home = app.host.home
        given = await asyncio.to_thread(request, home, command)
        running = await asyncio.to_thread(is_running, home)
        return {"command": given.command, "sequence": given.sequence, "running": running}

    handler.__doc__ = f"`[]` → {description}"
    return handler


async def consent(app: App, arguments: list[Any]) -> Any:
    """`[repository, "yes" | "no"]` → the answer, kept."""
    repository, answer = folder_of(text(arguments, 0, "repository")), text(arguments, 1, "answer")
    if answer not in ("yes", "no"):
        raise CommandError(f'answer is {answer!r}; give "yes" or "no"')
    writer_of(app)
    assert app.consent is not None
    await app.consent.answer(repository, "yes" if answer == "yes" else "no")
    return {"repository": str(repository), "answer": answer}


async def consent_state(app: App, arguments: list[Any]) -> Any:
    """`[uri]`, a document or a folder → `repository`, `answer` (`yes`, `no`, null), `excluded`."""
    named = text(arguments, 0, "uri")
    path = Path(uri_path(named) or named)
    writer = writer_of(app)

    def look(recorder: Recorder) -> dict[str, Any]:
        from neuralforge_server.session.exclude import find_repository  # slow to import

        root = find_repository(path)
        answer = None if root is None else recorder.log.consent(root)
        excluded = recorder.exclusions.is_excluded(path)
        repository = None if root is None else str(root)
        return {"repository": repository, "answer": answer, "excluded": excluded}

    return await writer.ask(look)


async def state(app: App, _: list[Any]) -> Any:
    """`[]` → `trainer`, what it does; `running`, `paused`; `reason`, why none is at work; `left`,
    minutes of today's budgets; what is new."""
    assert app.learner is not None
    trainer = await asyncio.to_thread(read_state, app.host.home)
    shown = None if trainer is None else asdict(trainer)
    return {"trainer": shown, **await app.learner.describe()}


async def runs(app: App, arguments: list[Any]) -> Any:
    """`[limit?]` → `runs` that have ended, newest first: `source`, `result` (`published`,
    `refused`, `nothing`, `cancelled`, `interrupted`, `failed`), `reason`, `version`, `started`,
    `seconds`."""
    limit = number(arguments, 0, "limit", MOST)
    if limit < 1 or limit != int(limit):
        raise CommandError("argument 1 (limit) must be a whole number above 0")
    found = await asyncio.to_thread(finished_runs, app.host.home, int(limit))
    return {"runs": [asdict(run) for run in found]}
