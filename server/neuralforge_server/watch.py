"""Watching files that others change: the stack, the adapters, the trainer's state, git's HEAD.

Invariant: a change is passed on within about a tenth of a second, one made while a watch is being
set up within a second. The set of folders may change while it runs. Knows no meaning of a file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from watchfiles import awatch

logger = logging.getLogger(__name__)

_DEBOUNCE_MS, _STEP_MS = 100, 20
_SETTLED_SECONDS = 1.0
"""A watch is surely in place so long after it was asked for."""


class Watcher:
    """Passes on the paths that changed in some folders."""

    def __init__(
        self,
        on_change: Callable[[set[Path]], None],
        resync: Callable[[], None],
        *,
        recursive: bool = False,
    ) -> None:
        """`on_change` is told what changed, `resync` that anything may have."""
        self._on_change = on_change
        self._resync = resync
        self._recursive = recursive
        self._folders: frozenset[Path] = frozenset()
        self._stop = asyncio.Event()
        self._closed = False

    def watch(self, folders: Iterable[Path]) -> None:
        """Watch these folders as well."""
        self._folders |= set(folders)
        self._stop.set()

    def close(self) -> None:
        """Have `run` return: a cancel that meets the end of a watch may get lost in it."""
        self._closed = True
        self._stop.set()

    async def run(self) -> None:
        """Watch until closed."""
        while not self._closed:
            self._stop = stop = asyncio.Event()
            if folders := [folder for folder in self._folders if folder.is_dir()]:
                await self._watch(folders, stop)
            await stop.wait()

    async def _watch(self, folders: list[Path], stop: asyncio.Event) -> None:
        asyncio.get_running_loop().call_later(_SETTLED_SECONDS, self._resync)
        try:
            async for changes in awatch(
                *folders,
                stop_event=stop,
                recursive=self._recursive,
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                ignore_permission_denied=True,
            ):
                self._on_change({Path(path) for _, path in changes})
        except OSError as error:  # too many watches, or a folder that went away
            logger.warning("files are not watched: %s", error)
