"""Every schema that was ever released leads to the newest one, empty or filled."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.migrations import SCHEMA

STEPS = ["m001_suggestions", "m002_retention", "m003_edits", "m004_consents"]

ROW = {
    "id": "one", "created": 1.0, "base": "b", "stack": "s", "stack_json": "[]", "uri": "file:///a",
    "path": "/a", "repository": None, "language": "python", "line": 0, "character": 0,
    "trigger": "automatic", "prefix_tail": "", "suffix_head": "", "text": "kept", "length": 4,
    "scrubbed": 0, "latency_ms": 1.0, "tokens": 1,
}  # fmt: skip


def database(path: Path) -> Database:
    return Database(sqlite3.connect(path), execute_plugins=False)


def schema(path: Path) -> list[str]:
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    return [row[0] for row in database(path).execute(query)]


def test_steps_are_only_ever_added() -> None:
    fresh = Database(memory=True)

    assert SCHEMA.missing(fresh) == STEPS


@pytest.mark.parametrize("stop", [*STEPS[1:], None])
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_every_older_schema_is_brought_to_the_newest(
    tmp_path: Path, stop: str | None, filled: bool
) -> None:
    old, fresh = tmp_path / "old.db", tmp_path / "fresh.db"
    start = database(old)
    SCHEMA.steps.apply(start, stop_before=stop)
    if filled:
        start["suggestions"].insert(ROW)
    start.close()

    with SessionLog.open(old) as log, SessionLog.open(fresh) as other:
        assert [row.text for row in log.show(9)] == (["kept"] if filled else [])
        assert other.verify() == log.verify() == []
    assert schema(old) == schema(fresh)


def test_a_step_that_fails_leaves_the_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    start = database(path)
    SCHEMA.steps.apply(start, stop_before=STEPS[1])
    start["suggestions"].insert(ROW)
    before = schema(path)

    def m005_fails(target: Database) -> None:
        target.conn.execute("CREATE TABLE half_done (id)")
        target.conn.execute("SELECT no_such_function()")

    monkeypatch.setattr(SCHEMA.steps, "_migrations", list(SCHEMA.steps._migrations))
    SCHEMA.step(m005_fails)
    with pytest.raises(sqlite3.OperationalError):
        SCHEMA.upgrade(start)
    start.close()

    assert schema(path) == before
    assert [row["text"] for row in database(path)["suggestions"].rows] == ["kept"]
