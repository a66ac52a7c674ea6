"""Commands on bases: what there is, fetching one, using one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from neuralforge_adapters.bases import locate
from neuralforge_adapters.errors import HubError, NeuralForgeError
from neuralforge_server import progress
from neuralforge_server.app import App
from neuralforge_server.base_change import change_base
from neuralforge_server.base_pull import pull_apart
from neuralforge_server.base_rows import base_rows
from neuralforge_server.commands.arguments import flag, text
from neuralforge_server.learning.trigger import Job


async def list_bases(app: App, _: list[Any]) -> Any:
    """`[]` → `bases`, each with name, state, path, bytes, licence and source."""
    used = app.host.engine.options.base.path
    rows = await asyncio.to_thread(base_rows, app.host.home, used)
    return {"bases": rows, "setting": app.settings.engine.base or None}


async def pull(app: App, arguments: list[Any]) -> Any:
    """`[base]`, a preset or `owner/repository[:file]` → the base, fetched; with progress."""
    name = text(arguments, 0, "base")

    def stop() -> None:
        fetching.cancel()

    def told(done: int, of: int) -> None:
        bar.report(100 * done // max(1, of), f"{done / 1e6:,.0f} of {of / 1e6:,.0f} MB")

    bar = await progress.begin(app.link.server, f"Fetching {name}", stop)
    fetching = asyncio.create_task(pull_apart(name, app.host.home, told))
    try:
        return await fetching
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise HubError(f"fetching {name} was stopped; it goes on from there next time") from None
    finally:
        bar.end()


async def use(app: App, arguments: list[Any]) -> Any:
    """`[base, now?]`, a name or a path → what came of it: `already`, `switched` or `awaited`."""
    name, now = text(arguments, 0, "base"), flag(arguments, 1, "now")
    home = app.host.home
    path = await asyncio.to_thread(locate, name, home)
    change = await asyncio.to_thread(change_base, path, home, now=now)
    training = await _retrain(app, change.base.path) if change.result == "awaited" else None
    return {
        "result": change.result,
        "path": str(change.base.path),
        "personal": change.personal,
        "context": change.info.trained_context,
        "training": training,
        "setting": app.settings.engine.base or None,
    }


async def _retrain(app: App, base: Path) -> str:
    """Start the training that the base waits for; where that fails, it is started when idle."""
    assert app.learner is not None
    try:
        await app.learner.start(Job(base=base))
    except NeuralForgeError as error:
        return f"later: {error}"
    return "started"
