"""The adapter store: named adapters, each with numbered versions and one that is current.

Layout: `<adapters>/<name>/v0001/{adapter.gguf, manifest.json, ...}`, `<name>/current`, and
`<name>/history.json`, the versions in the order in which they became current.
Invariant: a version folder appears whole and goes whole, by one rename, and never changes in
between; `current` names a version that exists. Knows no tensor and no model: it keeps files.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuralforge_adapters.base import file_digest
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.home import (
    Home,
    locked,
    private_dir,
    read_json,
    sync_dir,
    write_atomic,
    write_json,
)

PERSONAL = "personal"
"""The name of the adapter that the trainer keeps improving."""

GGUF_FILE = "adapter.gguf"
MANIFEST_FILE = "manifest.json"
_CURRENT_FILE = "current"
_HISTORY_FILE = "history.json"
_HISTORY_LENGTH = 100
_GONE, _STAGING = ".gone-", ".staging-"
_ABANDONED_SECONDS = 86_400
"""A staging folder so old belongs to a process that was killed."""
_VERSION = re.compile(r"v(\d{4,})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Manifest:
    """What a version is: for which base, from what, how good."""

    name: str
    base_digest: str
    rank: int
    alpha: float
    parent: str | None = None
    """The version that training started from."""
    data: dict[str, Any] = field(default_factory=dict)
    """Where the samples came from and from which time to which."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """What the gate measured."""
    created: float = 0.0
    """Unix seconds."""
    digest: str = ""
    """SHA-256 of the version's GGUF file; filled in by `publish`."""


@dataclass(frozen=True)
class AdapterVersion:
    """One published version."""

    name: str
    version: str
    path: Path
    """The version's folder."""
    manifest: Manifest

    @property
    def gguf(self) -> Path:
        """The file that the engine loads."""
        return self.path / GGUF_FILE

    @property
    def reference(self) -> str:
        """`name@version`, as stacks and commands write it."""
        return f"{self.name}@{self.version}"


class AdapterStore:
    """The adapters of one profile."""

    def __init__(self, home: Home) -> None:
        self._root = home.adapters

    @property
    def root(self) -> Path:
        """The folder to watch for new versions."""
        return self._root

    def names(self) -> list[str]:
        """Adapters that have at least one version."""
        if not self._root.is_dir():
            return []
        return sorted(
            p.name
            for p in self._root.iterdir()
            if _NAME.fullmatch(p.name) and self.versions(p.name)
        )

    def versions(self, name: str) -> list[AdapterVersion]:
        """All readable versions of an adapter, oldest first."""
        folder = self._root / name
        if not folder.is_dir():
            return []
        numbered = [p for p in folder.iterdir() if _VERSION.fullmatch(p.name)]
        numbered.sort(key=lambda p: int(p.name[1:]))
        return [v for p in numbered if (v := self._read(name, p)) is not None]

    def get(self, reference: str) -> AdapterVersion:
        """The version that `name` (its current one) or `name@v0003` means.

        Raises:
            AdapterError: there is no such adapter or version.
        """
        name, _, version = reference.partition("@")
        if not _NAME.fullmatch(name):
            raise AdapterError(
                f"{reference!r} names no adapter; `neuralforge adapters list` shows them"
            )
        version = version or self._current_name(name) or ""
        found = (
            self._read(name, self._root / name / version) if _VERSION.fullmatch(version) else None
        )
        if found is None:
            known = ", ".join(v.reference for v in self.versions(name)) or "none of that name"
            raise AdapterError(f"no adapter {reference!r} in {self._root}; there is: {known}")
        return found

    def current(self, name: str) -> AdapterVersion | None:
        """The current version, None where the adapter does not exist."""
        try:
            return self.get(name)
        except AdapterError:
            return None

    def current_for(self, name: str, base_digest: str) -> AdapterVersion | None:
        """The version to serve on a base: the current one if it is for that base, else the one
        that was current last of those that are, else the newest.

        So a base and its adapter stay a pair while a version for another base becomes current.
        """
        current = self.current(name)
        if current is None or current.manifest.base_digest == base_digest:
            return current
        fitting = {
            v.version: v for v in self.versions(name) if v.manifest.base_digest == base_digest
        }
        past = [fitting[version] for version in self._history(name) if version in fitting]
        return past[-1] if past else next(reversed(fitting.values()), None)

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """A private folder to build a version in; removed unless `publish` took it.

        Raises:
            AdapterError: the name cannot be used.
        """
        if not _NAME.fullmatch(name):
            raise AdapterError(
                f"{name!r} cannot name an adapter: letters, digits, '.', '_', '-' only"
            )
        folder = Path(tempfile.mkdtemp(dir=private_dir(self._root / name), prefix=_STAGING))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path, manifest: Manifest, *, promote: bool = True) -> AdapterVersion:
        """Make a staged folder the next version, in one rename, and then current.

        Raises:
            AdapterError: the folder holds no adapter, or the disk refused; nothing was changed.
        """
        root = self._root / manifest.name
        try:
            digest = file_digest(staged / GGUF_FILE)
            complete = Manifest(
                **{**asdict(manifest), "digest": digest, "created": manifest.created or time.time()}
            )
            write_json(staged / MANIFEST_FILE, asdict(complete))
            _sync_files(staged)
            with self._lock(manifest.name):
                numbers = [int(p.name[1:]) for p in root.iterdir() if _VERSION.fullmatch(p.name)]
                target = root / f"v{max(numbers, default=0) + 1:04d}"
                staged.rename(target)
                sync_dir(root)
                if promote:
                    self._make_current(manifest.name, target.name)
        except OSError as error:
            raise AdapterError(
                f"cannot publish {manifest.name}: {error}; the current version stays in force"
            ) from error
        return AdapterVersion(manifest.name, target.name, target, complete)

    def set_current(self, reference: str) -> AdapterVersion:
        """Make an existing version current (promote, or roll back to it).

        Raises:
            AdapterError: there is no such version.
        """
        version = self.get(reference)
        with self._lock(version.name):
            self._make_current(version.name, version.version)
        return version

    def roll_back(self, name: str, base_digest: str | None = None) -> AdapterVersion:
        """Make the version that was current before this one, for the same base, current again.

        Of a store that kept no history, that is the one with the number below.

        Args:
            base_digest: the base in use; None for that of the current version.

        Raises:
            AdapterError: there is no such adapter, or no older version for that base.
        """
        served = None if base_digest is None else self.current_for(name, base_digest)
        current = served or self.get(name)
        before = self._before(current)
        if before is None:
            raise AdapterError(
                f"{current.reference} is the oldest version of {name} for its base; to serve "
                f"without it, run `neuralforge adapters unload {name}`"
            )
        with self._lock(name):
            self._make_current(name, before.version, leaving=current.version)
        return before

    def prune(self, name: str, keep: int, pinned: Collection[str] = ()) -> list[str]:
        """Remove the oldest versions beyond `keep` for each base; returns what went.

        Never removed are the version that is served on a base, and those `pinned`.
        """
        versions, gone = self.versions(name), []
        for base in {v.manifest.base_digest for v in versions}:
            group = [v for v in versions if v.manifest.base_digest == base]
            served = self.current_for(name, base)
            kept = {*pinned, served.version if served is not None else ""}
            spare = [v for v in group if v.version not in kept]
            gone += spare[: max(0, len(group) - keep)]
        self._sweep(name)
        return sorted(v.version for v in gone if _remove(v.path))

    def _before(self, current: AdapterVersion) -> AdapterVersion | None:
        """The version to go back to from `current`."""
        base = current.manifest.base_digest
        others = {v.version: v for v in self.versions(current.name)
                  if v.manifest.base_digest == base and v.version != current.version}  # fmt: skip
        history = self._history(current.name)
        if current.version in history:
            history = history[: history.index(current.version)]
        if past := [version for version in history if version in others]:
            return others[past[-1]]
        older = [v for v in others.values() if int(v.version[1:]) < int(current.version[1:])]
        return older[-1] if older else None

    def _make_current(self, name: str, version: str, leaving: str | None = None) -> None:
        """Under the lock: note the change, then make it; one that is rolled back is forgotten."""
        history = [v for v in self._history(name) if v not in (version, leaving)] + [version]
        write_json(self._root / name / _HISTORY_FILE, history[-_HISTORY_LENGTH:])
        write_atomic(self._root / name / _CURRENT_FILE, version)

    def _history(self, name: str) -> list[str]:
        content = read_json(self._root / name / _HISTORY_FILE)
        return [v for v in content if isinstance(v, str)] if isinstance(content, list) else []

    def _sweep(self, name: str) -> None:
        """Remove what killed processes left half built or half removed."""
        for folder in (self._root / name).iterdir():
            with suppress(OSError):
                age = time.time() - folder.stat().st_mtime
                abandoned = folder.name.startswith(_STAGING) and age > _ABANDONED_SECONDS
                if abandoned or folder.name.startswith(_GONE):
                    shutil.rmtree(folder)

    def _lock(self, name: str) -> AbstractContextManager[None]:
        return locked(self._root / name / ".lock", timeout=30)

    def _current_name(self, name: str) -> str | None:
        try:
            return (self._root / name / _CURRENT_FILE).read_text("utf-8").strip()
        except OSError:
            return None

    @staticmethod
    def _read(name: str, folder: Path) -> AdapterVersion | None:
        content = read_json(folder / MANIFEST_FILE)
        if not isinstance(content, dict) or not (folder / GGUF_FILE).is_file():
            return None
        try:
            return AdapterVersion(name, folder.name, folder, Manifest(**content))
        except TypeError:
            return None


def _remove(folder: Path) -> bool:
    """Take a version away whole; not where the platform keeps it because it is in use."""
    gone = folder.with_name(_GONE + folder.name)
    try:
        folder.rename(gone)
    except OSError:
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _sync_files(folder: Path) -> None:
    """Make every file's content durable before the rename makes it visible."""
    for file in folder.iterdir():
        with file.open("r+b") as handle:
            os.fsync(handle.fileno())
