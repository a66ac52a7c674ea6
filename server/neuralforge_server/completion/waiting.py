"""A request that waits for its suggestions, and the suggestions themselves.

Invariant: a request is answered once, with suggestions for the text as it is at that moment.
Knows no engine and no cache policy.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.completion.cache import Run, Use
from neuralforge_server.completion.spot import Spot, moved
from neuralforge_server.documents import Position


@dataclass(frozen=True)
class Suggestion:
    """A text to insert at `position` (code points) in place of the next `replaces` ones."""

    id: str
    """The same for every rest of one generation that is shown while the user types through it."""
    text: str
    position: Position
    replaces: int
    base: str
    """SHA-256 of the base's file."""
    stack: ResolvedStack
    prefix: str
    suffix: str
    milliseconds: float
    """From the request to the answer."""
    evaluated_tokens: int
    """Tokens computed for it; 0 where it was remembered."""
    engine_ms: float | None
    """Milliseconds of them in llama.cpp; None where the request waited for anything else."""


@dataclass(eq=False)
class Waiting:
    """A request that is not answered yet."""

    spot: Spot
    offset: int
    """Of the spot, in code points."""
    invoked: bool
    """Whether the user asked for it, and not the editor by itself."""
    answer: asyncio.Future[list[Suggestion]]
    started: float = field(default_factory=time.perf_counter)
    run: Run | None = None
    joined: Use = field(default_factory=Use)
    """How the run's text is used at the spot."""
    typed: str = ""
    """What was typed at the spot since the request came."""
    own: bool = False
    """Whether the run was started for it."""
    delayed: bool = False
    """Whether it waited for a pause of the user's."""
    _timer: asyncio.TimerHandle | None = None

    @property
    def use(self) -> Use:
        """How the run's text is used where the cursor is now."""
        return self.joined.more(self.typed)

    @property
    def position(self) -> Position:
        """Where the cursor is now."""
        return moved(self.spot.position, self.typed)

    @property
    def milliseconds(self) -> float:
        """Since it came."""
        return (time.perf_counter() - self.started) * 1000

    def engine_ms(self, spent: float) -> float | None:
        """`spent` in the engine, where the request has waited for nothing else."""
        return spent if self.run is None or (self.own and not self.delayed) else None

    @property
    def idle(self) -> bool:
        """Whether nothing is under way for it."""
        return self.run is None and self._timer is None and not self.answer.done()

    def leave(self) -> None:
        """Wait for nothing, so that it can be served anew."""
        self.run = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def begin(self, run: Run) -> None:
        """Wait for a run of its own."""
        self.run, self.joined, self.own = run, Use(), True

    def join(self, run: Run, use: Use) -> None:
        """Wait for somebody else's run."""
        self.run, self.joined, self.own = run, use, False

    def delay(self, timer: asyncio.TimerHandle) -> None:
        """Wait for a pause."""
        self._timer, self.delayed = timer, True

    def resolve(self, suggestions: list[Suggestion]) -> None:
        """Answer, unless that has happened."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.answer.done():
            self.answer.set_result(suggestions)
