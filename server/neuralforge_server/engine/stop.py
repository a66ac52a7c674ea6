"""Stopping a computation inside llama.cpp from another thread.

Invariant: between `begin` and `end` of a request the flag is raised at most for the first reason
given, and never for a request that is not the current one. Knows no model.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from typing import Any, Literal

Reason = Literal["cancelled", "deadline"]


class StopFlag:
    """A byte that llama.cpp polls at every node of its graph, and why it was set."""

    def __init__(self) -> None:
        self._byte = ctypes.create_string_buffer(2)
        self._lock = threading.Lock()
        self._current: int | None = None
        self._early: set[int] = set()
        self._last_ended: int | None = None
        self._timer: threading.Timer | None = None
        self._finishing = False
        self.reason: Reason | None = None

    @property
    def raised(self) -> bool:
        """Whether the current request is to end."""
        return self.reason is not None

    @property
    def address(self) -> ctypes.c_void_p:
        """What llama.cpp hands to the abort callback."""
        return ctypes.cast(self._byte, ctypes.c_void_p)

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """What llama.cpp computes within is short, and is finished even if the flag goes up."""
        self._finishing = True  # before anybody looks at `raised`: see `_raise`
        try:
            yield
        finally:
            self._finishing = False

    def begin(self, request: int, deadline_ms: float | None) -> None:
        """Start watching over `request`; a cancel that came before it counts."""
        with self._lock:
            self._current = request
            self._byte[0] = b"\0"
            self.reason = None
            if request in self._early:
                self._early.discard(request)
                self._raise("cancelled")
            elif deadline_ms is not None:
                self._timer = threading.Timer(deadline_ms / 1000, self._expire, (request,))
                self._timer.daemon = True
                self._timer.start()

    def end(self) -> None:
        """The current request is over; what comes too late for it has no effect."""
        with self._lock:
            self._last_ended, self._current = self._current, None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def cancel(self, request: int) -> None:
        """Stop `request`, whether it runs or still waits; the one that ended last is left alone."""
        with self._lock:
            if request == self._current:
                self._raise("cancelled")
            elif request != self._last_ended:
                self._early.add(request)

    def _expire(self, request: int) -> None:
        with self._lock:
            if request == self._current and self.reason is None:
                self._raise("deadline")

    def _raise(self, reason: Reason) -> None:
        self.reason = reason
        if not self._finishing:
            self._byte[0] = b"\1"


def abort_callback(callback_type: Any) -> Any:
    """An abort callback of `callback_type` that costs no Python call.

    llama.cpp asks `bool callback(void *data)` thousands of times a second; a Python function
    there takes the interpreter's lock each time (about 6 % of the decoding time). The C
    library's `strlen` has the same calling convention: on the flag's two bytes it returns
    0 while the flag is down and 1 once it is raised.
    """
    library = ctypes.cdll.msvcrt if os.name == "nt" else ctypes.CDLL(None)
    return ctypes.cast(library.strlen, callback_type)
