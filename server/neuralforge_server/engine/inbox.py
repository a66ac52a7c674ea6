"""The requests that wait for an engine, most urgent first, whichever client they are of.

Invariant: what somebody waits for is taken before what nobody does; within each, first come,
first served; of one client's warm requests only the newest is computed. A client's cancels and
its leaving touch its own requests only. Thread-safe; knows no engine.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import dataclass

from neuralforge_server.engine.clients import Client
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    RememberRequest,
    Request,
    WarmRequest,
)


@dataclass(frozen=True)
class Leave:
    """What is computed last for a client that has gone."""


@dataclass(frozen=True)
class Order:
    """One request of one client."""

    ticket: int
    """Unique within this engine, as `request_id` is within a client."""
    client: Client
    request_id: int
    request: Request | Leave


class Inbox:
    """Filled by the threads that read, emptied by the one that computes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets = itertools.count(1)
        self._urgent: deque[Order] = deque()
        self._background: deque[Order] = deque()
        self._taken: Order | None = None

    def put(self, client: Client, request_id: int, request: Request) -> list[int]:
        """Add a request; the tickets of those, running or waiting, that are to stop for it."""
        with self._changed:
            order = Order(next(self._tickets), client, request_id, request)
            stopped = [other.ticket for other in self._background if supersedes(order, other)]
            if self._taken is not None and gives_way(self._taken, order):
                stopped.append(self._taken.ticket)
            queue = self._background if is_background(request) else self._urgent
            queue.append(order)
            self._changed.notify()
            return stopped

    def take(self) -> Order:
        """The next request, once there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._urgent or self._background)
            self._taken = (self._urgent or self._background).popleft()
            return self._taken

    def ticket(self, client: Client, request_id: int) -> int | None:
        """The ticket of a client's request that waits, or was the last one taken of all."""
        with self._changed:
            for order in (*self._urgent, *self._background, self._taken):
                if order and order.client is client and order.request_id == request_id:
                    return order.ticket
            return None

    def drop(self, client: Client) -> int | None:
        """Forget what a client that has gone still waited for; the ticket that is to stop."""
        with self._changed:
            self._urgent = deque(order for order in self._urgent if order.client is not client)
            self._background = deque(o for o in self._background if o.client is not client)
            self._urgent.append(Order(next(self._tickets), client, 0, Leave()))
            self._changed.notify()
            running = self._taken
            return running.ticket if running is not None and running.client is client else None


def is_background(request: Request | Leave) -> bool:
    """Whether nobody waits for it."""
    return isinstance(request, WarmRequest) or (
        isinstance(request, CompleteRequest) and request.background
    )


def supersedes(arriving: Order, other: Order) -> bool:
    """Whether nobody needs `other` once `arriving` is there."""
    both_warm = isinstance(arriving.request, WarmRequest) and isinstance(other.request, WarmRequest)
    return both_warm and arriving.client is other.client


def gives_way(running: Order, arriving: Order) -> bool:
    """Whether `running` is to stop for `arriving`. Remembering is quick: it can wait its turn."""
    if not is_background(running.request) or isinstance(arriving.request, RememberRequest):
        return False
    return not is_background(arriving.request) or supersedes(arriving, running)
