"""Where everything that NeuralForge keeps lies on disk, and how a file there is replaced.

Invariant: a reader sees a file either as it was or as it is to be, never half-written
(`write_atomic`), and everything is readable by its owner only. Knows no file's content.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from neuralforge_adapters.errors import HomeError

HOME_VARIABLE = "NEURALFORGE_HOME"
PROFILE_VARIABLE = "NEURALFORGE_PROFILE"
DEFAULT_PROFILE = "default"


@dataclass(frozen=True)
class Home:
    """One user's home and the profile in use.

    A profile keeps its own log, adapters, stack and replay buffer, so that an employer's
    code and one's own never meet; what says nothing about the user (the base cache,
    files set aside) and the trainer's lock, one per user, are shared by all profiles.
    """

    root: Path
    profile: str = DEFAULT_PROFILE

    @classmethod
    def find(cls, profile: str | None = None) -> Home:
        """The home that the environment names, else the platform's user data folder.

        Raises:
            HomeError: the profile's name is not usable as a folder name.
        """
        root = os.environ.get(HOME_VARIABLE) or platformdirs.user_data_dir("neuralforge", False)
        name = profile or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise HomeError(
                f"profile {name!r} is not usable: take at most 64 letters, digits, '.', '_', '-'"
            )
        return cls(Path(root).expanduser().absolute(), name)

    def profiles(self) -> list[Home]:
        """Every profile that has kept anything, by name."""
        folder = self.root / "profiles"
        names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        return [Home(self.root, name) for name in names]

    @property
    def profile_dir(self) -> Path:
        """Everything that belongs to this profile alone."""
        return self.root / "profiles" / self.profile

    @property
    def session_log(self) -> Path:
        """The SQLite file of the session log."""
        return self.profile_dir / "session.db"

    @property
    def adapters(self) -> Path:
        """The adapter store: one folder per adapter, one folder per version."""
        return self.profile_dir / "adapters"

    @property
    def stack_file(self) -> Path:
        """The stack in force; every running server of the profile watches it."""
        return self.profile_dir / "stack.json"

    @property
    def replay_buffer(self) -> Path:
        """The SQLite file of the replay buffer."""
        return self.profile_dir / "replay.db"

    @property
    def checkpoints(self) -> Path:
        """Unfinished training runs of this profile, one folder a run."""
        return self.profile_dir / "checkpoints"

    @property
    def unfinished_training(self) -> Path:
        """How far into its source the training looked that was begun last."""
        return self.profile_dir / "unfinished.json"

    @property
    def indexes(self) -> Path:
        """Context and fast memory: made again at any time, but made of the profile's code."""
        return self.profile_dir / "indexes"

    @property
    def trainer_dir(self) -> Path:
        """The trainer's lock, control state and progress: one trainer per user."""
        return self.root / "trainer"

    @property
    def set_aside(self) -> Path:
        """Notes on files that killed an engine and are not loaded again."""
        return self.root / "set-aside"

    @property
    def engines(self) -> Path:
        """Where servers find an engine that they share."""
        return self.root / "engines"

    @property
    def cache(self) -> Path:
        """What can be made again at any time."""
        return self.root / "cache"


def private_dir(path: Path) -> Path:
    """Create `path` (and parents) readable by its owner only; returns it.

    Raises:
        HomeError: the folder cannot be created.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):  # mkdir's `parents` would leave those to the umask
            folder.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise HomeError(
            f"cannot create the folder {path}: {error.strerror}; "
            f"free some room, make it writable, or set {HOME_VARIABLE} to another folder"
        ) from error
    return path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content` in one step that survives a crash and a power cut.

    Raises:
        HomeError: the file cannot be written (full or read-only disk); the old one stands.
    """
    data = content.encode() if isinstance(content, str) else content
    private_dir(path.parent)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the atomic step, named as such
        sync_dir(path.parent)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise HomeError(
            f"cannot write {path}: {error.strerror}; the old content stands; "
            "free some room or make the folder writable"
        ) from error


@contextlib.contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock file `path` against other processes, waiting `timeout` seconds for it.

    Raises:
        HomeError: another process held it for longer, or it cannot be made.
    """
    lock = FileLock(private_dir(path.parent) / path.name, mode=0o600, timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise HomeError(
            f"another process has held {path} for {timeout:g} s; end it, or try again"
        ) from error
    except OSError as error:
        raise HomeError(
            f"cannot lock {path}: {error.strerror}; nothing was changed; make the folder writable"
        ) from error
    try:
        yield
    finally:
        lock.release()


def sync_dir(path: Path) -> None:
    """Make a rename in `path` durable, where the platform lets a folder be opened."""
    if os.name == "nt":
        return  # NTFS journals its renames; a folder cannot be opened for fsync
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of `value` as indented JSON."""
    write_atomic(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any | None:
    """The JSON value in `path`; None where the file is absent or not JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
