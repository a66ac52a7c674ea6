"""Commands on what the server remembers: reported acceptances, and forgetting."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any, cast, get_args

from neuralforge_server.app import App
from neuralforge_server.commands.arguments import folder_of, is_number, number, options, text
from neuralforge_server.commands.shared import writer_of
from neuralforge_server.errors import CommandError
from neuralforge_server.learning import trainer_process
from neuralforge_server.session.rows import LoggedSuggestion, Outcome

_MOST_ROWS = 1000
_HIDDEN = ("stack_json", "prefix_tail", "suffix_head", "used_at", "outcome_source")
"""Of a row, what no picker shows."""


async def accepted(app: App, arguments: list[Any]) -> Any:
    """`[id]` → whether the acceptance of this suggestion was news; it is committed."""
    identifier, texts = text(arguments, 0, "id"), app.snapshot()
    writer = writer_of(app)
    recorded = await writer.ask(lambda recorder: recorder.accepted(identifier, None, texts))
    return {"recorded": recorded}


async def show(app: App, arguments: list[Any]) -> Any:
    """`[{text?, language?, outcome?, since?, limit?}]` → `rows`, the newest suggestions first.

    `text` is sought in the suggestion and in its file's path; `since` is in Unix seconds; `limit`
    is 100.
    """
    given = options(arguments, {"text", "language", "outcome", "since", "limit"})
    since, limit = number([given.get("since")], 0, "since", 0.0), given.get("limit", 100)
    if type(limit) is not int or not 0 < limit <= _MOST_ROWS:
        raise CommandError(f"limit must be an integer from 1 to {_MOST_ROWS}")
    outcome, sought, language = _outcome(given), _word(given, "text"), _word(given, "language")
    rows = await writer_of(app).ask(
        lambda recorder: recorder.log.show(
            limit, language=language, outcome=outcome, text=sought, since=since
        )
    )
    return {"rows": [_row(row) for row in rows]}


def _word(given: dict[str, Any], name: str) -> str | None:
    return None if given.get(name) is None else text([given[name]], 0, name)


def _outcome(given: dict[str, Any]) -> Outcome | None:
    for outcome in get_args(Outcome):
        if outcome == given.get("outcome"):
            return cast("Outcome", outcome)
    if given.get("outcome") is not None:
        raise CommandError(f"outcome must be one of {', '.join(get_args(Outcome))}")
    return None


def _row(row: LoggedSuggestion) -> dict[str, Any]:
    kept = {name: share for name, share in row.retained.items() if share is not None}
    shown = {**asdict(row), "retained": kept, "stack": json.loads(row.stack_json)}
    return {name: value for name, value in shown.items() if name not in _HIDDEN}


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
