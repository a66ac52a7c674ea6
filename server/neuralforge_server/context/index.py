"""The index of one workspace: its files in chunks, for full-text search, and what they define.

Invariant: what is committed survives a kill, and a damaged or outdated file is replaced by an
empty one, since everything in it can be read again. One process writes (`indexer` holds a lock),
many read (`search`). Knows neither a walk nor a cursor.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from neuralforge_adapters.fim import split_lines
from neuralforge_adapters.home import Home, private_dir
from neuralforge_adapters.language import language_of
from neuralforge_server.context.chunks import cut
from neuralforge_server.context.definitions import definitions
from neuralforge_server.context.places import DATABASE_SUFFIXES, context_file, damage_mark
from neuralforge_server.context.words import indexed
from neuralforge_server.errors import ContextIndexError

SCHEMA_VERSION = 1
"""Of the tables and of everything that decides how a text is cut and worded."""
FREQUENT = 1_000
"""Chunks: the count of a word in more of them is kept, as counting it takes too long."""
_CHECKED_AT_OPEN_BYTES = 16_000_000
_BUSY_SECONDS = 5.0
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_SCHEMA = """
CREATE TABLE files(
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, mtime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL, digest BLOB NOT NULL, changed REAL NOT NULL, text BLOB NOT NULL);
CREATE TABLE chunks(
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL, first INTEGER NOT NULL,
    begins INTEGER NOT NULL, ends INTEGER NOT NULL);
CREATE INDEX chunks_of_file ON chunks(file);
CREATE TABLE definitions(
    file INTEGER NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL, line INTEGER NOT NULL,
    signature TEXT NOT NULL);
CREATE INDEX definitions_of_file ON definitions(file);
CREATE INDEX definitions_by_name ON definitions(name);
CREATE TABLE frequent(word TEXT PRIMARY KEY, chunks INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE remembered(
    memory TEXT NOT NULL, path TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (memory, path)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5(
    names, parts, content='', tokenize="unicode61 remove_diacritics 0 tokenchars '_$'");
CREATE VIRTUAL TABLE vocabulary USING fts5vocab(words, 'row');
INSERT INTO words(words, rank) VALUES ('rank', 'bm25(4.0, 1.0)');
"""


@dataclass(frozen=True)
class Stamp:
    """What tells without reading a file that it is the same."""

    mtime_ns: int = 0
    size: int = 0


@dataclass(frozen=True)
class Known:
    """What the index holds of a file: as it was at `stamp`, with `digest`."""

    stamp: Stamp
    digest: bytes


class ContextIndex:
    """The one writer of a workspace's index."""

    def __init__(self, file: Path) -> None:
        """Open or create the index at `file`; one that is damaged, or marked so, is begun anew.

        Raises:
            ContextIndexError: the file can be neither opened nor replaced.
            HomeError: its folder cannot be made.
        """
        private_dir(file.parent)
        self.file = file
        with failing(file):
            if damage_mark(file).exists():
                remove_files(file)
            try:
                self._connection = _connect(file)
            except sqlite3.DatabaseError as error:
                if not is_corruption(error):
                    raise
                remove_files(file)
                self._connection = _connect(file)
        self.identity = identity(file)

    def known(self) -> dict[str, Known]:
        """Every file in the index, by its path."""
        with failing(self.file):
            rows = self._connection.execute("SELECT path, mtime_ns, size, digest FROM files")
            return {path: Known(Stamp(at, size), digest) for path, at, size, digest in rows}

    def put(self, path: str, text: str, stamp: Stamp = Stamp()) -> None:
        """Take in a file as it is now; `path` is from the workspace's root, with forward slashes.

        Raises:
            ContextIndexError: the disk is full, or the index is damaged.
        """
        with failing(self.file):
            self._drop(path)
            cursor = self._connection.execute(
                "INSERT INTO files(path, mtime_ns, size, digest, changed, text) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (path, stamp.mtime_ns, stamp.size, digest(text), time.time(), _packed(text)),
            )
            assert cursor.lastrowid is not None
            self._put_chunks(cursor.lastrowid, text)
            self._connection.executemany(
                "INSERT INTO definitions VALUES (?, ?, ?, ?, ?)",
                [
                    (cursor.lastrowid, d.name, d.owner, d.line, d.signature)
                    for d in definitions(text, language_of(path) or "")
                ],
            )

    def touch(self, path: str, stamp: Stamp) -> None:
        """The file's content is known to be the same at `stamp`."""
        with failing(self.file):
            self._connection.execute(
                "UPDATE files SET mtime_ns = ?, size = ? WHERE path = ?",
                (stamp.mtime_ns, stamp.size, path),
            )

    def remove(self, path: str) -> None:
        """Forget a file; one that is not held is passed over."""
        with failing(self.file):
            self._drop(path)

    def commit(self) -> None:
        """Let readers see what was put and removed."""
        with failing(self.file):
            self._connection.commit()

    def rollback(self) -> None:
        """Give up what was put and removed since the last commit."""
        with failing(self.file):
            self._connection.rollback()

    def count_words(self) -> None:
        """Count the frequent words anew: worth it once many files have changed."""
        with failing(self.file):
            self._connection.execute("DELETE FROM frequent")
            self._connection.execute(
                "INSERT INTO frequent SELECT term, doc FROM vocabulary WHERE doc > ?", (FREQUENT,)
            )
            self._connection.commit()

    def tidy(self) -> None:
        """Make the index quicker to read: worth it after many files were taken in."""
        with failing(self.file):
            self._connection.execute("INSERT INTO words(words) VALUES ('optimize')")
            self._connection.commit()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def remembered(self, memory: str) -> dict[str, bytes]:
        """Digests of the files that a fast memory holds, by path."""
        with failing(self.file):
            rows = self._connection.execute(
                "SELECT path, digest FROM remembered WHERE memory = ?", (memory,)
            )
            return dict(rows.fetchall())

    def remember(self, memory: str, path: str, held: bytes | None) -> None:
        """Note that a fast memory holds a file with this digest, or (None) no longer does."""
        with failing(self.file):
            if held is None:
                self._connection.execute(
                    "DELETE FROM remembered WHERE memory = ? AND path = ?", (memory, path)
                )
            else:
                self._connection.execute(
                    "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)", (memory, path, held)
                )

    def close(self) -> None:
        """Give the file back; what is not committed is lost."""
        self._connection.close()

    def _put_chunks(self, file: int, text: str) -> None:
        lines = split_lines(text)
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line))
        for chunk in cut(lines):
            start = starts[chunk.first]
            row = (file, chunk.first, start, start + len(chunk.text))
            cursor = self._connection.execute(
                "INSERT INTO chunks(file, first, begins, ends) VALUES (?, ?, ?, ?)", row
            )
            self._connection.execute(
                "INSERT INTO words(rowid, names, parts) VALUES (?, ?, ?)",
                (cursor.lastrowid, *indexed(chunk.text)),
            )

    def _drop(self, path: str) -> None:
        row = self._connection.execute(
            "SELECT id, text FROM files WHERE path = ?", (path,)
        ).fetchone()
        if row is None:
            return
        file, text = row[0], unpacked(row[1])
        chunks = self._connection.execute(
            "SELECT id, begins, ends FROM chunks WHERE file = ?", (file,)
        ).fetchall()
        self._connection.executemany(  # a contentless index is told what it held
            "INSERT INTO words(words, rowid, names, parts) VALUES ('delete', ?, ?, ?)",
            [(chunk, *indexed(text[start:end])) for chunk, start, end in chunks],
        )
        for table in ("chunks", "definitions"):
            self._connection.execute(f"DELETE FROM {table} WHERE file = ?", (file,))  # noqa: S608
        self._connection.execute("DELETE FROM files WHERE id = ?", (file,))


def build(
    home: Home, workspace: Path, files: Iterable[tuple[str, str]], gone: Iterable[str] = ()
) -> None:
    """Bring a workspace's index up to these (path, text) and without those gone, in this process.

    Raises:
        ContextIndexError: it cannot be written.
    """
    with contextlib.closing(ContextIndex(context_file(home, workspace))) as index:
        for path in gone:
            index.remove(path)
        for path, text in files:
            index.put(path, text)
        index.commit()
        index.count_words()


def digest(text: str) -> bytes:
    """What tells one content from another."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def unpacked(blob: bytes) -> str:
    """The text of a row of `files`."""
    return zlib.decompress(blob).decode()


def identity(file: Path) -> tuple[int, int] | None:
    """Which file lies there now; None where none does."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_corruption(error: BaseException | None) -> bool:
    """Whether SQLite found the file itself damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.DatabaseError) and (code or 0) & 0xFF in _CORRUPT


def remove_files(file: Path) -> None:
    """Delete a database with what belongs to it."""
    for suffix in DATABASE_SUFFIXES:
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    damage_mark(file).unlink(missing_ok=True)


@contextlib.contextmanager
def failing(file: Path) -> Iterator[None]:
    """Failures of SQLite as errors that say what to do."""
    try:
        yield
    except (sqlite3.Error, OSError, zlib.error) as error:
        if is_corruption(error) or isinstance(error, zlib.error):
            advice = "it is built anew when the workspace is opened again"
        else:
            advice = "free some room on its disk or make it writable; completion goes on without"
        raise ContextIndexError(f"the context index {file} failed: {error}; {advice}") from error


def _packed(text: str) -> bytes:
    return zlib.compress(text.encode(), 1)


def _connect(file: Path) -> sqlite3.Connection:
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(file, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0 and not connection.execute("SELECT * FROM sqlite_master").fetchone():
            connection.executescript(f"{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};")
        elif version != SCHEMA_VERSION:
            raise _damaged("another version's")
        if file.stat().st_size <= _CHECKED_AT_OPEN_BYTES:
            _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _damaged(verdict)
    connection.execute("INSERT INTO words(words) VALUES ('integrity-check')")
    connection.rollback()


def _damaged(what: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
