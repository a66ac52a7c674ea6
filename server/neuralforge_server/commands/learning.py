"""Commands on the trainer, and the yes or no to learning from a repository."""

from __future__ import annotations

import asyncio
from typing import Any

from neuralforge_adapters.trainer_files import Command, is_running, request
from neuralforge_server.app import App
from neuralforge_server.commands.arguments import folder_of, options, repository_of, text
from neuralforge_server.commands.shared import Handler, writer_of
from neuralforge_server.errors import CommandError
from neuralforge_server.learning.trigger import Job


async def train_now(app: App, arguments: list[Any]) -> Any:
    """`[{repository?}]` → a training, started now; asking for it is the yes for a repository."""
    given = options(arguments, {"repository"}).get("repository")
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
