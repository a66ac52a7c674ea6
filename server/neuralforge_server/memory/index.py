"""The folders of the fast memory, as their readers see them: one folder a base, below it one a
repository, in it a manifest that names segments and the documents in them that no longer count.

Invariant: a reader sees a repository as one manifest describes it; a folder without a readable
manifest is empty; a segment that is missing or damaged is left out. Writes nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuralforge_adapters.home import read_json, write_json
from neuralforge_server.errors import SegmentDamagedError
from neuralforge_server.memory.segment import Segment

MANIFEST = "manifest.json"
_VERSION = 1

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Entry:
    """A segment's file name, and the numbers of its documents that were replaced or removed."""

    file: str
    dead: tuple[int, ...] = ()


class Repository:
    """One repository's segments as its manifest named them when this was made."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.segments: list[tuple[Segment, npt.NDArray[np.bool_] | None]] = []
        """Each with which of its documents still count; None for all."""
        entries, complete = read_manifest(folder), False
        while not complete:
            self.segments = _open(folder, entries)
            before, entries = entries, read_manifest(folder)
            complete = len(self.segments) == len(before) or entries == before


class MemoryIndex:
    """All repositories below one base's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[str, tuple[Stamp, Repository]] = {}

    def refresh(self) -> list[Repository]:
        """The repositories as they are now, the one written last first.

        Only what changed is opened again.
        """
        stamps = _stamps(self._folder)
        for name, stamp in stamps.items():
            if name not in self._opened or self._opened[name][0] != stamp:
                self._opened[name] = (stamp, Repository(self._folder / name))
        for name in self._opened.keys() - stamps.keys():
            del self._opened[name]
        opened = sorted(self._opened.values(), key=lambda item: item[0], reverse=True)
        return [repository for _, repository in opened]


def read_manifest(folder: Path) -> list[Entry]:
    """The segments that `folder` consists of, oldest first; none where it is not readable."""
    manifest = read_json(folder / MANIFEST)
    try:
        if manifest["version"] != _VERSION:  # type: ignore[index]
            return []
        return [
            Entry(Path(str(item["file"])).name, tuple(int(number) for number in item["dead"]))
            for item in manifest["segments"]  # type: ignore[index]
        ]
    except (TypeError, KeyError, ValueError):
        return []


def write_manifest(folder: Path, entries: list[Entry]) -> None:
    """Replace the manifest: the step by which a commit happens.

    Raises:
        HomeError: it cannot be written; the old one stands.
    """
    segments = [{"file": entry.file, "dead": list(entry.dead)} for entry in entries]
    write_json(folder / MANIFEST, {"version": _VERSION, "segments": segments})


def _open(folder: Path, entries: list[Entry]) -> list[tuple[Segment, npt.NDArray[np.bool_] | None]]:
    """The segments that can be read: a merge may have deleted one since the manifest was read,
    and a damaged one is found by the writer as well, which has its files indexed again."""
    opened = []
    for entry in entries:
        with contextlib.suppress(SegmentDamagedError):
            segment = Segment(folder / entry.file)
            opened.append((segment, _alive(segment, entry.dead)))
    return opened


def _alive(segment: Segment, dead: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    inside = [number for number in dead if 0 <= number < len(segment.documents)]
    if not inside:
        return None
    alive = np.ones(len(segment.documents), dtype=np.bool_)
    alive[inside] = False
    return alive


def _stamps(folder: Path) -> dict[str, Stamp]:
    """What tells one manifest from the next, by repository."""
    stamps: dict[str, Stamp] = {}
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return {}
    for name in names:
        try:
            status = (folder / name / MANIFEST).stat()
        except OSError:
            continue
        stamps[name] = (status.st_mtime_ns, status.st_ino, status.st_size)
    return stamps
