"""The engine of a running server and the stack that it serves.

Invariant: after a change has been answered, this server serves it; a stack that cannot be served
changes neither the engine nor the file that other servers watch. Knows no LSP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import (
    Entries,
    ResolvedStack,
    StackFile,
    adapter_name,
    check_entries,
    resolve,
)
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.completion.service import CompletionService
from neuralforge_server.engine.process import default_threads
from neuralforge_server.engine.supervisor import EngineOptions, EngineSupervisor, Notice
from neuralforge_server.errors import EngineError
from neuralforge_server.settings import CompletionSettings, EngineSettings


def engine_options(settings: EngineSettings, base: Path | None, home: Home) -> EngineOptions:
    """What to load: `base` from the command line before the setting before the embedded one.

    Raises:
        BaseFileError: there is no such base.
    """
    path = base or (Path(settings.base).expanduser() if settings.base else None)
    opened: Base = open_base(path, home)
    return EngineOptions(opened, settings.context_tokens, settings.threads or default_threads())


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
        self.engine = self._supervisor(options)
        self.service = CompletionService(self.engine, CompletionSettings())
        self.loading = self._load()

    def _supervisor(self, options: EngineOptions) -> EngineSupervisor:
        return EngineSupervisor(options, self.home, lambda notice: self.notify(notice))

    def _load(self) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(self.engine.start())

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
        """`reload` because somebody else changed it: what cannot be served is told once."""
        try:
            await self.reload()
        except NeuralForgeError as error:
            self.notify(Notice("error", f"The stack is left as it was: {error}"))

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

    async def restart(self, options: EngineOptions) -> None:
        """Another base or context: a new engine in place of the old one."""
        if options == self.engine.options:
            return
        async with self._lock:
            self.service.hold()
            await self.engine.stop()
            self.engine = self.service.engine = self._supervisor(options)
            self.loading = self._load()

    async def stop(self) -> None:
        """End the engine."""
        self.service.hold()
        self.loading.cancel()
        await self.engine.stop()

    async def _serve(self, entries: Entries) -> None:
        """Put entries in force in the engine; requests wait meanwhile."""
        try:
            stack = await asyncio.to_thread(self._resolve, entries)
            if stack != self.engine.stack:
                await self._swap(stack)
        finally:
            self.service.open()

    async def _swap(self, stack: ResolvedStack) -> None:
        if self.engine.state == "failed":
            raise EngineError("the engine is not running; see `neuralforge doctor`")
        self.service.hold()
        await self.engine.set_stack(stack)

    def _resolve(self, entries: Entries) -> ResolvedStack:
        names = {adapter_name(e.adapter) for e in self._extra}
        shared = tuple(e for e in entries if adapter_name(e.adapter) not in names)
        return resolve((*shared, *self._extra), self.store, self.engine.options.base.digest)
