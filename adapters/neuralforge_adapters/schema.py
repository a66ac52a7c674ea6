"""The append-only list of steps that led to a database's schema.

Invariant: a step, once released, never changes; a new need is a new function at the end. What is
missing is applied in one write transaction, so that a reader sees the old schema or the new one
and two processes never apply a step twice. Knows no table.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlite_utils import Database, Migrations

Step = Callable[[Database], None]


class Schema:
    """The steps of one kind of database; a database records which it has had."""

    def __init__(self, name: str) -> None:
        self.steps = Migrations(name)

    def step(self, function: Step) -> Step:
        """Declare the next step; it is known by the function's name."""
        self.steps()(function)
        return function

    def missing(self, database: Database) -> list[str]:
        """The names of the steps that `database` has not had."""
        return [step.name for step in self.steps.pending(database)]

    def upgrade(self, database: Database) -> None:
        """Bring `database` to the newest schema.

        Raises:
            sqlite3.Error: a step failed; the database is as it was before.
        """
        if not self.missing(database):
            return
        database.conn.execute("BEGIN IMMEDIATE")  # steps are chosen only once no one else writes
        try:
            self.steps.apply(database)
            database.conn.execute("COMMIT")
        except BaseException:
            database.rollback()
            raise
