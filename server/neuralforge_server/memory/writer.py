"""Keeps one repository's part of the fast memory: what the indexer calls for every file.

Segments are written once and merged when smaller ones have gathered, so that a saved file costs
what it holds and the number of segments stays logarithmic (a log-structured merge tree; O'Neil
et al. 1996).

Invariant: a commit is one rename of the manifest; whatever is killed before it changes nothing,
and what it leaves behind is swept by the next commit. At most one of a path's documents counts.
Knows no model: it is given the tokenizer.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neuralforge_adapters.home import locked, private_dir
from neuralforge_server.errors import SegmentDamagedError
from neuralforge_server.memory.index import MANIFEST, Entry, read_manifest, write_manifest
from neuralforge_server.memory.segment import Document, Segment, write_segment
from neuralforge_server.memory.text import chunks

_FAN_OUT = 4
"""A segment is merged with those after it once these have grown to this part of it."""
_DEAD_SHARE = 0.25
"""A segment with more of its tokens replaced or removed is written again."""
_LOCK_SECONDS = 60.0


@dataclass
class _Part:
    """A segment in force, and which of its documents no longer count."""

    segment: Segment
    dead: set[int] = field(default_factory=set)

    @property
    def living(self) -> int:
        """Tokens that count."""
        lengths = (d[2] for n, d in enumerate(self.segment.documents) if n not in self.dead)
        return sum(lengths)

    @property
    def wasteful(self) -> bool:
        return self.living < (1 - _DEAD_SHARE) * sum(d[2] for d in self.segment.documents)

    def documents(self) -> list[Document]:
        """Those that count, read back."""
        numbers = range(len(self.segment.documents))
        return [self.segment.document(n) for n in numbers if n not in self.dead]


class MemoryWriter:
    """Adds and removes documents; readers see them after `commit`.

    One writer a folder at a time: a commit takes the folder's lock, and reads the manifest again
    if another process has written it.
    """

    def __init__(self, folder: Path, tokenize: Callable[[str], list[int]]) -> None:
        """`folder` is made when something is committed; damaged segments in it are dropped, so
        that `has` asks for their documents again."""
        self._folder = folder
        self._tokenize = tokenize
        self._pending: dict[str, Document | None] = {}
        self._entries: list[Entry] = []
        self._parts: list[_Part] = []
        self._places: dict[str, tuple[_Part, int]] = {}
        self._read(verify=True)

    def has(self, path: str, text: str) -> bool:
        """Whether `put` of this text would change nothing."""
        if path in self._pending:
            pending = self._pending[path]
            return pending is not None and pending.digest == _digest(text)
        place = self._places.get(path)
        return place is not None and place[0].segment.documents[place[1]][1] == _digest(text)

    def paths(self) -> set[str]:
        """All documents, those to be committed included."""
        paths = set(self._places) | set(self._pending)
        return {path for path in paths if self._pending.get(path, True) is not None}

    def put(self, path: str, text: str) -> None:
        """Add the document, or replace the one of that path."""
        if self.has(path, text):
            return
        tokens = [token for chunk in chunks(text) for token in self._tokenize(chunk)]
        self._pending[path] = Document(path, _digest(text), np.array(tokens, dtype=np.uint32))

    def remove(self, path: str) -> None:
        """Forget the document of that path, if there is one."""
        self._pending[path] = None

    def commit(self) -> None:
        """Make readers see what was put and removed.

        Raises:
            HomeError: the disk is full or read-only, or another process holds the folder; what
                was put stays pending.
        """
        if not self._pending:
            return
        with self._lock():
            if read_manifest(self._folder) != self._entries:
                self._read(verify=False)
            self._apply()
            self._merge()
            _sweep(self._folder, {MANIFEST, *(entry.file for entry in self._entries)})

    def forget(self) -> None:
        """Forget the whole repository, at once for every reader, and what is pending.

        Raises:
            HomeError: another process holds the folder.
        """
        forget(self._folder)
        self._pending.clear()
        self._read(verify=False)

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        private_dir(self._folder)
        return _locked(self._folder)

    def _read(self, *, verify: bool) -> None:
        self._entries, self._parts = read_manifest(self._folder), []
        for entry in self._entries:
            with contextlib.suppress(SegmentDamagedError):
                segment = Segment(self._folder / entry.file)
                if verify:
                    segment.verify()
                self._parts.append(_Part(segment, set(entry.dead)))
        self._index()

    def _index(self) -> None:
        self._places = {
            document[0]: (part, number)
            for part in self._parts
            for number, document in enumerate(part.segment.documents)
            if number not in part.dead
        }

    def _apply(self) -> None:
        """Publish what is pending as a segment of its own, which is quick."""
        added = [document for document in self._pending.values() if document is not None]
        newest = self._written(added)
        for path in self._pending:
            if path in self._places:
                part, number = self._places[path]
                part.dead.add(number)
        self._publish([*self._parts, *newest])
        self._pending.clear()

    def _merge(self) -> None:
        """Write anew the last segments that have grown too many, or hold too much that is dead."""
        first = len(self._parts)
        gathered = 0
        for number in reversed(range(len(self._parts))):
            part = self._parts[number]
            small = part.living < _FAN_OUT * gathered
            if part.wasteful or small:
                first = number
            gathered += part.living
        if len(self._parts) - first < 2 and not any(p.wasteful for p in self._parts[first:]):
            return
        documents = [document for part in self._parts[first:] for document in part.documents()]
        self._publish([*self._parts[:first], *self._written(documents)])

    def _written(self, documents: list[Document]) -> list[_Part]:
        if not documents:
            return []
        path = self._folder / f"{uuid.uuid4().hex}.seg"
        write_segment(path, documents)
        return [_Part(Segment(path))]

    def _publish(self, parts: list[_Part]) -> None:
        entries = [Entry(part.segment.path.name, tuple(sorted(part.dead))) for part in parts]
        write_manifest(self._folder, entries)
        self._entries, self._parts = entries, parts
        self._index()


def forget(folder: Path) -> None:
    """Forget the repository in `folder`: no reader finds it from its next request on.

    A file that a reader on Windows still holds is deleted by the next commit or `forget`.

    Raises:
        HomeError: another process holds the folder.
    """
    if not folder.exists():
        return
    with _locked(folder):
        (folder / MANIFEST).unlink(missing_ok=True)
        _sweep(folder, set())
        with contextlib.suppress(OSError):
            folder.rmdir()


def _sweep(folder: Path, named: set[str]) -> None:
    """Delete what no manifest names; what cannot be deleted now is, another time."""
    for path in folder.iterdir():
        if path.name not in named:
            with contextlib.suppress(OSError):
                path.unlink()


def _locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    return locked(folder.with_name(f"{folder.name}.lock"), _LOCK_SECONDS)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()
