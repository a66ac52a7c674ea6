"""The engine of a running server and the stack that it serves.

Invariant: after a change has been answered, this server serves it; a stack that cannot be served
changes neither the engine nor the file that other servers watch. Knows no LSP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.convert import check_adapter
from neuralforge_adapters.errors import AdapterError, HomeError, NeuralForgeError
from neuralforge_adapters.home import Home, read_json
from neuralforge_adapters.pinned import note_named
from neuralforge_adapters.stack import (
    Entries,
    ResolvedStack,
    StackEntry,
    StackFile,
    adapter_name,
    check_entries,
    resolve,
    usable,
)
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.completion.service import CompletionService
from neuralforge_server.context.places import memory_folder
from neuralforge_server.document_stacks import DocumentStacks
from neuralforge_server.documents import Document
from neuralforge_server.engine.interface import Engine, EngineOptions
from neuralforge_server.engine.process import default_threads
from neuralforge_server.engine.protocol import EngineInfo
from neuralforge_server.engine.remote import RemoteEngine, RemoteOptions, remote_options
from neuralforge_server.engine.supervisor import EngineSupervisor
from neuralforge_server.errors import EngineError, EngineUnloadableError
from neuralforge_server.notice import Notice
from neuralforge_server.settings import EngineSettings


def engine_options(settings: EngineSettings, base: Path | None, home: Home) -> EngineOptions:
    """What to load: `base` from the command line before the setting before the embedded one.

    With an endpoint, a base that is named is the file that it serves.

    Raises:
        BaseFileError: there is no such base.
        EngineError: the endpoint's address cannot be used.
    """
    path = base or (Path(settings.base).expanduser() if settings.base else None)
    if settings.endpoint:
        served = None if path is None else open_base(path, home)
        return remote_options(
            settings.endpoint, settings.remote_model, served, settings.context_tokens
        )
    opened: Base = open_base(path, home)
    memory = memory_folder(home, opened.digest, home.root).parent  # every workspace's
    return EngineOptions(
        opened,
        settings.context_tokens,
        settings.threads or default_threads(),
        settings.gpu_layers,
        settings.batch,
        str(memory),
        settings.share,
    )


class EngineHost:
    """One engine, its completion service, and the profile's stack."""

    def __init__(
        self, options: EngineOptions, home: Home, extra: Entries, notify: Callable[[Notice], None]
    ) -> None:
        """`extra`: adapters of this server alone, on top of the stack in force."""
        self.home = home
        self._extra = extra
        self.notify = notify
        """Told what the user should know; may be replaced."""
        self._lock = asyncio.Lock()
        self._has_served = False
        self.engine = self._make_engine(options)
        self._proven = options
        """What a restart goes back to where the new options cannot be served."""
        self.service = CompletionService(self.engine)
        self.service.asking.stack_of = self._stack_of
        self.loading: asyncio.Task[EngineInfo] | None = None
        """The newest loading of a base; None while there is to be none in memory."""
        self.on_ready: Callable[[], None] = lambda: None
        """Called whenever a base was loaded."""
        self.stacks = DocumentStacks({})
        self.engine.prepare()

    def _make_engine(self, options: EngineOptions) -> Engine:
        def notify(notice: Notice) -> None:
            self.notify(notice)

        engine: Engine
        if isinstance(options, RemoteOptions):
            engine = RemoteEngine(options, notify)
        else:
            engine = EngineSupervisor(options, self.home, notify)
        engine.on_ready = lambda: self.on_ready()
        return engine

    def load(self) -> asyncio.Task[EngineInfo]:
        """Load the base, unless that has happened or goes on; nobody's cancel stops it."""
        if self.loading is None:
            self.loading = asyncio.get_running_loop().create_task(self._start())
        return self.loading

    async def _start(self) -> EngineInfo:
        """Start the engine; where it cannot be, the one that was served before it."""
        try:
            info = await self.engine.start()
        except EngineError as error:
            failed, proven = self.engine.options, self._proven
            if failed == proven or isinstance(error, EngineUnloadableError):
                raise  # there is nothing else to serve
            self.notify(
                Notice(
                    "error",
                    f"The base {failed.base.path} cannot be served: {error}. "
                    f"{proven.base.path} is served again; name another base in engine.base.",
                )
            )
            await self._replace(proven)
            return await self.engine.start()
        self._proven = self.engine.options
        return info

    @property
    def store(self) -> AdapterStore:
        """The profile's adapters."""
        return AdapterStore(self.home)

    @property
    def stack_file(self) -> StackFile:
        """The profile's stack in force."""
        return StackFile(self.home)

    async def reload(self) -> None:
        """Serve what the stack file and the store say now.

        Raises:
            AdapterError, EngineError: it cannot be served; what was served before still is.
        """
        async with self._lock:
            await self._serve(await asyncio.to_thread(self.stack_file.read))

    async def follow(self) -> None:
        """`reload` because somebody else changed it: what cannot be served is told once.

        At the start there is nothing to leave as it was, so that all that can be is served.
        """
        if await asyncio.to_thread(self._stack_is_damaged):
            text = f"{self.stack_file.path} is damaged; your personal adapter alone is served."
            self.notify(Notice("warning", text))
        try:
            await self.reload()
        except AdapterError as error:
            if self._has_served:
                self.notify(Notice("error", f"The stack is left as it was: {error}"))
            else:
                await self._serve_usable()
        except NeuralForgeError as error:
            self.notify(Notice("error", f"The stack is left as it was: {error}"))

    def _stack_is_damaged(self) -> bool:
        path = self.stack_file.path
        return path.exists() and not isinstance(read_json(path), list)

    async def _serve_usable(self) -> None:
        async with self._lock:
            entries = await asyncio.to_thread(self.stack_file.read)
            digest = self.engine.options.base.digest
            wanted = self._joined(entries)
            good, problems = await asyncio.to_thread(usable, wanted, self.store, digest)
            await self._put_in_force(resolve(good, self.store, digest))
        for problem in problems:
            self.notify(Notice("error", f"Left out of the stack: {problem}"))

    async def change(self, change: Callable[[Entries], Entries]) -> Entries:
        """Change the stack in force, for every server; returns it once this one serves it.

        Raises:
            AdapterError, EngineError, StackError, HomeError: nothing has changed.
        """
        async with self._lock:
            before = await asyncio.to_thread(self.stack_file.read)
            await self._serve(check_entries(change(before)))
            try:
                return await asyncio.to_thread(self.stack_file.update, change)
            except NeuralForgeError:
                await self._serve(before)
                raise

    async def use(self, options: EngineOptions) -> None:
        """Another base or context: a new engine in place of the old one, once it is loaded.

        Where it cannot be loaded, `load` tells the user and starts the old one again.
        """
        if options == self.engine.options:
            return
        async with self._lock:
            if self.loading is None and type(options) is type(self.engine.options):
                self.engine.options = options
                return
            self._cancel_loading()
            await self._replace(options)

    async def _replace(self, options: EngineOptions) -> None:
        self.service.hold()
        await self.engine.stop()
        self.engine = self._make_engine(options)
        self.service.replace_engine(self.engine)
        self._has_served = False

    def _cancel_loading(self) -> None:
        loading, self.loading = self.loading, None
        if loading is not None:
            loading.cancel()

    async def stop(self) -> None:
        """End the engine, so that no base is in memory until `load`."""
        self.service.hold()
        self._cancel_loading()
        await self.engine.stop()

    async def use_stacks(self, stacks: Mapping[str, Sequence[str]]) -> None:
        """Put the stacks of some files' own in force besides the shared one."""
        async with self._lock:
            self.stacks = DocumentStacks(stacks)
            await self._serve_beside()

    async def _serve_beside(self) -> None:
        problems = await asyncio.to_thread(
            self.stacks.resolve, self.store, self.engine.options.base.digest
        )
        await asyncio.to_thread(self._note_named, self.stacks.named)
        for problem in problems:
            self.notify(Notice("warning", problem))
        if self.loading is not None:
            await self.engine.serve_beside(self.stacks.resolved)

    def _stack_of(self, document: Document) -> ResolvedStack | None:
        return self.stacks.of(document.language, document.path)

    async def _serve(self, entries: Entries) -> None:
        """Put entries in force in the engine; requests wait meanwhile."""
        try:
            await self._put_in_force(await asyncio.to_thread(self._resolve, entries))
            if self.stacks.wanted:
                await self._serve_beside()
        finally:
            self._open()

    async def _put_in_force(self, stack: ResolvedStack) -> None:
        try:
            if stack != self.engine.stack:
                await self._swap(stack)
            self._has_served = True
        finally:
            self._open()

    def _open(self) -> None:
        """Let requests be served, if there is a base to serve them with."""
        if self.loading is not None and self.loading.done():
            self.service.open()

    async def _swap(self, stack: ResolvedStack) -> None:
        if self.loading is None:
            await asyncio.to_thread(self._check, stack)
            self.engine.stack = stack  # the next engine starts with it
            return
        if self.engine.state == "failed":
            raise EngineError("the engine is not running; see `neuralforge doctor`")
        self.service.hold()
        await self.engine.set_stack(stack)

    def _check(self, stack: ResolvedStack) -> None:
        for adapter in stack.adapters:
            check_adapter(adapter.path, self.engine.options.base.digest)

    def _note_named(self, entries: Iterable[StackEntry]) -> None:
        with contextlib.suppress(HomeError):  # a full disk is no reason not to serve
            note_named(self.home, entries)

    def _resolve(self, entries: Entries) -> ResolvedStack:
        self._note_named(self._extra)
        return resolve(self._joined(entries), self.store, self.engine.options.base.digest)

    def _joined(self, entries: Entries) -> Entries:
        """The shared entries with this server's own, which stand for the same adapter's."""
        names = {adapter_name(e.adapter) for e in self._extra}
        shared = tuple(e for e in entries if adapter_name(e.adapter) not in names)
        return (*shared, *self._extra)
