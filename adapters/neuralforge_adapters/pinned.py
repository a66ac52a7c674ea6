"""Which versions are not to be pruned, because somebody means exactly them.

Stacks in force and named stacks say so in files; what an editor's settings or a server's command
line name is noted by the server that serves it. Invariant: a note outlives its server, since an
editor that is closed tonight is opened again. Knows no engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from neuralforge_adapters.home import Home, locked, read_json, write_json
from neuralforge_adapters.named_stacks import NamedStacks
from neuralforge_adapters.stack import StackEntry, StackFile, adapter_name, is_path

_DAY = 86_400.0
_KEPT_SECONDS = 90 * _DAY
"""A name that no server has served for so long protects nothing any more."""


def note_named(home: Home, entries: Iterable[StackEntry]) -> None:
    """Remember that a server of this profile serves `entries`, as far as they name versions.

    Raises:
        HomeError: the disk is full or read-only.
    """
    now, known = time.time(), _noted(home)
    stale = {e.adapter for e in entries if _is_exact(e) and now - known.get(e.adapter, 0.0) > _DAY}
    if not stale:
        return
    with locked(home.profile_dir / ".named.lock", timeout=10):
        write_json(_file(home), _noted(home) | dict.fromkeys(stale, now))


def pinned_versions(name: str, home: Home) -> frozenset[str]:
    """Versions of this profile's adapter `name` that anything of any profile names."""
    root, found = (home.adapters / name).absolute(), set()
    for profile in home.profiles():
        for reference in _references(profile):
            if is_path(reference):
                path = Path(adapter_name(reference))
                found |= set(path.relative_to(root).parts[:1] if path.is_relative_to(root) else ())
            elif profile == home and "@" in reference and adapter_name(reference) == name:
                found.add(reference.partition("@")[2])
    return frozenset(found)


def _references(profile: Home) -> Iterator[str]:
    stacks = [StackFile(profile).read(), *(stack.entries for stack in NamedStacks(profile).all())]
    yield from (entry.adapter for entries in stacks for entry in entries)
    yield from _noted(profile)


def _is_exact(entry: StackEntry) -> bool:
    return "@" in entry.adapter or is_path(entry.adapter)


def _noted(home: Home) -> dict[str, float]:
    """When each name was noted (Unix seconds), without those of long ago."""
    content, now = read_json(_file(home)), time.time()
    return {
        name: float(at)
        for name, at in (content if isinstance(content, dict) else {}).items()
        if isinstance(at, int | float) and now - at < _KEPT_SECONDS
    }


def _file(home: Home) -> Path:
    return home.profile_dir / "named.json"
