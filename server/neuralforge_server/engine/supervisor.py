"""Keeps an engine alive for the language server: requests, cancels, restarts, the stack.

Invariant: `stack` is the last stack that worked, and every process that is started gets it before
any completion, so that a crash changes nothing but the time of an answer. Runs in one asyncio
loop. Knows no documents and no LSP.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from neuralforge_adapters.errors import AdapterError, NeuralForgeError
from neuralforge_adapters.home import Home, read_json, write_json
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.ending import UNLOADABLE, ending
from neuralforge_server.engine.generation import Generation, mark_seen
from neuralforge_server.engine.interface import EngineOptions, State
from neuralforge_server.engine.place import LOST, place_of
from neuralforge_server.engine.process import (
    EngineProcess,
    Message,
    OnExit,
    OnMessage,
    Transport,
)
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    EngineInfo,
    LoadRequest,
    RememberRequest,
    Request,
    WarmRequest,
    encode_cancel,
    encode_request,
    stack_request,
)
from neuralforge_server.engine.shared import SharedEngine, join_in_thread
from neuralforge_server.errors import EngineError, EngineLostError, EngineUnloadableError
from neuralforge_server.notice import Notice

_MAX_CRASHES = 3
_CRASH_WINDOW = 60.0
"""Seconds: that many crashes within it, and the stack, then the base, is held to be the cause."""
_MAX_PAUSE = 30.0
"""Seconds between restarts of an engine that something outside keeps killing."""


class EngineSupervisor:
    """The one engine of a language server."""

    def __init__(
        self, options: EngineOptions, home: Home, notify: Callable[[Notice], None]
    ) -> None:
        self.options = options
        self.state: State = "stopped"
        self.info: EngineInfo | None = None
        self.stack = ResolvedStack()
        self.restarts = 0
        self.on_ready: Callable[[], None] = lambda: None
        """Called whenever an engine has loaded the base: it knows nothing else yet."""
        self._home = home
        self._notify = notify
        self._ids = itertools.count(1)
        self._pending: dict[int, Callable[[Message], None]] = {}
        self._process: Transport | None = None
        self._launches = 0
        self._beside: tuple[ResolvedStack, ...] = ()
        self._changing: ResolvedStack | None = None
        self._stack_lock = asyncio.Lock()
        self._crashes: deque[float] = deque(maxlen=_MAX_CRASHES)
        self._killed: deque[float] = deque(maxlen=8)
        self._recovery: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The engine's process id; None while there is no process."""
        return None if self._process is None else self._process.pid

    def prepare(self) -> None:
        """Start the process without a base, so that it is there when the base is known."""
        if self._process is None and not self.options.share:
            self._process = EngineProcess(*self._listeners())

    async def start(self) -> EngineInfo:
        """Load the base; also again after `stop`, with the stacks of before.

        Raises:
            EngineError: it cannot be loaded, or was set aside; `state` is then "failed".
            EngineUnloadableError: nor can any other base be.
        """
        self.state = "starting"
        try:
            self._refuse_set_aside(self.options.base.digest, str(self.options.base.path))
            self.info = await self._launch_first()
        except (EngineError, AdapterError) as error:
            self.state = "failed"
            if isinstance(error, EngineUnloadableError):
                raise
            raise EngineError(str(error)) from error
        self._is_ready()
        return self.info

    async def set_stack(self, stack: ResolvedStack) -> None:
        """Put `stack` in force; on an error the old one stays.

        Raises:
            AdapterError: one of its files cannot be served, or was set aside before.
            EngineError: there is no engine, or it died of the new stack.
        """
        async with self._stack_lock:
            if stack == self.stack:
                return
            for adapter in stack.adapters:
                self._refuse_set_aside(adapter.digest, adapter.reference)
            self._changing = stack
            try:
                await self._ask(stack_request(stack))
                self.stack = stack
            finally:
                self._changing = None

    async def serve_beside(self, stacks: Sequence[ResolvedStack]) -> None:
        """Have these stacks at hand besides the one in force, for requests that name them.

        Raises:
            AdapterError: one of their files cannot be served; those before it are at hand.
            EngineError: there is no engine, or it died of one.
        """
        async with self._stack_lock:
            self._beside = ()
            for stack in stacks:
                for adapter in stack.adapters:
                    self._refuse_set_aside(adapter.digest, adapter.reference)
                self._changing = stack
                try:
                    await self._ask(stack_request(stack))
                    self._beside += (stack,)
                    await self._ask(stack_request(self.stack))  # the one for requests without any
                finally:
                    self._changing = None

    def tell(self, request: WarmRequest | RememberRequest) -> None:
        """Pass on what nobody waits for; it is lost while there is no engine."""
        if self.state == "ready":
            self._ask(request)

    def generate(self, request: CompleteRequest) -> Generation:
        """Start a completion; while the base still loads it waits its turn in the pipe."""
        request_id = next(self._ids)
        generation = Generation(request, lambda: self._send(encode_cancel(request_id)))
        if self._process is None or self.state == "failed":
            generation.receive({"error": f"the engine is {self.state}"})
            return generation

        def receive(reply: Message) -> None:
            if "piece" not in reply:
                self._pending.pop(request_id, None)
            generation.receive(reply)

        self._pending[request_id] = receive
        self._send(encode_request(request_id, request))
        return generation

    async def stop(self) -> None:
        """End the engine process; `start` brings it back with the same stacks."""
        self.state = "stopped"
        self._fail_pending("the engine was stopped")
        await self._close()

    def _listeners(self) -> tuple[OnMessage, OnExit]:
        """What a new transport calls; it is not heard any more once it was closed."""
        loop, number = asyncio.get_running_loop(), self._launches
        return (
            lambda message: _call(loop, self._on_message, message),
            lambda code: _call(loop, self._on_exit, number, code),
        )

    async def _join(self) -> None:
        """Have the process that other servers use too; one of its own where that cannot be.

        Raises:
            EngineUnloadableError: no process could compute anything here, shared or not.
            EngineError: `stop` was called meanwhile.
        """
        await self._close()
        number = self._launches
        meeting = None
        try:
            place = await asyncio.to_thread(place_of, self._home, _load_request(self.options))
            meeting = await join_in_thread(place)
        except EngineUnloadableError:
            raise
        except NeuralForgeError as error:
            text = f"The engine is not shared with other windows: {error}"
            self._notify(Notice("warning", text))
        if number != self._launches:
            if meeting is not None:
                meeting.hang_up()
            raise EngineError("the engine was stopped")
        if meeting is None:
            self._process = EngineProcess(*self._listeners())
        else:
            self._process = SharedEngine(meeting, *self._listeners())

    async def _close(self) -> None:
        process, self._process = self._process, None
        self._launches += 1
        if process is not None:
            await asyncio.to_thread(process.close)

    async def _launch_first(self) -> EngineInfo:
        """`_launch`; again where the engine ended meanwhile because of another server."""
        for _ in range(_MAX_CRASHES):
            with contextlib.suppress(EngineLostError):
                return await self._launch()
        return await self._launch()

    async def _launch(self) -> EngineInfo:
        """Have a process, load the base and put the last working stack in force."""
        if self.options.share:
            await self._join()
        self.prepare()
        loaded = self._ask(_load_request(self.options))
        stacks = (*self._beside, self.stack) if self._beside or self.stack.adapters else ()
        stacked = [self._ask(stack_request(stack)) for stack in stacks]
        info = EngineInfo(**await loaded)
        for stack, answer in zip(stacks, stacked, strict=True):
            try:
                await answer
            except AdapterError as error:
                self._leave_out(stack, error)
        return info

    def _leave_out(self, stack: ResolvedStack, error: AdapterError) -> None:
        """Do without a stack of some files' own; without the one in force there is no engine.

        Raises:
            AdapterError: it is the one in force.
        """
        if stack == self.stack:
            raise error
        self._beside = tuple(other for other in self._beside if other != stack)
        self._notify(Notice("warning", f"A stack of some files' own is left out: {error}"))

    def _is_ready(self) -> None:
        self.state = "ready"
        self.on_ready()

    def _ask(self, request: Request) -> asyncio.Future[dict[str, Any]]:
        """Send at once, so that the order of calls is the order of work; the reply comes later."""
        request_id = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        future.add_done_callback(mark_seen)
        if self._process is None:
            future.set_exception(EngineError("there is no engine; see `neuralforge doctor`"))
            return future

        def receive(reply: Message) -> None:
            self._pending.pop(request_id, None)
            if future.done():
                return
            if "error" in reply:
                future.set_exception(_error(reply))
            else:
                future.set_result(reply["result"])

        self._pending[request_id] = receive
        self._send(encode_request(request_id, request))
        return future

    def _send(self, line: bytes) -> None:
        if self._process is not None:
            self._process.send(line)

    def _on_message(self, message: Message) -> None:
        receiver = self._pending.get(message["id"])
        if receiver is not None:
            receiver(message)

    def _on_exit(self, number: int, code: int) -> None:
        if number != self._launches:
            return
        if self.state in ("stopped", "failed"):
            self._process = None
            return
        loading, culprit = self.state == "starting", self._changing
        self._process = None
        self._fail_pending(ending(code), code)
        if loading and is_crash(code):
            self._blame_base(code)
        elif not loading:
            self._recovery = asyncio.get_running_loop().create_task(self._recover(culprit, code))

    def _fail_pending(self, reason: str, code: int = 0) -> None:
        waiting, self._pending = self._pending, {}
        for receive in waiting.values():
            receive({"error": reason, "status": code})

    async def _recover(self, culprit: ResolvedStack | None, code: int) -> None:
        """Bring the engine back with the last stack that worked."""
        self.state = "restarting"
        self.restarts += 1
        if is_crash(code):
            self._find_cause(culprit, code)
        else:
            how = "shared with other windows ended" if code == LOST else "was ended from outside"
            text = f"The engine {how} (status {code}) and is started again."
            self._notify(Notice("warning", text))
            if (pause := _pause(self._killed)) > 0:
                await asyncio.sleep(pause)
        if self.state != "restarting":
            return
        try:
            self.info = await self._launch()
            self._is_ready()
        except (EngineError, AdapterError) as error:
            hopeless = self._process is not None or isinstance(error, EngineUnloadableError)
            if self.state == "restarting" and hopeless:
                self.state = "failed"
                self._notify(Notice("error", f"The engine cannot be started again: {error}"))

    def _find_cause(self, culprit: ResolvedStack | None, code: int) -> None:
        """Take what made the engine crash out of use."""
        if culprit is not None:
            self._blame_adapters(culprit, self.stack, code)
        elif not self._crashes_too_often():
            text = f"The engine crashed (status {code}) and is started again."
            self._notify(Notice("warning", text))
        elif self.stack.adapters:
            self._blame_adapters(self.stack, ResolvedStack(), code)
            self.stack = ResolvedStack()
        else:
            self._blame_base(code)

    def _crashes_too_often(self) -> bool:
        now = time.monotonic()
        self._crashes.append(now)
        return len(self._crashes) == _MAX_CRASHES and now - self._crashes[0] < _CRASH_WINDOW

    def _blame_adapters(self, stack: ResolvedStack, kept: ResolvedStack, code: int) -> None:
        known = {a.digest for a in kept.adapters}
        for adapter in stack.adapters:
            if adapter.digest not in known:
                self._set_aside(adapter.digest, adapter.reference, code)

    def _blame_base(self, code: int) -> None:
        self.state = "failed"
        self._set_aside(self.options.base.digest, str(self.options.base.path), code)

    def _set_aside(self, digest: str, name: str, code: int) -> None:
        note = self._home.set_aside / f"{digest}.json"
        write_json(note, {"file": name, "status": code, "at": time.time()})
        self._notify(
            Notice(
                "error",
                f"{name} killed the engine (status {code}) and is set aside: it is not loaded "
                f"again until it is replaced, or {note} is deleted.",
            )
        )

    def _refuse_set_aside(self, digest: str, name: str) -> None:
        note = self._home.set_aside / f"{digest}.json"
        if read_json(note) is not None:
            raise AdapterError(
                f"{name} killed an engine before and was set aside; replace it, or delete {note}"
            )


def _error(reply: Message) -> EngineError | AdapterError:
    if reply.get("adapter"):
        return AdapterError(reply["error"])
    kinds = {LOST: EngineLostError, UNLOADABLE: EngineUnloadableError}
    return kinds.get(reply.get("status", 0), EngineError)(reply["error"])


def _load_request(options: EngineOptions) -> LoadRequest:
    return LoadRequest(
        str(options.base.path.absolute()),
        options.base.digest,
        options.context,
        options.threads,
        options.gpu_layers,
        options.batch,
        options.memory,
    )


def is_crash(code: int) -> bool:
    """Whether a process died of itself: nobody's kill, and not the kernel's for want of memory.

    On Windows, aborts end with 3 and faults with an NTSTATUS; elsewhere by their signals.
    """
    if os.name == "nt":
        return code == 3 or code >= 0x80000000
    return -code in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


def _pause(killed: deque[float]) -> float:
    """Seconds to wait before the next start: none at first, then doubling."""
    now = time.monotonic()
    killed.append(now)
    recent = sum(now - at < 2 * _MAX_PAUSE for at in killed)
    return min(_MAX_PAUSE, 0.5 * 2 ** (recent - 3)) if recent >= 3 else 0.0


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    """From the reader thread into the loop, unless that has ended first."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)
