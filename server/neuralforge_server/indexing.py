"""The indexers of the workspace's folders: started once a base is there, told of, forgotten.

Invariant: what an indexer has to say is shown once, and completion goes on without it. A folder
that was forgotten is not indexed again by this server. Knows no index.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from neuralforge_adapters.base import Base
from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import Home
from neuralforge_server.indexer.process import Indexer
from neuralforge_server.indexer.protocol import IndexerProgress
from neuralforge_server.notice import Notice
from neuralforge_server.settings import Settings


class Indexing:
    """One indexer for each folder of one server."""

    def __init__(
        self, home: Home, folders: Iterable[Path], notify: Callable[[Notice], None]
    ) -> None:
        """No process is started yet."""
        self.progress: dict[str, IndexerProgress] = {}
        """What was last heard of each folder."""
        self._home = home
        self._folders = list(dict.fromkeys(folders))
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._indexers: dict[Path, Indexer] = {}
        self._started: tuple[str, tuple[str, ...]] | None = None
        self._lock = asyncio.Lock()

    async def follow(self, settings: Settings, base: Base) -> None:
        """Index for this base, or stop where the settings say so; nothing where that goes on."""
        wanted = settings.index.enabled and (settings.context.enabled or settings.memory.enabled)
        async with self._lock:
            if not wanted or not settings.completion.enabled:
                await asyncio.to_thread(self._stop)
                return
            started = base.digest, settings.log.exclude
            if started != self._started:
                self._started = started
                remembered = base if settings.memory.enabled else None
                await asyncio.to_thread(self._start, remembered, settings.log.exclude)

    async def stop(self) -> None:
        """End every process."""
        async with self._lock:
            await asyncio.to_thread(self._stop)

    async def forget(self, repository: Path | None) -> None:
        """Delete the indexes of a repository, or all of them, and index it no more.

        Raises:
            ContextIndexError, HomeError: a file of them cannot be deleted.
        """
        async with self._lock:
            await asyncio.to_thread(self._forget, repository)

    def _start(self, base: Base | None, exclude: tuple[str, ...]) -> None:
        for folder in self._folders:
            if folder not in self._indexers:
                self._indexers[folder] = Indexer(self._listener(folder))
            self._indexers[folder].start(folder, self._home, base, exclude)

    def _stop(self) -> None:
        self._started = None
        for indexer in self._indexers.values():
            indexer.stop()

    def _forget(self, repository: Path | None) -> None:
        gone = [f for f in self._folders if repository is None or _meet(f, repository)]
        for folder in gone:
            self._folders.remove(folder)
            if indexer := self._indexers.pop(folder, None):
                indexer.stop()
            self.progress.pop(str(folder), None)
        forget_indexes(self._home, repository, gone)

    def _listener(self, folder: Path) -> Callable[[IndexerProgress], None]:
        def hear(progress: IndexerProgress) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._heard, folder, progress)

        return hear

    def _heard(self, folder: Path, progress: IndexerProgress) -> None:
        self.progress[str(folder)] = progress
        if progress.message:
            kind = "warning" if progress.state in ("failed", "ended") else "info"
            self._notify(Notice(kind, f"{folder}: {progress.message}"))  # type: ignore[arg-type]


def forget_indexes(home: Home, repository: Path | None, folders: Iterable[Path] = ()) -> None:
    """Delete the indexes of a repository (and of folders that it meets), or every index.

    Raises:
        ContextIndexError, HomeError: a file of them cannot be deleted.
    """
    from neuralforge_server.context.places import forget  # slow to import

    if repository is not None:
        for folder in {repository, *folders}:
            forget(home, folder)
        return
    for kind in ("context", "memory"):
        try:
            shutil.rmtree(home.indexes / kind)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise HomeError(
                f"the indexes in {home.indexes / kind} are not forgotten: {error.strerror}; "
                "close the editors that have them open and try again"
            ) from error


def _meet(one: Path, other: Path) -> bool:
    """Whether one of two folders lies in the other."""
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)
