"""Where the servers of one user find an engine that they share, and what they know of its end.

Invariant: everything lies in a folder that only the user can read, and an engine answers only
who knows the token that stands there. Whoever joins or starts an engine holds `Place.lock`.
Knows no process; the files:

    NAME.lock     held while an engine is joined, started, or takes its leave
    NAME.json     where the running engine listens, and its token
    NAME.log      what the engine said on stderr
    NAME.PID.note whom the engine computed for, and what it died of
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import stat
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import Home, private_dir
from neuralforge_server.engine.protocol import LoadRequest

LOST = -1
"""Exit status of an engine of which it is only known that its connection broke."""

_LONGEST_ADDRESS = 100
"""Bytes of a socket's path: macOS takes 103, Linux 107."""
_KEPT_SECONDS = 3600
"""For how long clients may still want to read what an engine died of."""
_HEADER = 8
"""Characters of a note before what faulthandler writes."""
_FAULTS = {
    "Aborted": "SIGABRT",
    "Segmentation fault": "SIGSEGV",
    "Bus error": "SIGBUS",
    "Floating-point exception": "SIGFPE",
    "Floating point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}
"""What faulthandler calls the signals."""


@dataclass(frozen=True)
class Place:
    """The files of one shared engine."""

    folder: Path
    name: str

    @property
    def lock(self) -> Path:
        """Held by whoever joins or starts the engine."""
        return self.folder / f"{self.name}.lock"

    @property
    def address(self) -> Path:
        """A JSON file: `address` (a path, or host and port) and `token`."""
        return self.folder / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """The engine's stderr."""
        return self.folder / f"{self.name}.log"

    def note(self, pid: int) -> Path:
        """The note of the engine with that process id."""
        return self.folder / f"{self.name}.{pid}.note"

    def socket(self) -> Path:
        """Where the engine listens: here, or in a temporary folder where the path is too long.

        Raises:
            HomeError: the temporary folder is somebody else's, or open to others.
        """
        path = self.folder / f"{self.name}.sock"
        if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
            return path
        return _private_temporary() / path.name

    def remove_old_notes(self) -> None:
        """Delete the notes of engines that ended long ago."""
        for note in self.folder.glob(f"{self.name}.*.note"):
            with contextlib.suppress(OSError):
                if time.time() - note.stat().st_mtime > _KEPT_SECONDS:
                    note.unlink()


def place_of(home: Home, load: LoadRequest) -> Place:
    """The place of engines that answer `load`: of this home, base, options and installation.

    Raises:
        HomeError: its folder cannot be made.
    """
    wanted = {**asdict(load), "base": "", "home": str(home.root)}
    installed = [version("neuralforge"), sys.prefix]
    key = json.dumps([wanted, installed], sort_keys=True)
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Place(private_dir(home.engines), name)


class Note:
    """What stays of an engine: for whom it computes, kept up to date, and what killed it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.turn(0)

    def fileno(self) -> int:
        """For faulthandler, which writes behind what `turn` wrote."""
        return self._file.fileno()

    def turn(self, client: int) -> None:
        """The client with that number is computed for; 0 for nobody."""
        self._file.seek(0)
        self._file.write(f"{client:<{_HEADER - 1}}\n".encode())


def cause_of_death(note: Path, client: int) -> int:
    """The exit status of an engine for one of its clients: `LOST` unless it died of its request.

    The status is one that `subprocess` would give: that of a crash while this client was
    computed for. Everybody else has only lost a connection, and must not draw conclusions.
    """
    try:
        content = note.read_text("utf-8", "replace")
    except OSError:
        return LOST
    if content[:_HEADER].strip() != str(client):
        return LOST
    if "Windows fatal exception" in content:
        return 0xC0000005
    for name, code in _FAULTS.items():
        if f"Fatal Python error: {name}" in content:
            return 3 if os.name == "nt" else -signal.Signals[code].value
    return LOST


def _private_temporary() -> Path:
    """A folder in the system's temporary one that is this user's alone."""
    user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"neuralforge-{user}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        raise HomeError(
            f"{folder} is not a folder of yours alone; delete it, or set TMPDIR to another folder"
        )
    return folder
