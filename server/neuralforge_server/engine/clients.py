"""Who asks an engine: its way of answering, its stacks and its open documents.

Invariant: what one client puts in force or has remembered is never taken for another's. Filled
in by the thread that computes; only `write` may be called from any thread. Knows no engine.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.protocol import RememberRequest, StackRequest

_MOST_STACKS = 8
"""Known of one client, the newest: as many as an engine keeps loaded (`stacks`)."""


class Client:
    """One server, or one terminal."""

    def __init__(self, number: int, send: Callable[[bytes], None]) -> None:
        """`send` writes a line and raises an OSError or ValueError where nobody reads any more."""
        self.number = number
        """Unique within this engine; from 1 on."""
        self.stack = ResolvedStack().digest
        """What its requests get that name none."""
        self.stacks: dict[str, StackRequest] = {}
        """By digest: those that it put in force, to load them again where others drove them out."""
        self._documents: set[str] = set()
        self._send = send

    def write(self, message: dict[str, Any]) -> None:
        """Answer; a client that has gone is noticed by whoever reads from it."""
        with contextlib.suppress(OSError, ValueError):
            self._send(json.dumps(message).encode() + b"\n")

    def has_put(self, request: StackRequest) -> None:
        """`request` is in force for this client from now on."""
        if not request.adapters:
            self.stack = ResolvedStack().digest
            return
        self.stack = request.digest
        self.stacks.pop(request.digest, None)
        self.stacks[request.digest] = request
        if len(self.stacks) > _MOST_STACKS:
            del self.stacks[next(iter(self.stacks))]

    def own(self, request: RememberRequest) -> RememberRequest:
        """The same document, under a key that no other client's has."""
        owned = replace(request, key=f"{self.number} {request.key}")
        if owned.text:
            self._documents.add(owned.key)
        else:
            self._documents.discard(owned.key)
        return owned

    def forget_documents(self) -> list[RememberRequest]:
        """What makes an engine forget all that this client had it remember."""
        documents, self._documents = self._documents, set()
        return [RememberRequest(key, "") for key in sorted(documents)]
