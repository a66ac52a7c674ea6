"""The replay buffer's schema, step by step; see `Schema`.

The first step is what buffers had before their steps were counted, so it bears that they exist.
Knows no reservoir.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlite_utils import Database

from neuralforge_adapters.schema import Schema

SCHEMA = Schema("neuralforge.replay")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def month_of(time: float) -> str:
    """The month (UTC) of a time in Unix seconds, as `2026-11`; empty for one beyond reckoning."""
    try:
        return f"{_EPOCH + timedelta(seconds=time):%Y-%m}"
    except (OverflowError, ValueError):
        return ""


@SCHEMA.step
def m001_samples(database: Database) -> None:
    """One uniform reservoir, counted by repository."""
    database.conn.execute(
        "CREATE TABLE IF NOT EXISTS samples "
        "(slot INTEGER PRIMARY KEY, repository TEXT, added FLOAT, sample TEXT)"
    )
    database.conn.execute(
        "CREATE TABLE IF NOT EXISTS repositories (name TEXT PRIMARY KEY, seen INTEGER)"
    )
    database.conn.execute("CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY, content TEXT)")


@SCHEMA.step
def m002_strata(database: Database) -> None:
    """A reservoir of strata: repository, language and month.

    A uniform sample of m of n things is what a threshold of m / n for every key would have kept.
    """
    database.conn.execute(
        """
        CREATE TABLE strata (
            id INTEGER PRIMARY KEY,
            repository TEXT NOT NULL,
            language TEXT NOT NULL,
            month TEXT NOT NULL,
            seen INTEGER NOT NULL,
            threshold REAL NOT NULL CHECK (threshold BETWEEN 0 AND 1),
            UNIQUE (repository, language, month)
        )
        """
    )
    database.conn.execute(
        """
        CREATE TABLE held (
            id INTEGER PRIMARY KEY,
            stratum INTEGER NOT NULL REFERENCES strata(id),
            key REAL NOT NULL CHECK (key >= 0 AND key < 1),
            added REAL NOT NULL,
            sample TEXT NOT NULL
        )
        """
    )
    database.conn.execute("CREATE INDEX held_stratum ON held(stratum)")
    _carry_over(database)
    database.conn.execute("DROP TABLE samples")
    database.conn.execute("DROP TABLE repositories")


@SCHEMA.step
def m003_teachings(database: Database) -> None:
    """What the adapter said of a held sample once it had learnt it, for distillation."""
    database.conn.execute(
        """
        CREATE TABLE teachings (
            held INTEGER PRIMARY KEY REFERENCES held(id) ON DELETE CASCADE,
            base TEXT NOT NULL,
            content BLOB NOT NULL
        )
        """
    )


@SCHEMA.step
def m004_capacity(database: Database) -> None:
    """How many samples it holds at most; a buffer that holds more keeps what it has."""
    database.conn.execute(
        """
        CREATE TABLE size (
            id INTEGER PRIMARY KEY CHECK (id = 0),
            capacity INTEGER NOT NULL CHECK (capacity > 0)
        )
        """
    )
    database.conn.execute("INSERT INTO size SELECT 0, max(1000, count(*)) FROM held")


def _carry_over(database: Database) -> None:
    old = list(database["samples"].rows)
    state = next(iter(database["state"].rows), None)
    source = random.Random(0)
    if state is not None:
        version, internal, gauss = json.loads(state["content"])["random"]
        source.setstate((version, tuple(internal), gauss))
    population = sum(row["seen"] for row in database["repositories"].rows)
    rate = min(1.0, len(old) / population) if population else 1.0
    strata: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in old:
        strata.setdefault(_old_stratum(row), []).append(row)
    for number, ((repository, language, month), rows) in enumerate(strata.items(), 1):
        seen = max(len(rows), round(len(rows) / rate))
        database.conn.execute(
            "INSERT INTO strata VALUES (?, ?, ?, ?, ?, ?)",
            [number, repository, language, month, seen, rate],
        )
        database.conn.executemany(
            "INSERT INTO held (stratum, key, added, sample) VALUES (?, ?, ?, ?)",
            [(number, source.random() * rate, row["added"], row["sample"]) for row in rows],
        )
    if state is not None or old:  # a fresh buffer's state begins with its own seed
        content = {"random": source.getstate(), "next": len(old) + 1}
        database["state"].insert({"id": 0, "content": json.dumps(content)}, replace=True)


def _old_stratum(row: dict[str, Any]) -> tuple[str, str, str]:
    record = json.loads(row["sample"])
    month = month_of(float(record.get("time", 0.0)))
    return row["repository"], str(record.get("language", "")), month
