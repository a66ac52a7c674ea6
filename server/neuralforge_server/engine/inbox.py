"""The requests that wait for an engine, most urgent first.

Invariant: what somebody waits for is taken before what nobody does; within each, first come,
first served; of the warm requests only the newest is computed. Thread-safe; knows no engine.
"""

from __future__ import annotations

import threading
from collections import deque

from neuralforge_server.engine.protocol import (
    CompleteRequest,
    RememberRequest,
    Request,
    WarmRequest,
)

Entry = tuple[int, Request]


class Inbox:
    """Filled by the thread that reads, emptied by the one that computes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._urgent: deque[Entry] = deque()
        self._background: deque[Entry] = deque()
        self._taken: Entry | None = None

    def put(self, request_id: int, request: Request) -> list[int]:
        """Add a request; the ids of those, running or waiting, that are to stop for it."""
        with self._changed:
            queue = self._background if is_background(request) else self._urgent
            stopped = [i for i, other in self._background if supersedes(request, other)]
            if self._taken is not None and gives_way(self._taken[1], request):
                stopped.append(self._taken[0])
            queue.append((request_id, request))
            self._changed.notify()
            return stopped

    def take(self) -> Entry:
        """The next request, once there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._urgent or self._background)
            self._taken = (self._urgent or self._background).popleft()
            return self._taken

    def holds(self, request_id: int) -> bool:
        """Whether a request waits, or was the last one taken."""
        with self._changed:
            known = (*self._urgent, *self._background, self._taken)
            return any(entry is not None and entry[0] == request_id for entry in known)


def is_background(request: Request) -> bool:
    """Whether nobody waits for it."""
    return isinstance(request, WarmRequest) or (
        isinstance(request, CompleteRequest) and request.background
    )


def supersedes(arriving: Request, other: Request) -> bool:
    """Whether nobody needs `other` once `arriving` is there."""
    return isinstance(arriving, WarmRequest) and isinstance(other, WarmRequest)


def gives_way(running: Request, arriving: Request) -> bool:
    """Whether `running` is to stop for `arriving`. Remembering is quick: it can wait its turn."""
    if not is_background(running) or isinstance(arriving, RememberRequest):
        return False
    return not is_background(arriving) or supersedes(arriving, running)
