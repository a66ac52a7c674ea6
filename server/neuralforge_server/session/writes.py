# ruff: noqa: S608 - every statement is put together from this module's constants
"""The session log's statements that change rows, and the scrubbing of what goes into them.

Invariant: a row made here holds no secret; an outcome and its retention rows change together.
Every function works inside a transaction that the caller opens. Knows no file and no lock.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from neuralforge_server.session.owner import own_token
from neuralforge_server.session.rows import (
    DEADLINES_S,
    Outcome,
    Purged,
    SettledEdit,
    Source,
    Suggestion,
)
from neuralforge_server.session.scrub import scrub, scrub_parts

CONTEXT_KEPT = 200
"""Characters kept on either side of a suggestion."""

_CONTEXT_SCRUBBED = 2_000  # so that a secret that the kept part begins inside of is still seen
_STRENGTH = {
    ("inferred", "superseded"): 2,
    ("inferred", "dismissed"): 2,
    ("inferred", "typed_through"): 3,
    ("inferred", "partial"): 4,
    ("inferred", "accepted"): 5,
    ("client", "superseded"): 6,
    ("client", "dismissed"): 6,
    ("client", "typed_through"): 7,
    ("client", "partial"): 8,
    ("client", "accepted"): 9,
}
"""A report replaces a weaker one. `shown` (1 by either) is the start of every other."""


def repository_key(repository: Path | str) -> str:
    """One spelling for one repository's root folder."""
    return scrub(os.path.normcase(Path(repository).expanduser().resolve()))


def suggestion_row(suggestion: Suggestion) -> dict[str, Any]:
    """The row of a new suggestion, scrubbed."""
    prefix, text, suffix = scrub_parts(
        _line_aligned_tail(suggestion.prefix_tail),
        suggestion.text,
        suggestion.suffix_head[:_CONTEXT_SCRUBBED],
    )
    return {
        **asdict(suggestion),
        **_place(suggestion),
        "prefix_tail": prefix[-CONTEXT_KEPT:],
        "text": text,
        "suffix_head": suffix[:CONTEXT_KEPT],
        "length": len(suggestion.text),
        "scrubbed": int(text != suggestion.text),
    }


def edit_row(edit: SettledEdit) -> dict[str, Any]:
    """The row of a settled edit, scrubbed."""
    # in turn, since a secret may stand across the edge of either state
    prefix, before, suffix = scrub_parts(edit.prefix, edit.before, edit.suffix)
    prefix, after, suffix = scrub_parts(prefix, edit.after, suffix)
    texts = {"prefix": prefix, "before": before, "after": after, "suffix": suffix}
    return {**asdict(edit), **_place(edit), **texts}


def update_outcome(
    database: Database,
    suggestion_id: str,
    outcome: Outcome,
    source: Source,
    accepted_length: int | None,
    moment: float,
) -> bool:
    """See `SessionLog.record_outcome`."""
    known = _known_outcome(database, suggestion_id)
    if known is None:
        return False
    length = _length_taken(known["length"], outcome, accepted_length)
    if not _is_news(known, outcome, source, length):
        return False
    database["suggestions"].update(
        suggestion_id,
        {
            "outcome": outcome,
            "outcome_source": source,
            "accepted_length": length,
            "outcome_at": moment,
        },
    )
    _schedule_retention(database, suggestion_id, outcome, moment)
    return True


def update_retention(
    database: Database, key: tuple[str, int], retained: float | None, how: str, moment: float
) -> bool:
    """See `SessionLog.record_retention`; `key` is the suggestion's id and the deadline."""
    statement = """UPDATE retention SET retained = ?, how = ?, measured_at = ?
                   WHERE suggestion_id = ? AND deadline_s = ? AND how IS NULL"""
    return _changed(database, statement, [retained, how, moment, *key]) > 0


def insert_edit(database: Database, row: dict[str, Any]) -> None:
    """Insert a row of `edit_row`, without its suggestion where that is not known (any more)."""
    known = row["dismissed_id"] and _known_outcome(database, row["dismissed_id"])
    database["edits"].insert(
        {**row, "dismissed_id": row["dismissed_id"] if known else None}, ignore=True
    )


def mark_used(database: Database, ids: list[str], moment: float) -> None:
    """See `SessionLog.mark_used`."""
    for table in ("suggestions", "edits"):
        database.conn.executemany(
            f"UPDATE {table} SET used_at = ? WHERE id = ?",
            [(moment, identifier) for identifier in ids],
        )


def delete(
    database: Database, repository: str | None = None, before: float | None = None
) -> Purged:
    """Delete the rows of a repository (None: any) created before `before` (None: ever)."""
    condition = (
        "(:repository IS NULL OR repository = :repository) "
        "AND (:before IS NULL OR created < :before)"
    )
    scope = {"repository": repository, "before": before}
    suggestions, edits = (
        _changed(database, f"DELETE FROM {table} WHERE {condition}", scope)
        for table in ("suggestions", "edits")
    )
    return Purged(suggestions, edits)


def delete_everything(database: Database) -> Purged:
    """Delete all rows, the answers about repositories too."""
    purged = delete(database)
    consents = _changed(database, "DELETE FROM consents", [])
    return Purged(purged.suggestions, purged.edits, consents)


def delete_beyond(database: Database, cap_bytes: float, before: float) -> Purged:
    """Delete the rows created before `before`, then the oldest until the cap holds."""
    purged = delete(database, before=before)
    while _used_bytes(database) > cap_bytes:
        oldest = _oldest_tenth(database)
        if oldest is None:  # the empty schema alone is larger than the cap
            break
        # `delete` is half-open, so step just past the newest row that is to go
        more = delete(database, before=math.nextafter(oldest, math.inf))
        purged = Purged(purged.suggestions + more.suggestions, purged.edits + more.edits)
    return purged


def _place(row: Suggestion | SettledEdit) -> dict[str, str | None]:
    return {
        "uri": scrub(row.uri),
        "path": None if row.path is None else scrub(row.path),
        "repository": None if row.repository is None else repository_key(row.repository),
        "language": scrub(row.language),
    }


def _line_aligned_tail(text: str) -> str:
    """The end of `text` from the start of the line in which its kept part begins."""
    start = text.rfind("\n", 0, max(0, len(text) - CONTEXT_KEPT)) + 1
    return text[max(start, len(text) - _CONTEXT_SCRUBBED) :]


def _known_outcome(database: Database, suggestion_id: str) -> dict[str, Any] | None:
    return next(
        database.query(
            "SELECT length, outcome, outcome_source, accepted_length FROM suggestions WHERE id = ?",
            [suggestion_id],
        ),
        None,
    )


def _length_taken(length: int, outcome: Outcome, reported: int | None) -> int | None:
    if outcome in {"accepted", "typed_through"} and reported is None:
        return length
    if outcome == "partial" and reported is None:
        return 0
    return None if reported is None else max(0, min(reported, length))


def _is_news(known: dict[str, Any], outcome: Outcome, source: Source, length: int | None) -> bool:
    old = _strength(known["outcome"], known["outcome_source"])
    new = _strength(outcome, source)
    grown = outcome == "partial" and (length or 0) > (known["accepted_length"] or 0)
    return new > old or (new == old and grown)


def _strength(outcome: Outcome | None, source: Source | None) -> int:
    if outcome is None or source is None:
        return 0
    return _STRENGTH.get((source, outcome), 1)


def _schedule_retention(
    database: Database, suggestion_id: str, outcome: Outcome, moment: float
) -> None:
    if outcome not in {"accepted", "partial"}:
        database.conn.execute("DELETE FROM retention WHERE suggestion_id = ?", [suggestion_id])
        return
    database.conn.executemany(
        "INSERT OR IGNORE INTO retention (suggestion_id, deadline_s, due, owner) "
        "VALUES (?, ?, ?, ?)",
        [(suggestion_id, after_s, moment + after_s, own_token()) for after_s in DEADLINES_S],
    )


def _changed(database: Database, statement: str, parameters: list[Any] | Mapping[str, Any]) -> int:
    return int(database.conn.execute(statement, parameters).rowcount)


def _used_bytes(database: Database) -> int:
    page, pages, free = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    return int(page * (pages - free))


def _oldest_tenth(database: Database) -> float | None:
    """The time up to which the oldest tenth of all rows was created; None: no rows."""
    both = "SELECT created FROM suggestions UNION ALL SELECT created FROM edits"
    (count,) = database.execute(f"SELECT count(*) FROM ({both})").fetchone()
    row = database.execute(
        f"SELECT created FROM ({both}) ORDER BY created LIMIT 1 OFFSET ?", [count // 10]
    ).fetchone()
    return None if row is None else float(row[0])
