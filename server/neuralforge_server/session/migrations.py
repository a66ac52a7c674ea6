"""The session log's schema, step by step; see `Schema`. Knows no row."""

from __future__ import annotations

from sqlite_utils import Database

from neuralforge_adapters.schema import Schema

SCHEMA = Schema("neuralforge.session")


@SCHEMA.step
def m001_suggestions(database: Database) -> None:
    """Suggestions, and what became of them."""
    database.conn.execute(
        """
        CREATE TABLE suggestions (
            id TEXT PRIMARY KEY NOT NULL,
            created REAL NOT NULL,
            base TEXT NOT NULL,
            stack TEXT NOT NULL,
            stack_json TEXT NOT NULL,
            uri TEXT NOT NULL,
            path TEXT,
            repository TEXT,
            language TEXT NOT NULL,
            line INTEGER NOT NULL,
            character INTEGER NOT NULL,
            trigger TEXT NOT NULL CHECK (trigger IN ('automatic', 'invoked', 'completion')),
            prefix_tail TEXT NOT NULL,
            suffix_head TEXT NOT NULL,
            text TEXT NOT NULL,
            length INTEGER NOT NULL,
            scrubbed INTEGER NOT NULL CHECK (scrubbed IN (0, 1)),
            latency_ms REAL NOT NULL,
            tokens INTEGER NOT NULL,
            outcome TEXT CHECK (outcome IN ('shown', 'accepted', 'partial', 'typed_through',
                                            'dismissed', 'superseded')),
            outcome_source TEXT CHECK (outcome_source IN ('client', 'inferred')),
            accepted_length INTEGER CHECK (accepted_length >= 0),
            outcome_at REAL,
            used_at REAL,
            CHECK ((outcome IS NULL) = (outcome_source IS NULL)),
            CHECK ((outcome IS NULL) = (outcome_at IS NULL))
        )
        """
    )
    database.conn.execute("CREATE INDEX suggestions_created ON suggestions(created)")


@SCHEMA.step
def m002_retention(database: Database) -> None:
    """How much of an accepted suggestion stood at each deadline."""
    database.conn.execute(
        """
        CREATE TABLE retention (
            suggestion_id TEXT NOT NULL REFERENCES suggestions(id) ON DELETE CASCADE,
            deadline_s INTEGER NOT NULL CHECK (deadline_s IN (30, 120, 300)),
            due REAL NOT NULL,
            owner TEXT NOT NULL,
            retained REAL CHECK (retained BETWEEN 0 AND 1),
            measured_at REAL,
            how TEXT CHECK (how IN ('open', 'closed', 'disk', 'unknown')),
            PRIMARY KEY (suggestion_id, deadline_s),
            CHECK ((how IS NULL) = (measured_at IS NULL)),
            CHECK ((retained IS NULL) = (how IS NULL OR how = 'unknown'))
        )
        """
    )
    database.conn.execute("CREATE INDEX retention_pending ON retention(due) WHERE how IS NULL")


@SCHEMA.step
def m003_edits(database: Database) -> None:
    """Settled edits, and the suggestion that one was written instead of."""
    database.conn.execute(
        """
        CREATE TABLE edits (
            id TEXT PRIMARY KEY NOT NULL,
            created REAL NOT NULL,
            uri TEXT NOT NULL,
            path TEXT,
            repository TEXT,
            language TEXT NOT NULL,
            line INTEGER NOT NULL,
            before TEXT NOT NULL,
            after TEXT NOT NULL,
            prefix TEXT NOT NULL,
            suffix TEXT NOT NULL,
            dismissed_id TEXT REFERENCES suggestions(id) ON DELETE SET NULL,
            used_at REAL
        )
        """
    )
    database.conn.execute("CREATE INDEX edits_created ON edits(created)")
    database.conn.execute("CREATE INDEX edits_dismissed ON edits(dismissed_id)")


@SCHEMA.step
def m004_consents(database: Database) -> None:
    """The one answer per repository to whether it may be learned from."""
    database.conn.execute(
        """
        CREATE TABLE consents (
            repository TEXT PRIMARY KEY NOT NULL,
            answer TEXT NOT NULL CHECK (answer IN ('yes', 'no')),
            asked_at REAL NOT NULL
        )
        """
    )
