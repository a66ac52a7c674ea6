"""One running server: what it is made of, how it begins and ends, and what events go where.

Invariant: completions need the engine alone. Whatever else fails (the log, the watches, the
learning) is told once and left out. Knows the client only by messages, not the handlers' types.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralforge_adapters.base import open_base
from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import DEFAULT_PROFILE, Home, private_dir
from neuralforge_adapters.trainer_files import control_file, state_file
from neuralforge_server import progress
from neuralforge_server.client_link import ClientLink
from neuralforge_server.completion.waiting import Suggestion
from neuralforge_server.documents import Change, Document, Position
from neuralforge_server.engine_life import EngineLife
from neuralforge_server.errors import EngineError
from neuralforge_server.host import EngineHost
from neuralforge_server.indexing import Indexing
from neuralforge_server.learning.consent import Consent
from neuralforge_server.learning.learner import Learner
from neuralforge_server.learning.repositories import head_folders
from neuralforge_server.notice import Notice
from neuralforge_server.options import ServeOptions
from neuralforge_server.protocol import DocumentListener
from neuralforge_server.session.rows import Answer, Trigger
from neuralforge_server.session.rows import Suggestion as SuggestionRow
from neuralforge_server.session_writer import SessionWriter
from neuralforge_server.settings import Settings, parse
from neuralforge_server.status_feed import StatusFeed
from neuralforge_server.watch import Watcher
from neuralforge_server.workspace import Workspace

if TYPE_CHECKING:
    from neuralforge_server.recorder import Recorder

logger = logging.getLogger(__name__)

_TICK_SECONDS = 5.0
_END_SECONDS = 3.0
_SETTLING_LIMIT = 500_000
"""Characters: edits of a longer document are followed, but not kept as samples."""
_EXCERPT = 2000


class App(DocumentListener):
    """The server behind the handlers."""

    def __init__(self, options: ServeOptions, host: EngineHost) -> None:
        self.options = options
        self.host = host
        self.settings = Settings()
        self.initial: Any = None
        """The initialization options."""
        self.folders: list[Path] = []
        """The workspace's."""
        self.link: ClientLink
        self.documents: dict[str, Document] = {}
        self.latency_ms: float | None = None
        """Milliseconds that the last suggestion took."""
        self.own_ms: deque[float] = deque(maxlen=1000)
        """Milliseconds that requests spent outside the engine."""
        self.writer: SessionWriter | None = None
        self.learner: Learner | None = None
        self.consent: Consent | None = None
        self.life: EngineLife | None = None
        self.workspace: Workspace | None = None
        self.indexing: Indexing | None = None
        self.feed: StatusFeed | None = None
        """The status line, where the client shows one."""
        self._switched: bool | None = None
        """Whether to suggest anything, where the user said so by command; a change of the setting
        is a later word."""
        self._enabled: bool | None = None
        """What the setting says of it."""
        self.begun = asyncio.Event()
        """Set once the settings are known and everything is started."""
        self._ended = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._too_large: set[str] = set()

    # beginning and end

    def attach(self, link: ClientLink, documents: dict[str, Document]) -> None:
        """Meet the client."""
        self.link, self.documents = link, documents

    async def begin(self) -> None:
        """Start everything that needs settings."""
        self.link.open()
        pulled = await self.link.configuration()
        self.settings = self._parsed(self.initial if pulled is None else pulled)
        profile = self.options.profile
        if profile in (None, DEFAULT_PROFILE):
            profile = self.settings.profile or profile
        try:
            self.host.home = Home.find(profile)
        except NeuralForgeError as error:
            self.link.show(Notice("warning", f"{error}; the default profile is used"))
        self.host.service.asking.use(self.settings)
        self.life = EngineLife(self.host, self.link, self.spawn, self.options.base)
        self.workspace = Workspace(
            self.host.home, self.folders, self.host.service, self.settings, self.spawn
        )
        self.indexing = Indexing(self.host.home, self.folders, self.link.show)
        self.host.on_ready = self._engine_ready
        self.spawn(self.life.follow(self.settings))
        self._begin_remembering()
        self._begin_watching()
        for document in list(self.documents.values()):
            self.opened(document)
        self.begun.set()
        if self.feed is not None:
            self.spawn(self.feed.run())
        await self.link.follow_configuration()

    async def configure(self, raw: Any) -> None:
        """Settings have changed; `raw` are those that a client pushed."""
        pulled = await self.link.configuration()
        await self._use(self._parsed(raw if pulled is None else pulled))

    async def switch(self, enabled: bool) -> None:
        """Suggest anything at all, or nothing, until the server ends, whatever the settings say."""
        self._switched = enabled
        await self._use(self._overridden(self.settings))

    async def _use(self, settings: Settings) -> None:
        before, self.settings = self.settings, settings
        self.host.service.asking.use(settings)
        if self.learner is not None:
            self.learner.settings = settings.learning
            self.learner.exclude = settings.log.exclude
            self.learner.wake()
        assert self.life is not None and self.workspace is not None
        self.workspace.use(settings)
        await self.life.follow(settings)
        self.touch()
        await self._follow_index()
        if (settings.log, settings.profile) != (before.log, before.profile):
            self.link.show(
                Notice("info", "Settings of the log and the profile hold from the next start on.")
            )

    async def settle(self) -> None:
        """The client is about to leave, and may not wait: what is to be recorded is written."""
        if self.writer is None:
            return
        for document in list(self.documents.values()):
            self._record_end(document)
        with contextlib.suppress(NeuralForgeError):  # the user was told when it could not be
            await self.writer.ask(lambda _: None)

    async def end(self) -> None:
        """Stop everything; what was recorded is written."""
        for document in list(self.documents.values()):
            self.closed(document)
        self._ended = True
        if self.learner is not None:
            self._watcher.close()
            self._adapter_watcher.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_SECONDS)
        await self.host.stop()
        if self.workspace is not None and self.indexing is not None:
            self.workspace.close()
            await self.indexing.stop()
        if self.writer is not None:
            await asyncio.to_thread(self.writer.close)

    def notice(self, notice: Notice) -> None:
        """The engine or the stack has something to say to the user."""
        self.link.show(notice)
        self.touch()

    def touch(self) -> None:
        """What the status line shows may have changed."""
        if self.feed is not None:
            self.feed.touch()

    def _engine_ready(self) -> None:
        assert self.workspace is not None
        self.touch()
        self.workspace.tell_again()
        self.spawn(self._follow_index())

    async def _follow_index(self) -> None:
        assert self.indexing is not None
        base = self.host.engine.options.base
        if not base.path.is_file():  # an endpoint's: the index counts by the base in use
            base = await asyncio.to_thread(open_base, None, self.host.home)
        await self.indexing.follow(self.settings, base)

    def _trained_base(self) -> Path:
        """The base to train for.

        Raises:
            EngineError: it is on another machine.
        """
        path = self.host.engine.options.base.path
        if not path.is_file():
            raise EngineError(
                f"the base of {path} is not on this machine; name its GGUF in engine.base to "
                "learn for it"
            )
        return path

    async def forget(self, repository: Path | None) -> None:
        """Forget the context and the fast memory of a repository, or all there is.

        Raises:
            NeuralForgeError: a file of them cannot be deleted.
        """
        assert self.workspace is not None and self.indexing is not None
        await self.workspace.forget(repository)
        self.host.service.forget()
        await self.indexing.forget(repository)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something in the background, for as long as the server runs."""
        if self._ended:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a background task ended", exc_info=error)

    def _parsed(self, raw: Any) -> Settings:
        settings, problems = parse(raw)
        for problem in problems:
            self.link.show(Notice("warning", f"{problem}."))
        if settings.completion.enabled != self._enabled:
            self._enabled, self._switched = settings.completion.enabled, None
        return self._overridden(settings)

    def _overridden(self, settings: Settings) -> Settings:
        """With what the command line and the user's commands say instead."""
        if self.options.endpoint:
            engine = replace(settings.engine, endpoint=self.options.endpoint)
            settings = replace(settings, engine=engine)
        if self._switched is not None:
            completion = replace(settings.completion, enabled=self._switched)
            settings = replace(settings, completion=completion)
        return settings

    def _begin_remembering(self) -> None:
        home, log = self.host.home, self.settings.log
        loop = asyncio.get_running_loop()
        if log.enabled:

            def failed(error: NeuralForgeError) -> None:
                loop.call_soon_threadsafe(self.link.show, Notice("warning", str(error)))

            def make() -> Recorder:
                from neuralforge_server.recorder import Recorder  # slow to import: on the thread

                recorder = Recorder.open(home.session_log, log)
                for recovery in recorder.log.notices:
                    loop.call_soon_threadsafe(self.link.show, Notice("warning", recovery))
                return recorder

            self.writer = SessionWriter(make, failed)
            self.writer.post(lambda recorder: recorder.log.enforce_limits())
            self.spawn(self._tick())
        self.learner = Learner(
            home,
            self.settings.learning,
            self._count_new_samples,
            self._trained_base,
            lambda title, cancel: progress.begin(self.link.server, title, cancel),
            self.link.show,
        )
        self.learner.exclude = self.settings.log.exclude
        if self.writer is not None:
            self.consent = Consent(self.link, self.writer, self._decided)
        self.spawn(self.learner.run())

    async def _count_new_samples(self) -> int:
        if self.writer is None:
            return 0
        return await self.writer.ask(lambda recorder: recorder.log.count_new_samples())

    def _begin_watching(self) -> None:
        home = self.host.home
        self._watcher = Watcher(self._files_changed, self._anything_changed)
        self._adapter_watcher = Watcher(
            lambda _: self.spawn(self._follow_stack()), self._anything_changed, recursive=True
        )
        try:
            self._watcher.watch([private_dir(home.profile_dir), private_dir(home.trainer_dir)])
            self._adapter_watcher.watch([private_dir(home.adapters)])
        except NeuralForgeError as error:
            self.link.show(Notice("warning", str(error)))
        self.spawn(self._watcher.run())
        self.spawn(self._adapter_watcher.run())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            assert self.writer is not None
            due = self.writer.next_due()
            texts = self.snapshot() if due is not None and due <= time.time() else {}
            self.writer.post(lambda recorder, texts=texts: recorder.tick(texts))  # type: ignore[misc]

    def snapshot(self) -> dict[str, list[str]]:
        """The lines of every open document as they are now."""
        return {uri: list(document.lines) for uri, document in self.documents.items()}

    # documents

    def opened(self, document: Document) -> None:
        """Follow a document; say once that it is too large."""
        if document.too_large and document.uri not in self._too_large:
            self._too_large.add(document.uri)
            self.link.show(
                Notice("info", f"{document.uri} is larger than 5 MB: it is not completed.")
            )
        if self.workspace is not None:
            self.workspace.opened(document)
        path, uri, language = document.path, document.uri, document.language
        if self.writer is not None and path is not None and not document.left_alone:
            self.spawn(self._follow(self.writer, uri, Path(path), language))

    async def _follow(self, writer: SessionWriter, uri: str, path: Path, language: str) -> None:
        try:
            place = await writer.ask(lambda recorder: recorder.opened(uri, path, language))
        except NeuralForgeError as error:
            self.link.show(Notice("warning", str(error)))
            return
        if place is None or place.repository is None or self.consent is None:
            return
        if self.settings.learning.enabled:
            await self.consent.consider(place.repository)

    def before_change(self, document: Document) -> None:
        """Keep the lines for the record of edits: of the list, not of the text, a copy."""
        kept = self.writer is not None and document.length <= _SETTLING_LIMIT
        self._before = list(document.lines) if kept else None

    def changed(self, document: Document, change: Change) -> None:
        """Follow an edit."""
        self.host.service.on_change(document, change)
        if self.life is not None and self.workspace is not None:
            self.life.used()
            self.workspace.changed(document, change.line)
        if self.learner is not None and not document.left_alone:
            self.learner.typed()
        if self.writer is not None:
            uri, before = document.uri, self._before
            self.writer.post(lambda recorder: recorder.changed(uri, change, before))

    def asked(self, document: Document, position: Position) -> None:
        """A suggestion is wanted at a position."""
        if self.life is not None and self.workspace is not None:
            self.life.used()
            self.workspace.asked(document, position)

    def saved(self, document: Document) -> None:
        """A document was saved."""
        if self.workspace is not None:
            self.workspace.saved(document)

    def closed(self, document: Document) -> None:
        """Forget a document."""
        self._too_large.discard(document.uri)
        self.host.service.close(document)
        if self.workspace is not None:
            self.workspace.closed(document)
        self._record_end(document)

    def _record_end(self, document: Document) -> None:
        if self.writer is not None:
            uri, lines = document.uri, document.lines
            self.writer.post(lambda recorder: recorder.closed(uri, "".join(lines)))

    # suggestions

    def sent(self, document: Document, suggestions: Sequence[Suggestion], trigger: Trigger) -> None:
        """Suggestions go to the client, the first one on show: remember them."""
        if not suggestions:
            return
        self.latency_ms = suggestions[0].milliseconds
        self.touch()
        if self.writer is None:
            return
        offset = document.offset(suggestions[0].position)
        rows = [_row(document, suggestion, trigger) for suggestion in suggestions]
        self.writer.post(lambda recorder: recorder.suggested(rows, offset))

    # what others change

    def _decided(self, repository: Path, answer: Answer) -> None:
        """The user has said whether a repository may be learned from."""
        if self.learner is None:
            return
        if answer == "no":
            self.learner.repositories.discard(repository)
            return
        self.learner.repositories.add(repository)
        self._watcher.watch(head_folders(repository))
        self.learner.wake()

    def _anything_changed(self) -> None:
        self.spawn(self._follow_stack())
        if self.learner is not None:
            self.spawn(self._show_trainer(self.learner))
            self.learner.wake()

    async def _follow_stack(self) -> None:
        await self.host.follow()
        self.touch()

    async def _show_trainer(self, learner: Learner) -> None:
        await learner.show_state()
        if self.feed is not None:
            await self.feed.look()

    def _files_changed(self, paths: set[Path]) -> None:
        if self.host.stack_file.path in paths:
            self.spawn(self._follow_stack())
        based = BaseChoice(self.host.home).path in paths
        if based and self.life is not None:
            self.spawn(self.life.base_changed())
        if self.learner is None:
            return
        if paths & {state_file(self.host.home), control_file(self.host.home)}:
            self.spawn(self._show_trainer(self.learner))
        if based or any(path.name == "HEAD" for path in paths):
            self.learner.wake()


def _row(document: Document, suggestion: Suggestion, trigger: Trigger) -> SuggestionRow:
    """A suggestion as the session log keeps it; the recorder knows its file."""
    return SuggestionRow(
        id=suggestion.id,
        created=time.time(),
        base=suggestion.base,
        stack=suggestion.stack.digest,
        stack_json=json.dumps(suggestion.stack.describe()),
        uri=document.uri,
        path=None,
        repository=None,
        language=document.language,
        line=suggestion.position.line,
        character=suggestion.position.character,
        trigger=trigger,
        prefix_tail=suggestion.prefix[-_EXCERPT:],
        suffix_head=suggestion.suffix[:_EXCERPT],
        text=suggestion.text,
        latency_ms=suggestion.milliseconds,
        tokens=suggestion.evaluated_tokens,
    )
