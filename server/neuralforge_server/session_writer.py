"""The thread on which the session log is written, and the ordered queue before it.

Invariant: the event loop never waits for a disk; what `ask` has answered is committed. Imports
nothing heavy: SQLite and the rest come with the recorder, on the thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from neuralforge_adapters.errors import NeuralForgeError

if TYPE_CHECKING:
    from neuralforge_server.recorder import Recorder

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class SessionWriter:
    """The recorder's thread and its queue."""

    def __init__(
        self, make: Callable[[], Recorder], on_error: Callable[[NeuralForgeError], None]
    ) -> None:
        """`make` opens the log, on the thread; `on_error` is told there what was not written."""
        self._make = make
        self._on_error = on_error
        self._recorder: Recorder | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session-writer")

    def post(self, work: Callable[[Recorder], object]) -> None:
        """Do `work` in its turn."""
        self._thread.submit(self._run, work).add_done_callback(self._report)

    async def ask(self, work: Callable[[Recorder], _Result]) -> _Result:
        """Do `work` in its turn and wait for what it gives.

        Raises:
            NeuralForgeError: the log cannot be opened, read or written.
        """
        return await asyncio.wrap_future(self._thread.submit(self._run, work))

    def next_due(self) -> float | None:
        """See `Recorder.next_due`."""
        return None if self._recorder is None else self._recorder.next_due()

    def close(self) -> None:
        """Do what is queued, then close the log."""
        self._thread.shutdown(wait=True)
        if self._recorder is not None:
            self._recorder.log.close()

    def _run(self, work: Callable[[Recorder], _Result]) -> _Result:
        if self._recorder is None:
            self._recorder = self._make()
        return work(self._recorder)

    def _report(self, done: Future[object]) -> None:
        error = done.exception()
        if isinstance(error, NeuralForgeError):
            self._on_error(error)
        elif error is not None:
            logger.error("an event was not recorded", exc_info=error)
