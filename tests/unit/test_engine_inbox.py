"""The order in which an engine takes its work."""

from __future__ import annotations

from neuralforge_server.engine.inbox import Inbox
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    RememberRequest,
    StackRequest,
    WarmRequest,
)

FRONT = CompleteRequest("a", "")
BACK = CompleteRequest("b", "", background=True)
WARM = WarmRequest("c", "")


def test_what_somebody_waits_for_comes_first_and_in_order() -> None:
    inbox = Inbox()
    for number, request in enumerate([BACK, FRONT, WARM, FRONT, BACK]):
        inbox.put(number, request)
    assert [inbox.take()[0] for _ in range(5)] == [1, 3, 0, 2, 4]


def test_running_background_work_stops_for_a_request_and_for_a_stack() -> None:
    for urgent in (FRONT, StackRequest([], "d")):
        inbox = Inbox()
        inbox.put(1, BACK)
        inbox.take()
        assert inbox.put(2, urgent) == [1]


def test_background_work_that_only_waits_is_not_stopped() -> None:
    inbox = Inbox()
    inbox.put(1, BACK)
    assert inbox.put(2, FRONT) == []
    assert [inbox.take()[0], inbox.take()[0]] == [2, 1]


def test_what_somebody_waits_for_stops_for_nothing() -> None:
    inbox = Inbox()
    inbox.put(1, FRONT)
    inbox.take()
    assert [inbox.put(2, r) for r in (FRONT, BACK, WARM, StackRequest([], "d"))] == [[]] * 4


def test_remembering_a_text_stops_nothing() -> None:
    inbox = Inbox()
    inbox.put(1, BACK)
    inbox.take()
    assert inbox.put(2, RememberRequest("file", "text")) == []


def test_a_newer_warm_request_stops_the_older_ones() -> None:
    inbox = Inbox()
    inbox.put(1, WARM)
    inbox.take()
    assert inbox.put(2, WARM) == [1]
    assert inbox.put(3, WARM) == [2, 1], "the one that waits, and the one that runs"
    assert inbox.put(4, BACK) == [], "which is no warm request"


def test_a_request_is_held_until_the_next_is_taken() -> None:
    inbox = Inbox()
    inbox.put(1, FRONT)
    inbox.put(2, FRONT)
    assert inbox.holds(1) and inbox.holds(2) and not inbox.holds(3)
    inbox.take()
    assert inbox.holds(1), "it may be cancelled before it begins"
    inbox.take()
    assert not inbox.holds(1)
