"""The stack in force: which adapters, in which order, how strongly.

Invariant: the digest of a resolved stack changes exactly when the served weights may change, so
that it can stand in every cache key and every log row. Knows no engine: it names files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralforge_adapters.base import file_digest
from neuralforge_adapters.convert import check_adapter
from neuralforge_adapters.errors import AdapterError, StackError
from neuralforge_adapters.home import Home, locked, read_json, write_json
from neuralforge_adapters.store import GGUF_FILE, PERSONAL, AdapterStore

MAX_SCALE = 4.0


@dataclass(frozen=True)
class StackEntry:
    """One adapter as the user names it: `name`, `name@v0003` or a path, and its scale."""

    adapter: str
    scale: float = 1.0


@dataclass(frozen=True)
class ResolvedAdapter:
    """One adapter as the engine loads it."""

    reference: str
    path: Path
    scale: float
    digest: str
    """SHA-256 of the file's content."""


@dataclass(frozen=True)
class ResolvedStack:
    """The files and scales of a stack, pinned to versions."""

    adapters: tuple[ResolvedAdapter, ...] = ()

    @property
    def digest(self) -> str:
        """Names the content: 16 hex digits over every file's digest and scale, in order."""
        content = json.dumps([[a.digest, a.scale] for a in self.adapters])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def describe(self) -> list[dict[str, Any]]:
        """The stack as status, logs and commands show it."""
        return [{"adapter": a.reference, "scale": a.scale} for a in self.adapters]


Entries = tuple[StackEntry, ...]


class StackFile:
    """The stack in force of one profile, shared by terminals and all running servers.

    Where the user never chose, it is the personal adapter alone, once there is one.
    """

    def __init__(self, home: Home) -> None:
        self._path = home.stack_file

    @property
    def path(self) -> Path:
        """The file to watch for changes."""
        return self._path

    def read(self) -> Entries:
        """The entries in force, first to last."""
        content = read_json(self._path)
        if not isinstance(content, list):
            return (StackEntry(PERSONAL),)
        try:
            return tuple(StackEntry(str(e["adapter"]), float(e["scale"])) for e in content)
        except (KeyError, TypeError, ValueError):
            return (StackEntry(PERSONAL),)

    def write(self, entries: Sequence[StackEntry]) -> Entries:
        """Put `entries` in force."""
        return self.update(lambda _: tuple(entries))

    def update(self, change: Callable[[Entries], Entries]) -> Entries:
        """Change the stack as one step, whoever else is changing it.

        Raises:
            StackError: the changed stack names an adapter twice or has an unusable scale.
        """
        with locked(self._path.parent / ".stack.lock", timeout=30):
            entries = check_entries(change(self.read()))
            write_json(self._path, [{"adapter": e.adapter, "scale": e.scale} for e in entries])
        return entries


def is_path(reference: str) -> bool:
    """Whether a user's words name a file; a plain name always means an adapter of the store.

    A repository may hold a file or folder of any name, and editors start servers there.
    """
    return (
        reference.startswith("~")
        or any(c in reference for c in "/\\")
        or (Path(reference).suffix in (".gguf", ".lora"))
    )


def adapter_name(reference: str) -> str:
    """The adapter that `name@v0003` is a version of; a path stands for itself, made absolute."""
    if is_path(reference):
        return str(Path(reference).expanduser().absolute())
    return reference.rpartition("@")[0] or reference


def with_adapter(entries: Entries, entry: StackEntry) -> Entries:
    """`entries` with `entry` in place of the same adapter's, or on top."""
    name = adapter_name(entry.adapter)
    if any(adapter_name(e.adapter) == name for e in entries):
        return tuple(entry if adapter_name(e.adapter) == name else e for e in entries)
    return (*entries, entry)


def without_adapter(entries: Entries, reference: str) -> Entries:
    """`entries` without that adapter, whichever of its versions is in it.

    Raises:
        StackError: it is not in the stack.
    """
    left = tuple(e for e in entries if adapter_name(e.adapter) != adapter_name(reference))
    if left == entries:
        loaded = ", ".join(e.adapter for e in entries) or "nothing"
        raise StackError(f"{reference!r} is not in the stack; loaded is: {loaded}")
    return left


def check_entries(entries: Entries) -> Entries:
    """The same with absolute paths, which mean one file to all servers.

    Raises:
        StackError: an adapter named twice, or a scale that is not finite or beyond ±4.
    """
    names = [adapter_name(e.adapter) for e in entries]
    for entry, name in zip(entries, names, strict=True):
        if names.count(name) > 1:
            raise StackError(
                f"adapter {name!r} stands twice in the stack; load it once and set its scale"
            )
        if not math.isfinite(entry.scale) or abs(entry.scale) > MAX_SCALE:
            raise StackError(
                f"scale {entry.scale} of {entry.adapter!r} is not within ±{MAX_SCALE:g}"
            )
    return tuple(
        StackEntry(name, e.scale) if is_path(e.adapter) else e
        for e, name in zip(entries, names, strict=True)
    )


def resolve(entries: Sequence[StackEntry], store: AdapterStore, base_digest: str) -> ResolvedStack:
    """Pin every entry to a file; `personal` alone means the one for this base, if there is one.

    Raises:
        AdapterError: an adapter is missing, or was trained for another base.
    """
    personal = store.current_for(PERSONAL, base_digest)
    wanted = [
        StackEntry(personal.reference, e.scale) if personal and e.adapter == PERSONAL else e
        for e in entries
        if personal is not None or e.adapter != PERSONAL
    ]
    return ResolvedStack(tuple(_resolve_one(e, store, base_digest) for e in wanted))


def usable(
    entries: Sequence[StackEntry], store: AdapterStore, base_digest: str
) -> tuple[Entries, list[AdapterError]]:
    """The entries whose files can be served, read to their last number, and what ails the rest."""
    good, problems = [], []
    for entry in entries:
        try:
            for adapter in resolve((entry,), store, base_digest).adapters:
                check_adapter(adapter.path, base_digest)
            good.append(entry)
        except AdapterError as error:
            problems.append(error)
    return tuple(good), problems


def _resolve_one(entry: StackEntry, store: AdapterStore, base_digest: str) -> ResolvedAdapter:
    if is_path(entry.adapter):
        return _resolve_file(entry)
    version = store.get(entry.adapter)
    if version.manifest.base_digest != base_digest:
        raise AdapterError(
            f"adapter {version.reference} was trained for base "
            f"{version.manifest.base_digest[:12]}, the base in use is {base_digest[:12]}; "
            "choose that base, or train the adapter anew"
        )
    return ResolvedAdapter(version.reference, version.gguf, entry.scale, version.manifest.digest)


def _resolve_file(entry: StackEntry) -> ResolvedAdapter:
    path = Path(entry.adapter).expanduser().absolute()
    if path.is_dir():
        path = path / GGUF_FILE
    if not path.is_file():
        raise AdapterError(f"no adapter file {path}; give an existing file, or an adapter's name")
    return ResolvedAdapter(entry.adapter, path, entry.scale, file_digest(path))
