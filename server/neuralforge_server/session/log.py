"""The session log: the one store of what was suggested, what became of it, and what was written.

Invariants: a method that has returned has committed, and neither a kill nor a power cut takes
its rows back; no secret reaches the disk, since every text is scrubbed here; an accepted
suggestion always has its three retention rows, another never has one. `verify` proves them.
One instance serves all threads of a process, and several processes share the file. Knows no
editor, no clock that cannot be passed in, and not who calls it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from sqlite_utils import Database

from neuralforge_server.errors import (
    SessionLogCorruptError,
    SessionLogDiskError,
    SessionLogError,
    SessionLogLockedError,
)
from neuralforge_server.session import database as files
from neuralforge_server.session import queries, writes
from neuralforge_server.session.database import Opened
from neuralforge_server.session.preferences import Preference, preferences
from neuralforge_server.session.rows import (
    Answer,
    Group,
    How,
    Limits,
    LoggedSuggestion,
    Outcome,
    PendingRetention,
    Purged,
    SettledEdit,
    Source,
    Stats,
    Suggestion,
    Tally,
    TrainingEvent,
)
from neuralforge_server.session.scrub import scrub
from neuralforge_server.session.writes import repository_key

DAY_S = 86_400.0

_Result = TypeVar("_Result")


class _Opener(Protocol):
    def __call__(self, path: Path, busy_timeout_s: float, *, distrust: bool = ...) -> Opened: ...


class SessionLog:
    """An open session log; a context manager that closes it.

    Every method may raise SessionLogLockedError (another process held the file for longer than
    `Limits.busy_timeout_s`), SessionLogReadOnlyError or SessionLogDiskError; nothing is written
    then. A file found to be damaged is set aside and the work done again in a new one.
    """

    def __init__(self, path: Path, limits: Limits, opener: _Opener = files.open_database) -> None:
        self.path = path
        self.limits = limits
        self.notices: list[str] = []
        """What the user should be told, such as a damaged file that was set aside."""
        self._guard = threading.RLock()
        self._open = opener
        self._opened = opener(path, limits.busy_timeout_s)
        self._take_notice()

    @classmethod
    def open(cls, path: Path, limits: Limits = Limits()) -> SessionLog:  # noqa: B008 - frozen
        """Open the log at `path`, creating or upgrading it.

        Raises:
            SessionLogCorruptError: it is damaged and another program keeps it from being moved.
        """
        return cls(path, limits)

    @classmethod
    def open_to_read(cls, path: Path) -> SessionLog:
        """As `open`; a log that cannot be written can be read, and only that."""
        return cls(path, Limits(), files.open_to_read)

    def close(self) -> None:
        """Close the file; the log cannot be used any more."""
        with self._guard:
            self._opened.database.close()

    def __enter__(self) -> SessionLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # what happened

    def record_suggestion(self, suggestion: Suggestion) -> None:
        """Remember a suggestion; one with a known id is ignored."""
        row = writes.suggestion_row(suggestion)
        self._write(lambda database: database["suggestions"].insert(row, ignore=True))

    def record_outcome(
        self,
        suggestion_id: str,
        outcome: Outcome,
        source: Source,
        accepted_length: int | None = None,
        at: float | None = None,
    ) -> bool:
        """Remember what became of a suggestion, unless more is known already.

        A client's report beats an inferred one, and acceptance beats dismissal from the same
        source. An acceptance schedules its three retention rows in the same transaction.

        Args:
            accepted_length: characters of the suggestion that were taken; by default all of it
                for an acceptance.
            at: when, in Unix seconds; by default now.

        Returns:
            Whether it was taken; False also for an unknown id.
        """
        moment = time.time() if at is None else at

        return self._write(
            lambda database: writes.update_outcome(
                database, suggestion_id, outcome, source, accepted_length, moment
            )
        )

    def record_retention(
        self,
        suggestion_id: str,
        deadline_s: int,
        retained: float | None,
        how: How,
        at: float | None = None,
    ) -> bool:
        """Remember a measured share (0..1; None with `unknown`); the first measure stands.

        Returns:
            Whether the row was still pending.
        """
        moment = time.time() if at is None else at
        key = (suggestion_id, deadline_s)
        return self._write(
            lambda database: writes.update_retention(database, key, retained, how, moment)
        )

    def record_edit(self, edit: SettledEdit) -> None:
        """Remember a settled edit; one with a known id is ignored.

        A `dismissed_id` that the log does not know (purged since) is dropped.
        """
        row = writes.edit_row(edit)
        self._write(lambda database: writes.insert_edit(database, row))

    # what is still to be measured, and what can be learned

    def pending_retention(self, uri: str | None = None) -> list[PendingRetention]:
        """Deadlines not yet measured, of every process and session, soonest first."""
        wanted = None if uri is None else scrub(uri)
        return self._read(lambda database: queries.pending_retention(database, wanted))

    def training_events(
        self, since: float = 0.0, unused_only: bool = True
    ) -> Iterator[TrainingEvent]:
        """What to learn from, oldest first, from repositories that said yes (or from none).

        Accepted texts that stood when last measured; settled edits; and, as `rejected`, what was
        written where a suggestion was dismissed. An accepted text that stayed may come again
        inside an edit.

        Args:
            since: Unix seconds; only rows created then or later.
            unused_only: leave out what `mark_used` was told of.
        """
        return iter(
            self._read(lambda database: list(queries.training_events(database, since, unused_only)))
        )

    def preferences(self, since: float = 0.0) -> list[Preference]:
        """What was preferred to suggestions made at or after `since` (Unix seconds), oldest first.

        Whether a training has used the texts already does not count.
        """
        return self._read(lambda database: preferences(database, since))

    def count_new_samples(self) -> int:
        """How many events `training_events()` would give."""
        return self._read(queries.count_new_samples)

    def mark_used(self, ids: Iterable[str], at: float | None = None) -> None:
        """Remember that a training has used the events of these ids."""
        moment = time.time() if at is None else at
        used = list(ids)
        self._write(lambda database: writes.mark_used(database, used, moment))

    # what the user asks

    def stats(self) -> Stats:
        """The whole log in figures."""

        def read(database: Database) -> Stats:
            overall, languages = queries.tallies(database)
            return Stats(
                overall=overall,
                languages=languages,
                edits=database["edits"].count,
                new_samples=queries.count_new_samples(database),
                bytes=self._bytes(),
            )

        return self._read(read)

    def show(
        self,
        limit: int,
        *,
        language: str | None = None,
        outcome: Outcome | None = None,
        text: str | None = None,
        since: float = 0.0,
    ) -> list[LoggedSuggestion]:
        """The newest suggestions, newest first; what is None does not narrow them down.

        Args:
            text: part of the suggestion or of its file's path, in any case of letters.
            since: Unix seconds; only suggestions made then or later.
        """
        wanted = {"language": language, "outcome": outcome, "text": text, "since": since}
        return self._read(lambda database: queries.show(database, limit, wanted))

    def tallies_by(self, group: Group) -> dict[str, Tally]:
        """The counts for each day (`2026-01-31`), language or stack (its JSON), most used first."""
        return self._read(lambda database: queries.tallies_by(database, group))

    def recent_acceptance(self, limit: int = 1000) -> tuple[int, int]:
        """(shown, accepted at least in part) of the newest suggestions: quick in a large log."""
        return self._read(lambda database: queries.recent_acceptance(database, limit))

    def consent(self, repository: Path | str) -> Answer | None:
        """Whether the user lets this repository be learned from; None: not asked yet."""
        key = repository_key(repository)

        def read(database: Database) -> Answer | None:
            row = database.execute(
                "SELECT answer FROM consents WHERE repository = ?", [key]
            ).fetchone()
            return row[0] if row else None

        return self._read(read)

    def set_consent(self, repository: Path | str, answer: Answer, at: float | None = None) -> None:
        """Remember the user's answer for a repository."""
        row = {
            "repository": repository_key(repository),
            "answer": answer,
            "asked_at": time.time() if at is None else at,
        }
        self._write(lambda database: database["consents"].upsert(row, pk="repository"))

    # what is forgotten

    def purge(
        self,
        repository: Path | str | None = None,
        older_than_days: float | None = None,
        everything: bool = False,
        now: float | None = None,
    ) -> Purged:
        """Delete rows so that nothing of them is left on the disk.

        Conditions join: a repository's rows older than so many days. `everything` also forgets
        the consents; with no condition and without `everything` nothing is deleted. Damaged files
        that were set aside are deleted by any purge, since nothing in them can be told apart.
        On a disk too full to overwrite rows, `everything` deletes the file instead.

        Raises:
            SessionLogLockedError: the rows are deleted, but a reader in another process keeps
                their remains in the write-ahead log; purge again.
        """
        if not everything and repository is None and older_than_days is None:
            return Purged(0, 0)
        if everything:
            purged = self._delete_everything()
        else:
            key = None if repository is None else repository_key(repository)
            before = None
            if older_than_days is not None:
                before = (time.time() if now is None else now) - older_than_days * DAY_S
            purged = self._write(lambda database: writes.delete(database, key, before))
        self._compact()
        return replace(purged, damaged_files=self._delete_damaged())

    def enforce_limits(self, now: float | None = None) -> Purged:
        """Delete what is too old, then the oldest until the log is under its size cap."""
        before = (time.time() if now is None else now) - self.limits.age_days * DAY_S
        cap = self.limits.size_mb * 1e6

        purged = self._write(lambda database: writes.delete_beyond(database, cap, before))
        if purged.suggestions or purged.edits:
            self._compact()
        return purged

    def verify(self) -> list[str]:
        """Every broken invariant of the store, in words; empty when it is sound."""
        problems = self._read(queries.broken_invariants)
        if os.name != "nt":
            problems += [
                f"{file} can be read by others"
                for file in (self.path, *(Path(f"{self.path}{s}") for s in files.SUFFIXES))
                if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077
            ]
        return problems

    # how it is done

    def _write(self, operation: Callable[[Database], _Result]) -> _Result:
        def transaction(database: Database) -> _Result:
            database.conn.execute("BEGIN IMMEDIATE")  # waits for its turn here, not half-way
            try:
                result = operation(database)
                database.conn.execute("COMMIT")
            except BaseException:
                database.rollback()
                raise
            return result

        return self._run(transaction)

    def _read(self, operation: Callable[[Database], _Result]) -> _Result:
        return self._run(operation)

    def _run(self, operation: Callable[[Database], _Result]) -> _Result:
        """`operation` on the file that lies at the path before and after it.

        Another process may have set a damaged file aside meanwhile: what was committed to that
        one is done again in the new one, which every operation bears.
        """
        with self._guard:
            for _ in range(3):
                try:
                    if self._is_replaced():
                        self._reopen(distrust=False)
                    result = operation(self._opened.database)
                    if not self._is_replaced():
                        return result
                except sqlite3.Error as error:
                    if not files.is_corruption(error):
                        raise files.translated(error, self.path) from error
                    self._reopen(distrust=True)
        raise SessionLogCorruptError(
            f"the session log {self.path} keeps being damaged or replaced; check its disk, "
            "or set NEURALFORGE_HOME to a folder on another one"
        )

    def _is_replaced(self) -> bool:
        return files.identity(self.path) != self._opened.identity

    def _reopen(self, *, distrust: bool) -> None:
        with suppress(sqlite3.Error):
            self._opened.database.close()
        self._opened = self._open(self.path, self.limits.busy_timeout_s, distrust=distrust)
        self._take_notice()

    def _take_notice(self) -> None:
        if self._opened.notice:
            self.notices.append(self._opened.notice)

    def _delete_everything(self) -> Purged:
        try:
            return self._write(writes.delete_everything)
        except SessionLogDiskError:
            with self._guard:
                purged = self._read(queries.everything)
                self._opened.database.close()
                try:
                    self._opened = files.replace_by_empty(self.path, self.limits.busy_timeout_s)
                except SessionLogError:
                    self._reopen(distrust=False)
                    raise
            return purged

    def _compact(self) -> None:
        """Give freed pages back and empty the write-ahead log, where old rows may still lie."""

        def compact(database: Database) -> bool:
            _checkpoint(database)
            try:
                database.conn.execute("VACUUM")
            except sqlite3.OperationalError as error:
                # a full disk has no room to rewrite the file; its freed pages are zeroed anyhow
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
                    raise
            return _checkpoint(database)

        if not self._read(compact):
            raise SessionLogLockedError(
                f"the rows are deleted from {self.path}, but another process still reads an older "
                "state; run `neuralforge log purge` again in a moment"
            )

    def _delete_damaged(self) -> int:
        damaged = files.damaged_files(self.path)
        for file in damaged:
            file.unlink(missing_ok=True)
        return len(damaged)

    def _bytes(self) -> int:
        both = (self.path, Path(f"{self.path}-wal"))
        return sum(file.stat().st_size for file in both if file.exists())


def _checkpoint(database: Database) -> bool:
    """Move the write-ahead log into the file and empty it; False: a reader was in the way."""
    busy, _, _ = database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
