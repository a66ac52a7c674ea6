# ruff: noqa: S608 - every statement is put together from table and column names of the schema
"""What can still be read of a damaged session log, carried over into a new one.

Invariant: the new log keeps every invariant of the store, whatever is missing from the old one:
what refers to a lost row lets go of it, and a lost measure is an unknown one. Knows no path but
the damaged file's, from which it only selects.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from sqlite_utils import Database

TABLES = ("suggestions", "retention", "edits", "consents")

_REPAIRS = (
    "DELETE FROM retention WHERE suggestion_id NOT IN (SELECT id FROM suggestions)",
    """UPDATE edits SET dismissed_id = NULL
       WHERE dismissed_id NOT IN (SELECT id FROM suggestions)""",
    """INSERT OR IGNORE INTO retention (suggestion_id, deadline_s, due, owner, measured_at, how)
       SELECT id, column1, outcome_at + column1, '', outcome_at, 'unknown'
       FROM suggestions, (VALUES (30), (120), (300)) WHERE outcome IN ('accepted', 'partial')""",
)


def salvage(damaged: Path, database: Database) -> int:
    """Copy every row that can be read into the empty `database`; returns how many.

    Raises:
        sqlite3.Error: the new database cannot be written.
    """
    database.conn.execute("PRAGMA foreign_keys = OFF")  # until the repairs
    with contextlib.closing(sqlite3.connect(damaged)) as source, database.atomic():
        for table in TABLES:
            # up to the damage, and if there is any in this table, from behind as well
            if not _copy(source, database, table, "ASC"):
                _copy(source, database, table, "DESC")
        carried = sum(int(database[table].count) for table in TABLES)
        for repair in _REPAIRS:
            database.conn.execute(repair)
    database.conn.execute("PRAGMA foreign_keys = ON")
    return carried


def _copy(source: sqlite3.Connection, database: Database, table: str, order: str) -> bool:
    """Whether the table could be read to its end."""
    try:
        rows = source.execute(f"SELECT * FROM {table} ORDER BY rowid {order}")
        names = [column[0] for column in rows.description]
        marks = ", ".join("?" * len(names))
        statement = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})"
        while (row := rows.fetchone()) is not None:
            with contextlib.suppress(sqlite3.IntegrityError):
                database.conn.execute(statement, row)
    except sqlite3.DatabaseError:  # the damage; a fault of the new database shows at its commit
        return False
    return True
