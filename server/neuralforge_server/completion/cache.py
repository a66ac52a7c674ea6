"""Generations and the texts they left, which are served again as long as they fit the cursor.

Invariant: what is found goes on from the very text around the cursor, and was made by the base,
the stack and the settings asked for. Knows no engine beyond the text it produced.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.completion.spot import Spot, Step
from neuralforge_server.documents import Document
from neuralforge_server.engine.generation import Generation
from neuralforge_server.engine.protocol import Completion

_KEPT = 64
"""Texts kept, of all documents together."""


def _new_id() -> str:
    return str(uuid.uuid4())


def _unified(text: str) -> str:
    """With the line ends that bases write, whatever the file's own are."""
    return text.replace("\r\n", "\n")


@dataclass(frozen=True)
class Key:
    """What a text depends on besides the text around the cursor."""

    base: str
    """SHA-256 of the base's file."""
    stack: ResolvedStack
    settings: str
    """Digest of every setting that changes a text."""


@dataclass(frozen=True)
class Cost:
    """What the engine spent."""

    tokens: int = 0
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Use:
    """How a text is used at a cursor: `lead`, deleted there, stands before it again."""

    lead: str = ""
    typed: str = ""
    """How much of lead and text the user has typed."""

    @classmethod
    def of(cls, step: Step) -> Use:
        """The use after that step from where the text was made for."""
        return cls(step.deleted, _unified(step.typed))

    def more(self, typed: str) -> Use:
        """The same, with so much more typed."""
        return Use(self.lead, self.typed + _unified(typed))

    def rest(self, text: str) -> str | None:
        """What of `text` is still to be typed; None where something else was typed."""
        whole = self.lead + _unified(text)
        return whole[len(self.typed) :] if whole.startswith(self.typed) else None


@dataclass(eq=False)
class Run:
    """A generation under way, where it began, and what it is made with."""

    origin: Spot
    key: Key
    generation: Generation
    candidates: int = 1
    """How many texts were asked for."""
    background: bool = False
    """Whether it was started before anybody asked."""
    used: bool = False
    """Whether it has answered anybody."""
    outdated: bool = False
    """Whether more has become known since, so that its text is not to be kept."""
    first_line_ms: float | None = None
    """Milliseconds until its first line was complete."""
    overdue: bool = False
    """Whether a complete first line is to be given without waiting for more."""
    timer: asyncio.TimerHandle | None = None
    """Runs out when it is overdue."""
    _id: str = field(default_factory=_new_id)
    _started: float = field(default_factory=time.perf_counter)
    _kept: int | None = None

    @property
    def text(self) -> str:
        """What it produced so far."""
        return self.generation.text[: self._kept]

    @property
    def milliseconds(self) -> float:
        """Since it was started."""
        return (time.perf_counter() - self._started) * 1000

    def agrees(self, use: Use) -> bool:
        """Whether its text is what was typed and more, or still may be."""
        whole = use.lead + _unified(self.text)
        return whole.startswith(use.typed) or (
            not self.generation.done and use.typed.startswith(whole)
        )

    def end_early(self, length: int) -> None:
        """So much of the text is enough."""
        self._kept = length
        self.stop()

    def stop(self) -> None:
        """Compute no more."""
        if self.timer is not None:
            self.timer.cancel()
        self.generation.cancel()

    def is_whole(self, result: Completion) -> bool:
        """Whether it ended by itself, or with as much as was wanted."""
        return result.stop != "cancelled" or self._kept is not None

    def is_unfinished(self, result: Completion) -> bool:
        """Whether a limit of time or tokens ended it in the middle of a line."""
        return self._kept is None and result.stop in ("deadline", "length")

    def came_to_nothing(self, result: Completion) -> bool:
        """Whether its time was over before there was anything: it may yet have much to say."""
        return result.stop == "deadline" and not self.text.strip()

    def made(self, result: Completion) -> list[Made]:
        """Its finished texts, likeliest first."""
        texts = dict.fromkeys([result.text[: self._kept], *result.others])
        ids = [self._id, *(_new_id() for _ in result.others)]
        return [
            Made(self.origin, self.key, text, name, self, self.is_unfinished(result))
            for text, name in zip(texts, ids, strict=False)
        ]


@dataclass(eq=False)
class Made:
    """A finished text; empty where there is nothing to say."""

    origin: Spot
    key: Key
    text: str
    id: str
    """Names its suggestion, of which the rest may be shown many times."""
    run: Run
    unfinished: bool
    """Whether a limit of time or tokens ended it."""

    @property
    def candidates(self) -> int:
        """How many were asked for together."""
        return self.run.candidates

    def use_at(self, spot: Spot) -> Use | None:
        """How it is used at `spot`; None where it does not fit, or is used up."""
        step = spot.since(self.origin)
        if step is None:
            return None
        use = Use.of(step)
        if not self.text:
            return use if use == Use() else None
        return use if use.rest(self.text) else None


@dataclass
class SuggestionCache:
    """Finished texts, oldest first."""

    texts: deque[Made] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def add(self, *made: Made) -> None:
        """Keep texts, the likeliest one first."""
        self.texts.extend(reversed(made))

    def find(self, spot: Spot, key: Key) -> Iterator[tuple[Made, Use]]:
        """What fits at `spot`, newest and likeliest first."""
        for made in reversed(self.texts):
            if made.origin.document is spot.document and made.key == key:
                use = made.use_at(spot)
                if use is not None:
                    yield made, use

    def holds(self, spot: Spot, key: Key) -> bool:
        """Whether a text made for exactly this spot, which need not be there yet, is kept."""
        return any(made.origin.is_at(spot) and made.key == key for made in self.texts)

    def forget(self, document: Document) -> None:
        """Drop what began in `document`."""
        self._keep(lambda made: made.origin.document is not document)

    def forget_others(self, document: Document | None) -> None:
        """Drop what began in any other document."""
        self._keep(lambda made: made.origin.document is document)

    def _keep(self, wanted: Callable[[Made], bool]) -> None:
        self.texts = deque(filter(wanted, self.texts), maxlen=_KEPT)
