"""Brings a workspace's context index and fast memory up to the files on disk.

Invariant: a file is read only when its time or size differ from what the indexes hold, and
written only when its content does; what a kill leaves undone is done by the next scan, since a
stamp is committed after the fast memory. Knows neither a watch nor a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from neuralforge_server.context.eligible import MOST_BYTES, readable
from neuralforge_server.context.index import ContextIndex, Known, digest
from neuralforge_server.indexer.walk import FoundFile, Walker
from neuralforge_server.memory.writer import MemoryWriter

_BATCH_FILES, _BATCH_CHARS = 250, 8_000_000
"""What is taken in between two commits."""
_MANY_CHANGES = 2_000
"""Changes at once (a branch is checked out) for which a scan is cheaper."""
_RECOUNT_SHARE = 0.5
_TIDY_SHARE = 0.1
"""Parts of the files that have changed when frequent words are counted again, and when a scan
ends with tidying up."""


class FastMemory:
    """The fast memory of one base, with a record of what it holds in the context index."""

    def __init__(self, writer: MemoryWriter, name: str, index: ContextIndex) -> None:
        self._writer = writer
        self._name = name
        self._index = index
        held = writer.paths()
        remembered = index.remembered(name)
        self._held = {path: known for path, known in remembered.items() if path in held}
        for path in held - remembered.keys():
            writer.remove(path)

    def holds(self, path: str, content: bytes) -> bool:
        """Whether it holds the file as it is."""
        return self._held.get(path) == content

    def paths(self) -> set[str]:
        """The files that it holds."""
        return set(self._held)

    def put(self, path: str, text: str, content: bytes) -> None:
        """Learn a file."""
        self._writer.put(path, text)
        self._index.remember(self._name, path, content)
        self._held[path] = content

    def remove(self, path: str) -> None:
        """Forget a file."""
        if self._held.pop(path, None) is not None:
            self._writer.remove(path)
            self._index.remember(self._name, path, None)

    def commit(self) -> None:
        """Let engines see it."""
        self._writer.commit()


class Keeper:
    """Keeps the indexes of one workspace; `memory` may be left out."""

    def __init__(
        self,
        walker: Walker,
        index: ContextIndex,
        memory: FastMemory | None,
        on_files: Callable[[int], None],
    ) -> None:
        """`on_files` is told now and then how many files are held."""
        self._walker = walker
        self._index = index
        self._memory = memory
        self._on_files = on_files
        self._known: dict[str, Known] = index.known()
        self._pending = self._pending_chars = self._since_count = self._since_tidy = 0

    @property
    def capped(self) -> bool:
        """Whether the last scan met more files than are indexed."""
        return self._walker.capped

    def scan(self) -> None:
        """Bring everything up to date.

        Raises:
            ContextIndexError, HomeError: an index cannot be written.
        """
        if not self._walker.root.is_dir():
            return  # unmounted, perhaps: what is known stays
        seen = self._take_below("")
        held = self._memory.paths() if self._memory else set[str]()
        for path in (self._known.keys() | held) - seen:
            self._drop(path)
        self._commit()
        if self._since_tidy > _TIDY_SHARE * len(self._known):
            self._index.count_words()
            self._index.tidy()
            self._since_count = self._since_tidy = 0

    def follow(self, changed: Iterable[str]) -> None:
        """Bring these paths up to date, files or folders, which may be gone.

        Raises:
            ContextIndexError, HomeError: an index cannot be written.
        """
        paths = sorted(set(changed))
        if len(paths) > _MANY_CHANGES or any(p.rpartition("/")[2] == ".gitignore" for p in paths):
            self.scan()
            return
        for path in filter(self._walker.is_inside, paths):
            self._follow(path)
        self._commit()

    def _follow(self, path: str) -> None:
        seen: set[str] = set()
        if self._walker.is_folder(path):
            if self._walker.may_enter(path):
                seen = self._take_below(path)
        elif found := self._walker.look(path):
            self._take(found)
            return
        gone = [path] if path in self._known else self._known_below(path)
        for known in gone:
            if known not in seen:
                self._drop(known)

    def _known_below(self, folder: str) -> list[str]:
        return [path for path in self._known if path.startswith(f"{folder}/")]

    def _take_below(self, folder: str) -> set[str]:
        seen = set()
        for found in self._walker.walk(folder):
            seen.add(found.path)
            self._take(found)
        return seen

    def _take(self, found: FoundFile) -> None:
        known = self._known.get(found.path)
        if known is not None and known.stamp == found.stamp and self._is_held(found.path, known):
            return
        text = readable(_read(self._walker.root / found.path))
        if text is None:
            self._drop(found.path)
            return
        content = digest(text)
        if known is not None and known.digest == content:
            self._index.touch(found.path, found.stamp)
        else:
            self._index.put(found.path, text, found.stamp)
        if self._memory is not None and not self._memory.holds(found.path, content):
            self._memory.put(found.path, text, content)
        self._known[found.path] = Known(found.stamp, content)
        self._count(len(text))

    def _is_held(self, path: str, known: Known) -> bool:
        return self._memory is None or self._memory.holds(path, known.digest)

    def _drop(self, path: str) -> None:
        if self._known.pop(path, None) is not None:
            self._index.remove(path)
            self._count(0)
        if self._memory is not None:
            self._memory.remove(path)

    def _count(self, characters: int) -> None:
        self._pending += 1
        self._pending_chars += characters
        if self._pending >= _BATCH_FILES or self._pending_chars >= _BATCH_CHARS:
            self._commit()

    def _commit(self) -> None:
        if self._memory is not None:
            self._memory.commit()
        self._index.commit()
        self._since_count += self._pending
        self._since_tidy += self._pending
        self._pending = self._pending_chars = 0
        if self._since_count > _RECOUNT_SHARE * len(self._known):
            self._index.count_words()
            self._since_count = 0
        self._on_files(len(self._known))


def _read(place: Path) -> bytes:
    """The content of a file, as far as is needed to judge it; empty where it is gone."""
    try:
        with place.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError:
        return b""
