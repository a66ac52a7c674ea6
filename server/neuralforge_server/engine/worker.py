"""Computing what the clients of an engine ask for, one request after the other.

Invariant: a request is computed under the stack that its client put in force, or names, whatever
the others do; of one base at a time. Knows neither pipe nor socket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

from neuralforge_adapters.errors import AdapterError, NeuralForgeError
from neuralforge_server.engine.clients import Client
from neuralforge_server.engine.inbox import Inbox, Leave, Order
from neuralforge_server.engine.llama import LlamaEngine
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    LoadRequest,
    RememberRequest,
    ScoreRequest,
    StackRequest,
    WarmRequest,
    decode_request,
)
from neuralforge_server.engine.stop import StopFlag
from neuralforge_server.errors import EngineError


class Worker:
    """Computes and answers."""

    def __init__(self, stop: StopFlag, on_turn: Callable[[int], None] = lambda _: None) -> None:
        """`on_turn` is told the number of the client that is computed for; 0 for nobody."""
        self._stop = stop
        self._on_turn = on_turn
        self._engine: LlamaEngine | None = None
        self._loaded: LoadRequest | None = None

    def answer(self, order: Order) -> None:
        """Reply with a result or an error; only a crash of llama.cpp itself gets past this."""
        request, client = order.request, order.client
        deadline = None
        if isinstance(request, CompleteRequest) and not request.evaluation:
            deadline = request.deadline_ms
        self._on_turn(client.number)
        self._stop.begin(order.ticket, deadline)
        try:
            result = self._compute(order)
        except Exception as error:  # noqa: BLE001 - the dispatch edge: the client gets to know
            client.write(
                {
                    "id": order.request_id,
                    "error": _describe(error),
                    "adapter": isinstance(error, AdapterError),
                }
            )
        else:
            client.write({"id": order.request_id, "result": result})
        finally:
            self._stop.end()
            self._on_turn(0)

    def _compute(self, order: Order) -> dict[str, Any]:
        request, client = order.request, order.client
        if isinstance(request, LoadRequest):
            return asdict(self._load(request).info)
        engine = self._engine
        if isinstance(request, Leave):
            for forget in client.forget_documents():
                if engine is not None:
                    engine.remember(forget)
            return {}
        if engine is None:
            raise EngineError("no base is loaded; load one first")
        if isinstance(request, StackRequest):
            engine.set_stack(request.adapters, request.digest)
            client.has_put(request)
            return {}
        if isinstance(request, RememberRequest):
            engine.remember(client.own(request))
            return {}
        stacked = replace(request, stack=self._stack(engine, client, request.stack))
        if isinstance(stacked, ScoreRequest):
            return asdict(engine.score(stacked))
        if isinstance(stacked, WarmRequest):
            return {"evaluated_tokens": engine.warm(stacked)}
        completion = engine.complete(
            stacked, lambda piece: client.write({"id": order.request_id, "piece": piece})
        )
        return asdict(completion)

    def _load(self, request: LoadRequest) -> LlamaEngine:
        """The engine for `request`; another copy of the same base is as good."""
        if self._engine is None or self._loaded is None:
            self._engine, self._loaded = LlamaEngine(request, self._stop), request
        elif replace(request, base=self._loaded.base) != self._loaded:
            raise EngineError(f"this engine serves {self._loaded.base}; start another one")
        return self._engine

    def _stack(self, engine: LlamaEngine, client: Client, named: str) -> str:
        """The stack to compute with, loaded again where other clients' have driven it out."""
        digest = named or client.stack
        put = client.stacks.get(digest)
        if put is not None and not engine.has_stack(digest):
            engine.set_stack(put.adapters, put.digest)
        return digest


def attend(client: Client, lines: Iterable[bytes], inbox: Inbox, stop: StopFlag) -> None:
    """Take a client's requests and cancels until its lines end.

    Raises:
        ValueError, KeyError, TypeError: a line is no request.
    """
    for line in lines:
        message = json.loads(line)
        if "cancel" in message:
            ticket = inbox.ticket(client, message["cancel"])
            if ticket is not None:
                stop.cancel(ticket)
            continue
        for overtaken in inbox.put(client, *decode_request(message)):
            stop.cancel(overtaken)


def _describe(error: Exception) -> str:
    if isinstance(error, NeuralForgeError):
        return str(error)
    return f"{type(error).__name__}: {error}"
