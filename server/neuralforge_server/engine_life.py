"""When a base is in memory: loaded as the settings say, unloaded while it is off or long unused.

Invariant: with completions turned off there is no engine process; a request that meets an
unloaded base is answered once it is loaded again. Loading belongs to no request, so that none
that is cancelled can stop it. Knows settings and the host, no documents.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_server import progress
from neuralforge_server.client_link import ClientLink
from neuralforge_server.engine.protocol import EngineInfo
from neuralforge_server.host import EngineHost, engine_options
from neuralforge_server.notice import Notice
from neuralforge_server.settings import Settings

Spawn = Callable[[Coroutine[Any, Any, Any]], None]


class EngineLife:
    """Loads and unloads the engine of one server."""

    def __init__(self, host: EngineHost, link: ClientLink, spawn: Spawn, base: Path | None) -> None:
        """`base`: the one of the command line."""
        self._host = host
        self._link = link
        self._spawn = spawn
        self._base = base
        self._settings: Settings | None = None
        self._used = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._restarting = 0
        """Changes of the engine under way: each loads it when it is done."""
        host.service.on_closed = self.wake

    async def follow(self, settings: Settings) -> None:
        """Do what the settings say: at the start, and whenever they have changed."""
        before, self._settings = self._settings, settings
        if not settings.completion.enabled:
            self._host.service.refuse()
            await self._host.stop()
        elif (
            before is None
            or not before.completion.enabled
            or settings.engine.restarts(before.engine)
        ):
            await self._restart(settings)
        elif settings.stacks != before.stacks:
            await self._tell_errors(self._host.use_stacks(settings.stacks))
        else:
            self._watch()

    async def base_changed(self) -> None:
        """Another base was chosen for the profile, here or elsewhere."""
        settings = self._settings
        if settings is not None and settings.completion.enabled:
            await self._restart(settings)

    def used(self) -> None:
        """Somebody types."""
        self._used = time.monotonic()

    def wake(self) -> None:
        """A request has come: have the base loaded, unless it is or is to stay out."""
        self.used()
        settings = self._settings
        if settings is None or not settings.completion.enabled or self._restarting:
            return
        if self._host.loading is None:
            self._spawn(self._load())

    async def _restart(self, settings: Settings) -> None:
        self._restarting += 1
        try:
            options = await asyncio.to_thread(
                engine_options, settings.engine, self._base, self._host.home
            )
            await self._host.use(options)
        except NeuralForgeError as error:
            self._link.show(Notice("error", f"{error}. The base is left as it was."))
        finally:
            self._restarting -= 1
        await self._load()

    async def _load(self) -> None:
        """Load the base and put the stacks in force."""
        if self._host.loading is not None and self._host.engine.state == "ready":
            return
        loading = self._host.load()
        bar = await progress.begin(self._link.server, "Loading the base")
        try:
            info = await asyncio.shield(loading)
            bar.report(50, info.name)
            assert self._settings is not None
            self._tell_context(info, self._settings)
            await self._tell_errors(self._host.use_stacks(self._settings.stacks))
            await self._host.follow()
            bar.report(100)
        except NeuralForgeError as error:
            self._host.service.open()
            self._link.show(Notice("error", str(error)))
        finally:
            bar.end()
            self.used()
            self._watch()

    def _tell_context(self, info: EngineInfo, settings: Settings) -> None:
        """The engine takes a context down to what the base was trained for."""
        if info.context < (wanted := settings.engine.context_tokens):
            self._link.show(
                Notice(
                    "info",
                    f"The base {info.name} knows {info.context} tokens of context: "
                    f"engine.context_tokens ({wanted}) is taken down to that.",
                )
            )

    async def _tell_errors(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except NeuralForgeError as error:
            self._link.show(Notice("warning", str(error)))

    def _watch(self) -> None:
        """Look again when the base may have been unused for long enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        settings, loaded = self._settings, self._host.loading is not None
        if settings is None or not loaded or not settings.engine.idle_minutes:
            return
        if self._host.service.is_waited_for:
            self.used()
        left = settings.engine.idle_minutes * 60 - (time.monotonic() - self._used)
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._watch)
        else:
            self._spawn(self._host.stop())
