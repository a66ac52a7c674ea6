"""The command that shows everything at once."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import asdict
from typing import Any

from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.trainer_files import read_state
from neuralforge_server.app import App
from neuralforge_server.commands.shared import stack_in_force
from neuralforge_server.errors import SessionLogError
from neuralforge_server.session_writer import SessionWriter


async def status(app: App, _: list[Any]) -> Any:
    """`[]` → engine, stack, log, trainer, runs and their waste, indexes, own share of time."""
    engine, home, service = app.host.engine, app.host.home, app.host.service
    trainer = await asyncio.to_thread(read_state, home)
    return {
        "engine": {
            "state": engine.state,
            "restarts": engine.restarts,
            "pid": engine.pid,
            "base": str(engine.options.base.path),
            "base_digest": engine.options.base.digest,
            "info": None if engine.info is None else asdict(engine.info),
        },
        **stack_in_force(app),
        "log": None if app.writer is None else await _log(app.writer),
        "trainer": None if trainer is None else asdict(trainer),
        "waiting": None if app.learner is None else app.learner.reason,
        "home": str(home.root),
        "profile": home.profile,
        "documents": len(app.documents),
        "completion": service.counts.describe(),
        "index": {f: asdict(p) for f, p in app.indexing.progress.items()} if app.indexing else {},
        "own_ms": _percentiles(list(app.own_ms)),
    }


async def _log(writer: SessionWriter) -> dict[str, Any]:
    try:
        return asdict(await writer.ask(lambda recorder: recorder.log.stats()))
    except (SessionLogError, HomeError) as error:
        return {"error": str(error)}


def _percentiles(values: list[float]) -> dict[str, float | int]:
    """p50 and p95 of what requests took outside the engine, in milliseconds."""
    if len(values) < 2:
        return {"requests": len(values)}
    cuts = statistics.quantiles(values, n=100)
    return {"requests": len(values), "p50": cuts[49], "p95": cuts[94]}
