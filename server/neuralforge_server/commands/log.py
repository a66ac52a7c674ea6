"""Commands on what the server remembers: reported acceptances, and forgetting."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from neuralforge_server.app import App
from neuralforge_server.commands.arguments import folder_of, is_number, options, text
from neuralforge_server.commands.shared import writer_of
from neuralforge_server.errors import CommandError
from neuralforge_server.learning import trainer_process


async def accepted(app: App, arguments: list[Any]) -> Any:
    """`[id]` → whether the acceptance of this suggestion was news; it is committed."""
    identifier, texts = text(arguments, 0, "id"), app.snapshot()
    writer = writer_of(app)
    recorded = await writer.ask(lambda recorder: recorder.accepted(identifier, None, texts))
    return {"recorded": recorded}


async def purge(app: App, arguments: list[Any]) -> Any:
    """`[{repository?, older_than_days?, everything?}]` → how much of log and replay is deleted."""
    given = options(arguments, {"repository", "older_than_days", "everything"})
    everything, days = given.get("everything", False), given.get("older_than_days")
    folder = None if (named := given.get("repository")) is None else folder_of(named)
    if not isinstance(everything, bool) or not (days is None or is_number(days)):
        raise CommandError("everything must be true or false, older_than_days a number")
    if not everything and folder is None and days is None:
        raise CommandError(
            'say what to delete: {"everything": true}, {"repository": PATH} or '
            '{"older_than_days": N}'
        )
    if everything:
        folder = days = None
    gone = await writer_of(app).ask(lambda recorder: recorder.log.purge(folder, days, everything))
    forgotten = await asyncio.to_thread(trainer_process.forget, app.host.home, folder, days)
    if days is None:
        await app.forget(folder)
    return {**asdict(gone), **forgotten}
