# ruff: noqa: S608 - every query is put together from this module's constants
"""The session log's questions, in SQL: what happened, and what can be learned from it.

Invariant: reads only, and what is given to learn from is scrubbed of no secret, stood when it
was last measured, and lies in no repository that has not said yes. Knows no file and no lock.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from neuralforge_server.session.migrations import SCHEMA
from neuralforge_server.session.rows import (
    DEADLINES_S,
    Group,
    LoggedSuggestion,
    PendingRetention,
    Purged,
    Tally,
    TrainingEvent,
)
from neuralforge_server.session.scrub import scrub

RETAINED_ENOUGH = 0.8
"""Share of an accepted text that must still stand for it to be learned from."""

_CONSENTED = """(repository IS NULL OR repository IN
                 (SELECT repository FROM consents WHERE answer = 'yes'))"""

_ACCEPTED = f"""
    SELECT * FROM (
        SELECT suggestions.*, (
            SELECT retained FROM retention
            WHERE suggestion_id = suggestions.id AND retained IS NOT NULL
            ORDER BY deadline_s DESC LIMIT 1
        ) AS last_retained
        FROM suggestions
        WHERE outcome IN ('accepted', 'partial') AND accepted_length > 0
        AND NOT scrubbed AND {_CONSENTED}
        AND NOT EXISTS (SELECT 1 FROM retention
                        WHERE suggestion_id = suggestions.id AND how IS NULL)
    ) WHERE last_retained >= {RETAINED_ENOUGH}
"""

_EDITED = f"""
    SELECT edits.*, dismissed.text AS rejected
    FROM (SELECT * FROM edits WHERE {_CONSENTED}) AS edits
    LEFT JOIN suggestions AS dismissed ON dismissed.id = edits.dismissed_id
        AND NOT dismissed.scrubbed
    WHERE trim(after, char(9, 10, 13, 32)) <> '' AND instr(after, '<secret:') = 0
"""

_UNUSED = "used_at IS NULL"

_GROUPS: dict[Group, str] = {
    "day": "date(created, 'unixepoch', 'localtime')",
    "language": "language",
    "stack": "stack_json",
}


def training_events(database: Database, since: float, unused_only: bool) -> Iterator[TrainingEvent]:
    """Everything to learn from that was created at or after `since`, oldest first."""
    condition = "created >= ?" + (f" AND {_UNUSED}" if unused_only else "")
    accepted = database.query(f"SELECT * FROM ({_ACCEPTED}) WHERE {condition}", [since])
    edited = database.query(f"SELECT * FROM ({_EDITED}) WHERE {condition}", [since])
    return heapq.merge(
        sorted(map(_accepted_event, accepted), key=_created),
        sorted(map(_edit_event, edited), key=_created),
        key=_created,
    )


def everything(database: Database) -> Purged:
    """What deleting all of it would delete."""
    suggestions, edits, consents = (
        database[table].count for table in ("suggestions", "edits", "consents")
    )
    return Purged(suggestions, edits, consents)


def count_new_samples(database: Database) -> int:
    """How many events no training has used."""
    return sum(
        database.execute(f"SELECT count(*) FROM ({query}) WHERE {_UNUSED}").fetchone()[0]
        for query in (_ACCEPTED, _EDITED)
    )


def pending_retention(database: Database, uri: str | None) -> list[PendingRetention]:
    """Deadlines not yet measured, of one document or of all, soonest first."""
    rows = database.query(
        """
        SELECT retention.*, uri, path, line, text, accepted_length, scrubbed
        FROM retention JOIN suggestions ON suggestions.id = suggestion_id
        WHERE how IS NULL AND (:uri IS NULL OR uri = :uri) ORDER BY due, suggestion_id
        """,
        {"uri": uri},
    )
    return [
        PendingRetention(
            suggestion_id=row["suggestion_id"],
            deadline_s=row["deadline_s"],
            due=row["due"],
            uri=row["uri"],
            path=row["path"],
            line=row["line"],
            accepted=None if row["scrubbed"] else row["text"][: row["accepted_length"]],
            owner=row["owner"],
        )
        for row in rows
    ]


def show(database: Database, limit: int, wanted: Mapping[str, Any]) -> list[LoggedSuggestion]:
    """The newest suggestions first; `wanted`: language, outcome, text (or None) and since."""
    rows = list(
        database.query(
            """
            SELECT * FROM suggestions
            WHERE (:language IS NULL OR language = :language)
            AND (:outcome IS NULL OR outcome = :outcome)
            AND created >= :since
            AND (:text IS NULL OR instr(lower(text), lower(:text))
                 OR instr(lower(coalesce(path, uri)), lower(:text)))
            ORDER BY created DESC, rowid DESC LIMIT :limit
            """,
            {**wanted, "limit": limit},
        )
    )
    retained = _retained_of(database, [row["id"] for row in rows])
    return [
        LoggedSuggestion(**{**row, "scrubbed": bool(row["scrubbed"])}, retained=retained[row["id"]])
        for row in rows
    ]


def recent_acceptance(database: Database, limit: int) -> tuple[int, int]:
    """(shown, accepted at least in part) of the newest `limit` suggestions."""
    counts = Counter(
        outcome
        for (outcome,) in database.execute(
            "SELECT outcome FROM suggestions ORDER BY created DESC LIMIT ?", [limit]
        )
    )
    shown = counts.total() - counts[None] - counts["superseded"]
    return shown, counts["accepted"] + counts["partial"]


def tallies(database: Database) -> tuple[Tally, dict[str, Tally]]:
    """The counts over all suggestions, and for each language (most used first)."""
    rows, retained = _counted(database, "language"), _retained_shares(database)
    return _tally(rows, retained), _tally_groups(rows, retained)


def tallies_by(database: Database, group: Group) -> dict[str, Tally]:
    """The counts for each day, language or stack, most used first; days are the user's own."""
    return _tally_groups(_counted(database, _GROUPS[group]), _retained_shares(database))


def _counted(database: Database, group: str) -> list[dict[str, Any]]:
    query = f'SELECT id, {group} AS "group", outcome, accepted_length, latency_ms FROM suggestions'
    return list(database.query(query))


def _retained_shares(database: Database) -> dict[str, list[tuple[int, float]]]:
    retained: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for identifier, deadline_s, share in database.execute(
        "SELECT suggestion_id, deadline_s, retained FROM retention WHERE retained IS NOT NULL"
    ):
        retained[identifier].append((deadline_s, share))
    return retained


def _tally_groups(
    rows: Sequence[dict[str, Any]], retained: dict[str, list[tuple[int, float]]]
) -> dict[str, Tally]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["group"]].append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return {name: _tally(some, retained) for name, some in ordered}


def broken_invariants(database: Database) -> list[str]:
    """What `SessionLog.verify` reports of the rows."""
    checks = {
        "has an accepted length beyond its text": """
            SELECT id FROM suggestions WHERE accepted_length > length
            OR (NOT scrubbed AND length <> length(text))""",
        "was accepted without a length": """
            SELECT id FROM suggestions
            WHERE outcome IN ('accepted', 'partial') AND accepted_length IS NULL""",
        "was accepted without its three retention rows": """
            SELECT id FROM suggestions WHERE outcome IN ('accepted', 'partial')
            AND (SELECT count(*) FROM retention WHERE suggestion_id = suggestions.id) <> 3""",
        "was not accepted and has retention rows": """
            SELECT id FROM suggestions WHERE outcome IS NOT NULL
            AND outcome NOT IN ('accepted', 'partial')
            AND EXISTS (SELECT 1 FROM retention WHERE suggestion_id = suggestions.id)""",
        "is due at another time than its deadline says": """
            SELECT DISTINCT suggestion_id FROM retention AS one JOIN retention AS other
            USING (suggestion_id)
            WHERE abs((one.due - one.deadline_s) - (other.due - other.deadline_s)) > 0.01""",
    }
    problems = [
        f"suggestion {identifier} {what}"
        for what, query in checks.items()
        for (identifier,) in database.execute(query)
    ]
    problems += [f"schema step {name} is missing" for name in SCHEMA.missing(database)]
    problems += [f"integrity: {row[0]}" for row in database.execute("PRAGMA integrity_check(5)")]
    problems += [
        f"{table} row {rowid} refers to a missing row of {parent}"
        for table, rowid, parent, _ in database.execute("PRAGMA foreign_key_check")
    ]
    return [problem for problem in problems if problem != "integrity: ok"] + _unscrubbed(database)


def _unscrubbed(database: Database) -> list[str]:
    columns = {
        "suggestions": ("text", "prefix_tail", "suffix_head"),
        "edits": ("before", "after", "prefix", "suffix"),
    }
    return [
        f"{table} row {row['id']} holds a secret in {column}"
        for table, names in columns.items()
        for row in database[table].rows
        for column in names
        if scrub(row[column]) != row[column]
    ]


def _created(event: TrainingEvent) -> float:
    return event.created


def _accepted_event(row: dict[str, Any]) -> TrainingEvent:
    return TrainingEvent(
        id=row["id"],
        kind="accepted",
        created=row["created"],
        path=row["path"],
        repository=row["repository"],
        language=row["language"],
        prefix=row["prefix_tail"],
        text=row["text"][: row["accepted_length"]],
        suffix=row["suffix_head"],
        rejected=None,
        retained=row["last_retained"],
    )


def _edit_event(row: dict[str, Any]) -> TrainingEvent:
    return TrainingEvent(
        id=row["id"],
        kind="edit" if row["rejected"] is None else "rejected",
        created=row["created"],
        path=row["path"],
        repository=row["repository"],
        language=row["language"],
        prefix=row["prefix"],
        text=row["after"],
        suffix=row["suffix"],
        rejected=row["rejected"],
        retained=None,
    )


def _retained_of(database: Database, ids: Sequence[str]) -> dict[str, dict[int, float | None]]:
    found: dict[str, dict[int, float | None]] = {identifier: {} for identifier in ids}
    for start in range(0, len(ids), 500):  # SQLite bounds the parameters of one statement
        chunk = ids[start : start + 500]
        marks = ",".join("?" * len(chunk))
        for identifier, deadline_s, share in database.execute(
            "SELECT suggestion_id, deadline_s, retained FROM retention "
            f"WHERE suggestion_id IN ({marks}) ORDER BY deadline_s",
            chunk,
        ):
            found[identifier][deadline_s] = share
    return found


def _tally(rows: Sequence[dict[str, Any]], retained: dict[str, list[tuple[int, float]]]) -> Tally:
    outcomes = Counter(row["outcome"] for row in rows)
    shown = len(rows) - outcomes[None] - outcomes["superseded"]
    taken = [row for row in rows if row["outcome"] in {"accepted", "partial"}]
    shares = [pair for row in rows for pair in retained.get(row["id"], ())]
    latencies = sorted(row["latency_ms"] for row in rows)
    return Tally(
        suggestions=len(rows),
        shown=shown,
        accepted=outcomes["accepted"],
        partial=outcomes["partial"],
        typed_through=outcomes["typed_through"],
        dismissed=outcomes["dismissed"],
        superseded=outcomes["superseded"],
        acceptance_rate=len(taken) / shown if shown else None,
        characters_accepted=sum(row["accepted_length"] for row in taken),
        retained={
            deadline_s: _mean(share for at, share in shares if at == deadline_s)
            for deadline_s in DEADLINES_S
        },
        latency_p50_ms=_percentile(latencies, 0.5),
        latency_p95_ms=_percentile(latencies, 0.95),
    )


def _mean(values: Iterable[float]) -> float | None:
    held = list(values)
    return math.fsum(held) / len(held) if held else None


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest rank: the smallest value that at least `share` of all do not exceed."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
