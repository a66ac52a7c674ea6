"""One workspace's indexing from beginning to end: lock, scan, follow, and what may go wrong.

Invariant: an index that cannot be written is told once and tried again later; one that is damaged
is built anew; one that was forgotten stays forgotten. Knows no stdin and no priority.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import Home, private_dir
from neuralforge_server.context.index import ContextIndex, identity, is_corruption
from neuralforge_server.context.places import (
    context_file,
    damage_mark,
    lock_file,
    memory_folder,
)
from neuralforge_server.errors import ContextIndexError
from neuralforge_server.indexer.keeper import FastMemory, Keeper
from neuralforge_server.indexer.protocol import IndexerOrder, IndexerProgress, IndexerState
from neuralforge_server.indexer.walk import Walker
from neuralforge_server.indexer.watching import Anything, changes
from neuralforge_server.memory.writer import MemoryWriter
from neuralforge_server.session.exclude import Exclusions

_LOCK_SECONDS = 5.0
_RETRY_SECONDS = 60.0
_REPORT_SECONDS = 0.5

Report = Callable[[IndexerProgress], None]
Tokenize = Callable[[str], list[int]]


class Work:
    """Carries out one order."""

    def __init__(self, order: IndexerOrder, report: Report, retry_seconds: float = _RETRY_SECONDS):
        self._order = order
        self._root = Path(order.workspace).resolve()
        self._home = Home(Path(order.home), order.profile)
        self._file = context_file(self._home, self._root)
        self._walker = Walker(self._root, Exclusions(order.exclude))
        self._report = _Reporter(report)
        self._retry_seconds = retry_seconds
        self._is_told: set[str] = set()

    def run(self) -> None:
        """Keep the indexes up to date, until they are forgotten.

        Raises:
            HomeError: the folder of the indexes cannot be made.
            BaseFileError: the base's vocabulary cannot be read.
        """
        self._report.state("loading")
        tokenize = _tokenizer(Path(self._order.base)) if self._order.base else None
        with self._alone():
            while (pause := self._keep(tokenize)) is not None:
                threading.Event().wait(pause)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one that writes; wait where another is."""
        path = lock_file(self._home, self._root)
        private_dir(path.parent)
        lock = FileLock(path, mode=0o600)
        while True:
            try:
                lock.acquire(timeout=_LOCK_SECONDS if self._report.is_("waiting") else 0)
                break
            except Timeout:
                self._report.state("waiting")
        try:
            yield
        finally:
            lock.release()

    def _keep(self, tokenize: Tokenize | None) -> float | None:
        """Follow the workspace until something fails; seconds to wait before trying again.

        None where the indexes were forgotten.
        """
        try:
            with closing(ContextIndex(self._file)) as index:
                memory = None if tokenize is None else self._memory(tokenize, index)
                return self._follow(index, Keeper(self._walker, index, memory, self._report.files))
        except (ContextIndexError, HomeError) as error:
            self._report.state("failed", message=self._once(str(error)))
            if not is_corruption(error.__cause__):
                return self._retry_seconds
            damage_mark(self._file).touch()
            return 0.0

    def _follow(self, index: ContextIndex, keeper: Keeper) -> float | None:
        with closing(changes(self._walker, self._tell)) as stream:
            for changed in stream:
                if identity(self._file) != index.identity:
                    self._report.state("ended")
                    return None
                if damage_mark(self._file).exists():
                    return 0.0
                if changed:
                    self._bring_up_to_date(keeper, changed)
        raise AssertionError("changes never end")

    def _bring_up_to_date(self, keeper: Keeper, changed: set[str] | Anything) -> None:
        if not isinstance(changed, set):
            self._report.state("scanning")
            keeper.scan()
        else:
            keeper.follow(changed)
        message = ""
        if keeper.capped:
            message = self._once(
                f"{self._root} has more files than are indexed; the others are not known to "
                "completion: exclude folders in .gitignore, or open a smaller one"
            )
        self._report.state("watching", message=message)

    def _memory(self, tokenize: Tokenize, index: ContextIndex) -> FastMemory:
        folder = memory_folder(self._home, self._order.base_digest, self._root)
        return FastMemory(MemoryWriter(folder, tokenize), folder.parent.name, index)

    def _tell(self, message: str) -> None:
        self._report.state("scanning", message=self._once(message))

    def _once(self, message: str) -> str:
        """The message, or nothing where it was told before."""
        if message in self._is_told:
            return ""
        self._is_told.add(message)
        return message


def _tokenizer(base: Path) -> Tokenize:
    from neuralforge_server.indexer.vocabulary import tokenizer  # loads llama.cpp

    return tokenizer(base)


class _Reporter:
    """Passes on states as they change, and counts of files now and then."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._state: IndexerState = "loading"
        self._files = 0
        self._last = 0.0

    def is_(self, state: IndexerState) -> bool:
        return self._state == state

    def state(self, state: IndexerState, message: str = "") -> None:
        """A state, and what is to be told."""
        if message or state != self._state or not self._last:
            self._state = state
            self._pass_on(message)

    def files(self, count: int) -> None:
        """How many files are held."""
        self._files = count
        if time.monotonic() - self._last > _REPORT_SECONDS:
            self._pass_on("")

    def _pass_on(self, message: str) -> None:
        self._last = time.monotonic()
        self._report(IndexerProgress(self._state, self._files, message))
