"""Opening the session log's file safely, and telling what went wrong with it.

Invariant: a connection handed out is to a sound database of the newest schema, readable by
its owner only, on which a committed transaction survives a kill and a power cut. A damaged
file is never deleted: it is set aside under a new name, and what can be read of it is carried
over. Knows no table.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
from sqlite_utils import Database

from neuralforge_adapters.home import private_dir
from neuralforge_server.errors import (
    SessionLogCorruptError,
    SessionLogDiskError,
    SessionLogError,
    SessionLogLockedError,
    SessionLogReadOnlyError,
)
from neuralforge_server.session.migrations import SCHEMA
from neuralforge_server.session.salvage import salvage

logger = logging.getLogger(__name__)

SUFFIXES = ("-wal", "-shm")
CHECKED_AT_OPEN_BYTES = 16_000_000
"""A larger file is only checked whole after a read or write has found damage."""

_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_NOT_PERMITTED = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Opened:
    """A connection, which file it is to, and what the user should be told (None: nothing)."""

    database: Database
    identity: tuple[int, int]
    notice: str | None


def open_database(path: Path, busy_timeout_s: float, *, distrust: bool = False) -> Opened:
    """Open, create, upgrade or, if it is damaged, replace the database at `path`.

    Args:
        path: the SQLite file; its folder is created.
        busy_timeout_s: how long to wait for other processes.
        distrust: check the whole file, however large, since damage was seen.

    Raises:
        SessionLogLockedError, SessionLogReadOnlyError, SessionLogDiskError: see each.
        SessionLogCorruptError: it is damaged and cannot be set aside.
    """
    private_dir(path.parent)
    with _opening(path, busy_timeout_s):
        try:
            try:
                return _connect(path, busy_timeout_s, distrust, None)
            except sqlite3.DatabaseError as error:
                if not is_corruption(error):
                    raise
            return _start_over(path, busy_timeout_s)
        except (sqlite3.Error, OSError) as error:
            raise translated(error, path) from error


def open_to_read(path: Path, busy_timeout_s: float, *, distrust: bool = False) -> Opened:
    """As `open_database`, but a file that cannot be written is opened as it is, to be read.

    Such a one is neither checked nor upgraded.
    """
    try:
        return open_database(path, busy_timeout_s, distrust=distrust)
    except SessionLogReadOnlyError:
        with contextlib.suppress(sqlite3.Error, OSError):
            return _connect_to_read(path, busy_timeout_s)
        raise


def replace_by_empty(path: Path, busy_timeout_s: float) -> Opened:
    """Delete the database at `path` and create an empty one, which needs no room on the disk.

    Raises:
        SessionLogError: it cannot be deleted (on Windows as long as another program has it open).
    """
    with _opening(path, busy_timeout_s):
        try:
            for suffix in (*SUFFIXES, ""):  # the database last, as in `_set_aside`
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            return _connect(path, busy_timeout_s, False, None)
        except (sqlite3.Error, OSError) as error:
            raise translated(error, path) from error


def is_corruption(error: sqlite3.Error) -> bool:
    """Whether SQLite found the file itself damaged."""
    return _primary_code(error) in _CORRUPT


def identity(path: Path) -> tuple[int, int] | None:
    """Which file lies at `path` now; None where none does."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def damaged_files(path: Path) -> list[Path]:
    """The files that were set aside in place of `path`, with what belongs to them."""
    return sorted(path.parent.glob(f"{path.stem}.damaged-*"))


def translated(error: sqlite3.Error | OSError, path: Path) -> SessionLogError:
    """`error` as one that the user can act on."""
    if isinstance(error, OSError) and error.errno in _NOT_PERMITTED:
        return _read_only(path, error)
    code = None if isinstance(error, OSError) else _primary_code(error)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return SessionLogLockedError(
            f"the session log {path} is locked by another process and stayed so; "
            "close the program that holds it and try again"
        )
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return _read_only(path, error)
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR} or isinstance(error, OSError):
        return SessionLogDiskError(
            f"the session log {path} cannot be written: {error}; free some room on its disk, "
            "or shrink it with `neuralforge log purge --older-than-days 30`"
        )
    if code in _CORRUPT:
        return _stuck(path, error)
    return SessionLogError(f"the session log {path} failed: {error}; run `neuralforge doctor`")


def _read_only(path: Path, error: Exception) -> SessionLogReadOnlyError:
    return SessionLogReadOnlyError(
        f"the session log {path} cannot be opened for writing ({error}); make the file and its "
        "folder writable, or set NEURALFORGE_HOME to another folder"
    )


def _stuck(path: Path, error: Exception) -> SessionLogCorruptError:
    return SessionLogCorruptError(
        f"the session log {path} is damaged and could not be set aside ({error}); "
        "close every editor that uses NeuralForge, move the file away and start again"
    )


def _primary_code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)  # absent where the module itself objects
    return None if code is None else code & 0xFF


@contextlib.contextmanager
def _opening(path: Path, timeout_s: float) -> Iterator[None]:
    """One process at a time creates, upgrades or replaces the file."""
    lock = filelock.FileLock(f"{path}.lock", timeout=timeout_s, mode=0o600)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise SessionLogLockedError(
            f"another process has been opening the session log {path} for {timeout_s:g} s; "
            "close it and try again"
        ) from error
    except OSError as error:
        raise translated(error, path) from error
    try:
        yield
    finally:
        lock.release()


def _connect(path: Path, busy_timeout_s: float, distrust: bool, notice: str | None) -> Opened:
    _make_private(path)
    connection = sqlite3.connect(path, timeout=busy_timeout_s, check_same_thread=False)
    try:
        # plug-ins installed beside us have no business inside the server
        database = Database(connection, execute_plugins=False)
        _configure(connection)
        if distrust or path.stat().st_size <= CHECKED_AT_OPEN_BYTES:
            _check(connection)
        SCHEMA.upgrade(database)
        status = path.stat()
        return Opened(database, (status.st_dev, status.st_ino), notice)
    except BaseException:
        connection.close()
        raise


def _connect_to_read(path: Path, busy_timeout_s: float) -> Opened:
    # where it can create no -shm, SQLite reads only a file that it is told not to expect changes
    # of; that is true without a -wal, since a writer would first have to create one there
    options = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    status = path.stat()
    connection = sqlite3.connect(
        f"{path.as_uri()}?{options}", uri=True, timeout=busy_timeout_s, check_same_thread=False
    )
    database = Database(connection, execute_plugins=False)
    return Opened(database, (status.st_dev, status.st_ino), None)


def _make_private(path: Path) -> None:
    """Create the file as its owner's alone, before SQLite does; -wal and -shm copy its mode."""
    with contextlib.suppress(FileExistsError):
        # never opened where it exists: closing it again would drop the locks that another
        # connection of this process holds (POSIX; sqlite.org/howtocorrupt.html, 2.2)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if os.name != "nt":  # there the user's own folder is private by its access list
        for file in (path, *(Path(f"{path}{suffix}") for suffix in SUFFIXES)):
            with contextlib.suppress(FileNotFoundError):
                file.chmod(0o600)


def _configure(connection: sqlite3.Connection) -> None:
    """One set of settings for every connection.

    synchronous=FULL, since in WAL mode NORMAL syncs only at checkpoints: it keeps committed
    rows through a kill -9 but loses them to a power cut. macOS needs fullfsync for the same.
    """
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "fullfsync=ON",
        "checkpoint_fullfsync=ON",
        "foreign_keys=ON",
        "secure_delete=ON",
        "temp_store=MEMORY",  # nothing of the user's in the system's temporary folder
        "journal_size_limit=4000000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        error = sqlite3.DatabaseError(verdict)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _start_over(path: Path, busy_timeout_s: float) -> Opened:
    aside = _set_aside(path)
    opened = _connect(path, busy_timeout_s, False, None)
    carried = salvage(aside, opened.database)
    notice = (
        f"the session log {path} was damaged; it is kept as {aside}, {carried} of its rows were "
        "carried over into a new log; `neuralforge log purge` deletes the damaged file"
    )
    logger.warning(notice)
    return Opened(opened.database, opened.identity, notice)


def _set_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    candidates = (
        path.with_name(f"{path.stem}.damaged-{stamp}{extra}{path.suffix}")
        for extra in ("", *(f"-{number}" for number in range(1, 1000)))
    )
    aside = next(candidate for candidate in candidates if not candidate.exists())
    try:
        # the database last: a write-ahead log must never be left beside a new database
        for suffix in (*SUFFIXES, ""):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    except OSError as error:  # on Windows as long as any program has it open
        raise _stuck(path, error) from error
    return aside
