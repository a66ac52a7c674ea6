"""What requests show of other files, and what the fast memory is told of open documents.

Invariant: no request waits for it. It looks at a document when the user has paused, on a thread
of its own, and what it finds stays the same until the next pause, so that the head of the prompt
does. A file that is excluded is neither shown nor remembered. Runs in one asyncio loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralforge_adapters.home import Home
from neuralforge_server.completion.service import CompletionService
from neuralforge_server.documents import Document, Position
from neuralforge_server.engine.protocol import RememberRequest, Surroundings
from neuralforge_server.settings import Settings

if TYPE_CHECKING:
    from neuralforge_server.context.provider import ContextProvider
    from neuralforge_server.session.exclude import Exclusions

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.4
_MOST_CHARS = 400_000
"""A longer document is neither remembered nor looked into."""
_FRONT_SHARE, _CHARS_PER_TOKEN = 0.4, 3.0
"""Of the context, for other files: what the engine's prompt leaves them."""


@dataclass(eq=False)
class _Open:
    """A document as it was last looked at."""

    document: Document
    around: Surroundings = field(default_factory=Surroundings)
    position: Position = Position(0, 0)  # noqa: RUF009 - frozen
    edited: int = -1
    """The line edited last; -1 for none."""
    saved: bool = False
    """Whether it was saved since it was last looked at."""
    timer: asyncio.TimerHandle | None = None

    def wait(self, timer: asyncio.TimerHandle | None) -> None:
        """Have this timer, and no other."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer


@dataclass(frozen=True)
class _Look:
    """What is to be looked at: a document as it is at a pause."""

    path: Path
    lines: Sequence[str]
    line: int
    edited: int
    shown: str
    budget: int
    settled: int
    """So many lines are remembered: not the last one while it is being written."""


class Workspace:
    """The open documents of one server, and the folders that they lie in."""

    def __init__(
        self,
        home: Home,
        folders: Iterable[Path],
        service: CompletionService,
        settings: Settings,
        spawn: Callable[[Coroutine[Any, Any, Any]], None],
    ) -> None:
        """`folders`: those that the user has opened as a workspace."""
        self._service = service
        self._settings = settings
        self._spawn = spawn
        self._open: dict[str, _Open] = {}
        self._places = _Places(home, [*folders], settings.log.exclude)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="workspace")
        service.asking.around = self.around

    def use(self, settings: Settings) -> None:
        """Go over to other settings."""
        self._settings = settings
        for opened in self._open.values():
            opened.around = Surroundings()
        self.tell_again()

    def around(self, document: Document) -> Surroundings:
        """What a request in `document` shows of other files now."""
        opened = self._open.get(document.uri)
        if opened is None or not self._settings.context.enabled:
            return Surroundings()
        return opened.around

    def opened(self, document: Document) -> None:
        """A document was opened: look at it at once."""
        if document.path is None or document.left_alone:
            return
        opened = self._open[document.uri] = _Open(document)
        self._look_later(opened, 0.0)

    def changed(self, document: Document, line: int) -> None:
        """A document was edited at a line: look at it when the user pauses."""
        opened = self._open.get(document.uri)
        if opened is not None:
            opened.edited = line
            self._look_later(opened, _PAUSE_SECONDS)

    def asked(self, document: Document, position: Position) -> None:
        """A suggestion is wanted at a position."""
        opened = self._open.get(document.uri)
        if opened is None:
            return
        moved = abs(position.line - opened.position.line)
        opened.position = position
        if moved and opened.timer is None:
            self._look_later(opened, _PAUSE_SECONDS)

    def saved(self, document: Document) -> None:
        """A document was saved: look at it now."""
        if opened := self._open.get(document.uri):
            opened.saved = True
            self._look_later(opened, 0.0)

    def closed(self, document: Document) -> None:
        """Forget a document."""
        opened = self._open.pop(document.uri, None)
        if opened is None:
            return
        opened.wait(None)
        self._service.engine.tell(RememberRequest(document.uri, ""))
        self._thread.submit(self._places.closed, Path(str(document.path)))

    def tell_again(self) -> None:
        """The engine is a new one, or what it may know has changed: tell it everything anew."""
        if not self._settings.memory.enabled:
            for uri in self._open:
                self._service.engine.tell(RememberRequest(uri, ""))
        for opened in self._open.values():
            self._look_later(opened, 0.0)

    async def forget(self, repository: Path | None) -> None:
        """Forget what came from the documents of a repository, or of all, and let go of indexes.

        What is typed from then on counts again.
        """
        for uri, opened in self._open.items():
            path = Path(str(opened.document.path))
            if repository is None or path.is_relative_to(repository):
                opened.wait(None)
                opened.around = Surroundings()
                self._service.engine.tell(RememberRequest(uri, ""))
        await asyncio.get_running_loop().run_in_executor(self._thread, self._places.close)

    def close(self) -> None:
        """End the thread and let go of the indexes."""
        for opened in self._open.values():
            opened.wait(None)
        self._thread.submit(self._places.close)
        self._thread.shutdown(wait=False)

    def _look_later(self, opened: _Open, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        opened.wait(loop.call_later(seconds, lambda: self._spawn(self._look(opened))))

    async def _look(self, opened: _Open) -> None:
        opened.timer = None
        document, settings = opened.document, self._settings
        if document.too_large or document.length > _MOST_CHARS:
            return
        if not settings.context.enabled and not settings.memory.enabled:
            return
        look = self._what(opened)
        loop = asyncio.get_running_loop()
        text, around = await loop.run_in_executor(self._thread, self._places.look, look)
        if self._open.get(document.uri) is not opened or text is None:
            return
        if settings.memory.enabled:
            self._service.engine.tell(RememberRequest(document.uri, text))
            self._service.learned(document)
        if around != opened.around and opened.timer is None:  # no key has come meanwhile
            opened.around = around
            self._service.warm(document, opened.position)

    def _what(self, opened: _Open) -> _Look:
        document, position = opened.document, opened.position
        prefix, suffix = self._service.asking.window.cut(
            document.lines, position.line, position.character
        )
        edited, opened.edited = opened.edited, -1
        saved, opened.saved = opened.saved, False
        settled = len(document.lines) if saved else _settled(document.lines, position.line, suffix)
        return _Look(
            Path(str(document.path)),
            [*document.lines],
            position.line,
            edited,
            prefix + suffix,
            self._budget() if self._settings.context.enabled else 0,
            settled,
        )

    def _budget(self) -> int:
        """Characters of other files that the context has room for."""
        info = self._service.engine.info
        tokens = self._service.engine.options.context if info is None else info.context
        return int(tokens * _FRONT_SHARE * _CHARS_PER_TOKEN)


class _Places:
    """The folders, each with its context provider. On the thread of `Workspace` alone."""

    def __init__(self, home: Home, folders: list[Path], patterns: tuple[str, ...]) -> None:
        self._home = home
        self._folders = folders
        self._patterns = patterns
        self._exclusions: Exclusions | None = None
        self._providers: dict[Path | None, ContextProvider] = {}

    def look(self, look: _Look) -> tuple[str | None, Surroundings]:
        """What is remembered of it, None where it is excluded, and its surroundings."""
        if self._excluded(look.path):
            return None, Surroundings()
        folder = self._folder(look.path)
        settled, path = "".join(look.lines[: look.settled]), _relative(look.path, folder)
        if not look.budget:
            return settled, Surroundings()
        provider = self._provider(folder)
        provider.edited(path, "".join(look.lines), look.edited)
        return settled, provider.around(path, look.lines, look.line, look.shown, look.budget)

    def closed(self, path: Path) -> None:
        """Forget a document."""
        folder = self._folder(path)
        if (provider := self._providers.get(folder)) is not None:
            provider.closed(_relative(path, folder))

    def close(self) -> None:
        """Let go of the indexes; they are opened again when they are needed."""
        for provider in self._providers.values():
            provider.close()
        self._providers.clear()

    def _excluded(self, path: Path) -> bool:
        if self._exclusions is None:
            from neuralforge_server.session.exclude import Exclusions  # slow to import

            self._exclusions = Exclusions(self._patterns)
        return self._exclusions.is_excluded(path)

    def _provider(self, folder: Path | None) -> ContextProvider:
        from neuralforge_server.context.provider import ContextProvider  # slow to import

        known = self._providers.get(folder)
        if known is None:
            assert self._exclusions is not None
            known = ContextProvider(self._home, folder, self._exclusions)
            self._providers[folder] = known
        return known

    def _folder(self, path: Path) -> Path | None:
        """The innermost workspace folder, else the repository, that a file lies in."""
        from neuralforge_server.session.exclude import find_repository  # slow to import

        inside = [folder for folder in self._folders if path.is_relative_to(folder)]
        return max(inside, key=lambda f: len(f.parts)) if inside else find_repository(path.parent)


def _settled(lines: Sequence[str], cursor: int, suffix: str) -> int:
    """How many lines are not being written: nothing follows a line at the document's end that
    would tell its beginning at the cursor from a line that was written like that."""
    if not suffix.strip():
        return min(cursor, len(lines))
    ended = not lines or lines[-1].endswith(("\n", "\r"))
    return len(lines) if ended else len(lines) - 1


def _relative(path: Path, folder: Path | None) -> str:
    if folder is None:
        return path.relative_to(path.anchor).as_posix()
    return Path(os.path.relpath(path, folder)).as_posix()
