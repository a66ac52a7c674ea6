"""Clients of one worker: each has the stack that it put in force, whatever the others do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gguf_maker import make_adapter
from neuralforge_adapters.base import Base
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.clients import Client
from neuralforge_server.engine.inbox import Order
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    LoadRequest,
    Request,
    ScoreRequest,
    StackRequest,
)
from neuralforge_server.engine.stacks import KEPT_STACKS
from neuralforge_server.engine.stop import StopFlag
from neuralforge_server.engine.worker import Worker

COMPLETE = CompleteRequest("def load(self):\n    with open(self.", "\n", max_tokens=8)
PLAIN = ResolvedStack().digest


class Rig:
    """A worker with a base loaded, and how its clients ask."""

    def __init__(self, base: Base) -> None:
        self.turns: list[int] = []
        self.worker = Worker(StopFlag(), self.turns.append)
        self.answers: list[dict[str, Any]] = []
        self.clients = [
            Client(n, lambda line: self.answers.append(json.loads(line))) for n in (1, 2)
        ]
        self.ask(0, LoadRequest(str(base.path), base.digest, 256, 1))

    def ask(self, client: int, request: Request) -> dict[str, Any]:
        """The result of a request."""
        self.worker.answer(Order(len(self.turns) + 1, self.clients[client], 5, request))
        reply = self.answers[-1]
        assert reply["id"] == 5
        result: dict[str, Any] = reply.get("result", reply)
        return result


@pytest.fixture
def rig(base: Base) -> Rig:
    return Rig(base)


def stacks(folder: Path, count: int) -> list[StackRequest]:
    paths = [make_adapter(folder / f"{n}.gguf", seed=n, strength=0.2) for n in range(count)]
    return [StackRequest([(str(path), 1.0)], f"stack {n}") for n, path in enumerate(paths)]


def test_a_request_without_a_stack_gets_its_clients_own(rig: Rig, tmp_path: Path) -> None:
    one, two = stacks(tmp_path, 2)
    rig.ask(0, one)
    assert [rig.ask(c, COMPLETE)["stack"] for c in (0, 1)] == ["stack 0", PLAIN]
    rig.ask(1, two)
    assert [rig.ask(c, COMPLETE)["stack"] for c in (0, 1)] == ["stack 0", "stack 1"]
    rig.ask(0, StackRequest([], PLAIN))
    assert [rig.ask(c, COMPLETE)["stack"] for c in (0, 1)] == [PLAIN, "stack 1"]


def test_scores_are_made_under_a_clients_own_stack_too(rig: Rig, tmp_path: Path) -> None:
    question = ScoreRequest("def load(self):\n    with open(self.", "\n", "path) as file:")
    plain = rig.ask(0, question)["nll"]
    rig.ask(0, *stacks(tmp_path, 1))
    assert rig.ask(0, question)["nll"] != plain == rig.ask(1, question)["nll"]


def test_a_stack_that_anothers_drove_out_is_loaded_again(rig: Rig, tmp_path: Path) -> None:
    mine, *others = stacks(tmp_path, KEPT_STACKS + 1)
    rig.ask(0, mine)
    before = rig.ask(0, COMPLETE)
    for stack in others:
        rig.ask(1, stack)
    after = rig.ask(0, COMPLETE)
    assert (after["text"], after["stack"]) == (before["text"], "stack 0")
    assert after["cached_tokens"] == 0, "what was computed under it went with it"
    assert rig.ask(1, COMPLETE)["stack"] == f"stack {KEPT_STACKS}"


def test_a_stack_that_a_client_never_put_in_force_is_refused(rig: Rig, tmp_path: Path) -> None:
    request = CompleteRequest("x", "", stack="nobody's")
    assert "not loaded" in rig.ask(0, request)["error"]


def test_every_turn_is_told_with_its_client_and_its_end(rig: Rig) -> None:
    rig.turns.clear()
    rig.ask(1, COMPLETE)
    rig.ask(0, COMPLETE)
    assert rig.turns == [2, 0, 1, 0]
