"""The inbox: a folder into which datasets are put, and where they go once they were trained on.

A file is taken when it has not changed for some seconds and ends where a file of its kind ends. It
stays where it is until its training has ended, then goes to `done/` or `rejected/` with the reason
in a file beside it.

Invariant: no file is changed or deleted, and a kill at any moment leaves each in one of the three
folders. A file that changes while it is trained on is a new one. Knows no sample: whether a line
says anything is the trainer's to judge.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from neuralforge_adapters.home import Home, private_dir, write_atomic

SETTLED_SECONDS = 2.0
"""A file that has not changed for so long is whole, if it ends as a whole one does."""
CUT_OFF_SECONDS = 60.0
"""One that does not, and has not changed for so long, will never be whole."""

_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".download", "~")
_TAIL = 8_000_000
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"

Mark = tuple[int, int]
"""A file's size in bytes and its time of change in nanoseconds."""


class Inbox:
    """The inbox of one profile."""

    def __init__(self, home: Home, clock: Callable[[], float]) -> None:
        """`clock` counts seconds from any beginning."""
        self.folder = home.profile_dir / "inbox"
        self.done = self.folder / "done"
        self.rejected = self.folder / "rejected"
        self._clock = clock
        self._seen: dict[Path, tuple[Mark, float]] = {}

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            HomeError: the disk is full or read-only.
        """
        for folder in (self.folder, self.done, self.rejected):
            private_dir(folder)

    def next(self) -> Path | None:
        """The dataset that has waited longest of those that are whole; rejects what never will be.

        Raises:
            HomeError: a file cannot be moved.
        """
        whole: list[tuple[int, Path]] = []
        for path in self._files():
            still = self._still(path)
            if still < SETTLED_SECONDS:
                continue
            problem = incomplete(path)
            if not problem:
                whole.append((mark(path)[1], path))
            elif still >= CUT_OFF_SECONDS:
                self.reject(path, problem)
        return min(whole)[1] if whole else None

    def seconds_to_wait(self) -> float | None:
        """Until a file may be whole, or is surely cut off; None where there is none to wait for."""
        waits = [
            (SETTLED_SECONDS if self._still(path) < SETTLED_SECONDS else CUT_OFF_SECONDS)
            - self._still(path)
            for path in self._files()
        ]
        return min((wait for wait in waits if wait > 0), default=None)

    def finish(self, path: Path, result: str) -> Path:
        """Move a dataset that was learnt from out of the way; returns where it is.

        Raises:
            HomeError: the disk is full or read-only.
        """
        return self._move(path, self.done, result)

    def reject(self, path: Path, reason: str) -> Path:
        """Move a dataset that is not learnt from out of the way; returns where it is.

        Raises:
            HomeError: the disk is full or read-only.
        """
        return self._move(path, self.rejected, reason)

    def _files(self) -> Iterator[Path]:
        if self.folder.is_dir():
            for path in sorted(self.folder.iterdir()):
                hidden = path.name.startswith(".") or path.name.endswith(_UNFINISHED)
                if not hidden and path.is_file():
                    yield path

    def _still(self, path: Path) -> float:
        """For how many seconds a file has been seen unchanged."""
        now, found = self._clock(), mark(path)
        known, since = self._seen.get(path, (None, now))
        if known != found:
            self._seen[path] = (found, now)
            return 0.0
        return now - since

    def _move(self, path: Path, folder: Path, reason: str) -> Path:
        target = _free(folder / path.name)
        write_atomic(target.with_name(f"{target.name}.reason.txt"), f"{reason}\n")
        path.rename(target)
        self._seen.pop(path, None)
        return target


def mark(path: Path) -> Mark:
    """By which a change of the file is told; zeros where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)


def incomplete(path: Path) -> str:
    """What shows that a file was not written to its end; empty where nothing does."""
    try:
        with path.open("rb") as file:
            if file.read(2) == _GZIP:
                return _incomplete_gzip(path)
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            return _incomplete_lines(file.read())
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


def _incomplete_gzip(path: Path) -> str:
    try:
        with gzip.open(path) as file:
            tail = b""
            while chunk := file.read(_CHUNK):
                tail = (tail + chunk)[-_TAIL:]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"its compressed stream is cut off or damaged: {error}"
    return _incomplete_lines(tail)


def _incomplete_lines(tail: bytes) -> str:
    if not tail.strip():
        return "it is empty"
    if b"\0" in tail:
        return "it holds zero bytes: it was not written to its end"
    if tail.endswith(b"\n"):
        return ""
    try:
        json.loads(tail.rpartition(b"\n")[2])
    except ValueError:
        return "its last line is cut off"
    return ""


def _free(path: Path) -> Path:
    """`path`, or with the first number at which nothing lies."""
    number, target = 1, path
    while target.exists():
        number += 1
        target = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return target
