"""Cursors, generations that began at them, and the finished ones that can be served again.

Invariant: what is found goes on from the very text around the cursor, and comes from the base and
stack asked for. Knows no engine beyond the text it produced.
"""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field

from neuralforge_adapters.fim import Window
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.documents import Document, Position
from neuralforge_server.engine.supervisor import Generation

_REMEMBERED = 32
"""Finished generations kept, of all documents together."""
_CLOSERS = frozenset(")]}\"'`>")
_MAX_CLOSED = 3


@dataclass(frozen=True)
class Spot:
    """A cursor (code points) and the text around it that a prompt is made of."""

    document: Document
    position: Position
    prefix: str
    suffix: str

    @classmethod
    def at(cls, document: Document, position: Position, window: Window) -> Spot:
        """The spot in the document as it is now."""
        prefix, suffix = window.cut(document.lines, position.line, position.character)
        return cls(document, position, prefix, suffix)

    def typed_since(self, origin: Spot) -> str | None:
        """What was typed from `origin` to here; None where anything else has changed as well."""
        if self.document is not origin.document or self.position < origin.position:
            return None
        typed = self.document.between(origin.position, self.position)
        if not self.prefix.endswith(typed) or not _same_suffix(self.suffix, origin.suffix):
            return None
        before = self.prefix[: len(self.prefix) - len(typed)]
        return typed if _same(before[::-1], origin.prefix[::-1]) else None


@dataclass(frozen=True)
class Cost:
    """What the engine spent."""

    tokens: int = 0
    milliseconds: float = 0.0


@dataclass(eq=False)
class Run:
    """A generation, where it began, and the weights that it was made with."""

    origin: Spot
    base: str
    stack: ResolvedStack
    generation: Generation
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Names its suggestion, of which the rest may be shown many times."""
    cost: Cost = Cost()
    """Known at its end."""

    @property
    def text(self) -> str:
        """What it produced so far."""
        return self.generation.text

    def agrees(self, typed: str) -> bool:
        """Whether its text begins with `typed`, or still may."""
        return self.text.startswith(typed) or (
            not self.generation.done and typed.startswith(self.text)
        )


@dataclass
class Memory:
    """Finished generations, oldest first."""

    runs: deque[Run] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def add(self, run: Run) -> None:
        """Keep a finished run."""
        self.runs.append(run)

    def find(self, spot: Spot, base: str, stack: ResolvedStack) -> tuple[Run, str] | None:
        """The newest run that goes on from `spot`, and how much of its text was typed."""
        for run in reversed(self.runs):
            if run.base == base and run.stack == stack:
                typed = spot.typed_since(run.origin)
                if typed is not None and run.text.startswith(typed) and run.text != typed:
                    return run, typed
        return None

    def forget(self, document: Document) -> None:
        """Drop what began in `document`."""
        kept = [run for run in self.runs if run.origin.document is not document]
        self.runs = deque(kept, maxlen=_REMEMBERED)


def _same(one: str, other: str) -> bool:
    """Whether the shorter text begins the longer: windows may end at different lines."""
    return one.startswith(other) if len(one) >= len(other) else other.startswith(one)


def _same_suffix(now: str, then: str) -> bool:
    """`_same`, but for the brackets and quotes that the editor closed by itself."""
    for closed in range(_MAX_CLOSED + 1):
        if _same(now[closed:], then):
            return True
        if closed >= len(now) or now[closed] not in _CLOSERS:
            return False
    return False
