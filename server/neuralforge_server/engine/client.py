"""A blocking client of one engine: for terminals, the gate and evaluations.

Knows no asyncio and does not restart a process that ended: it raises.
"""

from __future__ import annotations

import itertools
import queue
from types import TracebackType
from typing import Any

from neuralforge_adapters.base import Base
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.ending import ending
from neuralforge_server.engine.process import EngineProcess, Message, default_threads
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    Completion,
    EngineInfo,
    LoadRequest,
    RememberRequest,
    Request,
    Score,
    ScoreRequest,
    WarmRequest,
    completion_of,
    encode_request,
    stack_request,
)
from neuralforge_server.errors import EngineError

DEFAULT_CONTEXT = 1024
"""Tokens of the KV cache."""


class EngineClient:
    """A running engine with one base loaded. One thread at a time.

    Raises:
        EngineError: the process ended, or the base cannot be loaded; every method may.
    """

    def __init__(
        self,
        base: Base,
        *,
        context: int = DEFAULT_CONTEXT,
        threads: int | None = None,
        memory: str = "",
    ) -> None:
        """`memory` is the folder of the fast memory's segments for this base."""
        self._ids = itertools.count(1)
        self._replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._process = EngineProcess(
            self._replies.put, lambda code: self._replies.put({"exit": code})
        )
        load = LoadRequest(
            str(base.path), base.digest, context, threads or default_threads(), memory=memory
        )
        try:
            self.info = EngineInfo(**self._ask(load))
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The engine's process id."""
        return self._process.pid

    def set_stack(self, stack: ResolvedStack) -> None:
        """Put `stack` in force.

        Raises:
            AdapterError: one of its files cannot be served; the old stack stays.
        """
        self._ask(stack_request(stack))

    def complete(self, request: CompleteRequest) -> Completion:
        """Generate at a cursor."""
        return completion_of(self._ask(request))

    def warm(self, request: WarmRequest) -> None:
        """Compute a prompt ahead."""
        self._ask(request)

    def score(self, request: ScoreRequest) -> Score:
        """How likely base and stack find a given middle."""
        return Score(**self._ask(request))

    def remember(self, request: RememberRequest) -> None:
        """Let the fast memory know an open document."""
        self._ask(request)

    def close(self) -> None:
        """End the engine process."""
        self._process.close()

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: Request) -> dict[str, Any]:
        request_id = next(self._ids)
        self._process.send(encode_request(request_id, request))
        while True:
            reply = self._replies.get()
            if "exit" in reply:
                raise EngineError(
                    f"{ending(reply['exit'])} during {request.op!r}; its last words are on stderr"
                )
            if reply["id"] != request_id or "piece" in reply:
                continue
            if "error" in reply:
                raise (
                    AdapterError(reply["error"])
                    if reply["adapter"]
                    else EngineError(reply["error"])
                )
            result: dict[str, Any] = reply["result"]
            return result
