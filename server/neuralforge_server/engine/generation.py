"""One completion on its way: what has come of it, who waits for it. Knows no engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from neuralforge_server.engine.process import Message
from neuralforge_server.engine.protocol import CompleteRequest, Completion, completion_of
from neuralforge_server.errors import EngineError


class Generation:
    """One completion under way: its text grows until `result` is there."""

    def __init__(self, request: CompleteRequest, cancel: Callable[[], None]) -> None:
        self.request = request
        self.text = ""
        """What has been produced so far, from the cursor on."""
        self._cancel = cancel
        self._result: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._result.add_done_callback(mark_seen)
        self._listeners: list[Callable[[str], None]] = []

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._result.done()

    async def result(self) -> Completion:
        """The finished completion; any number of tasks may wait for it, each cancellable.

        Raises:
            EngineError: the engine died or refused.
        """
        return await asyncio.shield(self._result)

    def cancel(self) -> None:
        """Stop computing; `result` then gives what was produced."""
        if not self.done:
            self._cancel()

    def on_text(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with `text` whenever it has grown."""
        self._listeners.append(listener)

    def receive(self, reply: Message) -> None:
        """Take one line of the engine that answers this request."""
        if "piece" in reply:
            self.text += reply["piece"]
            for listener in self._listeners:
                listener(self.text)
        elif not self.done:
            if "error" in reply:
                self._result.set_exception(EngineError(reply["error"]))
            else:
                self._result.set_result(completion_of(reply["result"]))


def mark_seen(future: asyncio.Future[Any]) -> None:
    """Mark an exception as seen: whoever wanted the result may be gone by now."""
    if not future.cancelled():
        future.exception()
