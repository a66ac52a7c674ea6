"""The order in which an engine takes its work."""

from __future__ import annotations

from neuralforge_server.engine.clients import Client
from neuralforge_server.engine.inbox import Inbox, Leave
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    RememberRequest,
    Request,
    StackRequest,
    WarmRequest,
)

ME, OTHER = Client(1, lambda _: None), Client(2, lambda _: None)
FRONT = CompleteRequest("a", "")
BACK = CompleteRequest("b", "", background=True)
WARM = WarmRequest("c", "")


def test_what_somebody_waits_for_comes_first_and_in_order() -> None:
    inbox = Inbox()
    requests: list[Request] = [BACK, FRONT, WARM, FRONT, BACK]
    for number, request in enumerate(requests):
        inbox.put(ME, number, request)
    assert [inbox.take().request_id for _ in range(5)] == [1, 3, 0, 2, 4]


def test_running_background_work_stops_for_a_request_and_for_a_stack() -> None:
    for urgent in (FRONT, StackRequest([], "d")):
        inbox = Inbox()
        inbox.put(ME, 1, BACK)
        inbox.take()
        assert inbox.put(ME, 2, urgent) == [1]


def test_background_work_that_only_waits_is_not_stopped() -> None:
    inbox = Inbox()
    inbox.put(ME, 1, BACK)
    assert inbox.put(ME, 2, FRONT) == []
    assert [inbox.take().request_id, inbox.take().request_id] == [2, 1]


def test_what_somebody_waits_for_stops_for_nothing() -> None:
    inbox = Inbox()
    inbox.put(ME, 1, FRONT)
    inbox.take()
    assert [inbox.put(ME, 2, r) for r in (FRONT, BACK, WARM, StackRequest([], "d"))] == [[]] * 4


def test_remembering_a_text_stops_nothing() -> None:
    inbox = Inbox()
    inbox.put(ME, 1, BACK)
    inbox.take()
    assert inbox.put(ME, 2, RememberRequest("file", "text")) == []


def test_a_newer_warm_request_stops_the_older_ones() -> None:
    inbox = Inbox()
    inbox.put(ME, 1, WARM)
    inbox.take()
    assert inbox.put(ME, 2, WARM) == [1]
    assert inbox.put(ME, 3, WARM) == [2, 1], "the one that waits, and the one that runs"
    assert inbox.put(ME, 4, BACK) == [], "which is no warm request"


def test_a_request_has_its_ticket_until_the_next_is_taken() -> None:
    inbox = Inbox()
    inbox.put(ME, 1, FRONT)
    inbox.put(ME, 2, FRONT)
    assert [inbox.ticket(ME, i) for i in (1, 2, 3)] == [1, 2, None]
    inbox.take()
    assert inbox.ticket(ME, 1) == 1, "it may be cancelled before it begins"
    inbox.take()
    assert inbox.ticket(ME, 1) is None


def test_clients_may_use_the_same_ids_and_only_find_their_own() -> None:
    inbox = Inbox()
    inbox.put(ME, 7, FRONT)
    inbox.put(OTHER, 7, BACK)
    inbox.put(OTHER, 8, FRONT)
    assert inbox.ticket(ME, 7) != inbox.ticket(OTHER, 7) is not None
    assert inbox.ticket(ME, 8) is None
    orders = [inbox.take() for _ in range(3)]
    assert [(o.client, o.request_id) for o in orders] == [(ME, 7), (OTHER, 8), (OTHER, 7)]


def test_what_one_client_waits_for_overtakes_anothers_background_work() -> None:
    inbox = Inbox()
    inbox.put(OTHER, 1, BACK)
    inbox.take()
    assert inbox.put(ME, 1, FRONT) == [1]


def test_warming_for_one_client_stops_no_warming_for_another() -> None:
    inbox = Inbox()
    inbox.put(OTHER, 1, WARM)
    inbox.take()
    assert inbox.put(ME, 1, WARM) == []


def test_of_a_client_that_leaves_nothing_is_computed_any_more() -> None:
    inbox = Inbox()
    inbox.put(ME, 1, FRONT)
    inbox.put(OTHER, 1, FRONT)
    inbox.put(ME, 2, FRONT)
    inbox.put(ME, 3, BACK)
    inbox.take()
    assert inbox.drop(OTHER) is None, "what runs is not its own"
    assert inbox.drop(ME) == 1
    left = [inbox.take() for _ in range(2)]
    assert [(order.client, order.request) for order in left] == [(OTHER, Leave()), (ME, Leave())]
