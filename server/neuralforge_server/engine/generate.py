"""The decode loop: greedy text behind a prompt, with a memory mixed in and drafts checked.

Invariant: what is generated is the likeliest token at every place, under the healed text's
constraint; drafts decide how many places one evaluation answers, never what the answer is
(Leviathan et al. 2023, greedy case; drafts without a model as in Saxena 2023, «prompt lookup»).
Knows no prompt format, no stack and no pipe.
"""

from __future__ import annotations

import codecs
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from neuralforge_server.engine.evaluate import Evaluator, Logits
from neuralforge_server.engine.kv import KvSequence
from neuralforge_server.engine.protocol import StopReason
from neuralforge_server.engine.stopping import Stopper
from neuralforge_server.engine.vocabulary import Vocabulary


class Memory(Protocol):
    """What the user's own text says comes next (`recall.Recall`)."""

    def start(self, tokens: Sequence[int], after: Sequence[int]) -> None:
        """Stand behind `tokens`, with `after` right of the cursor."""

    def extend(self, token: int) -> None:
        """One token further."""

    def mix(self, logits: Logits, scale: float) -> Logits:
        """Logits, or log-probabilities, with the memory's own distribution mixed in."""

    def draft(self, limit: int) -> list[int]:
        """At most so many tokens that may come next."""


class Pace(Protocol):
    """How far to draft (`speculate.Speculator`)."""

    def length(self) -> int:
        """Tokens to draft now; 0 where it does not pay."""

    def observe(self, drafted: int, accepted: int, milliseconds: float) -> None:
        """What one evaluation cost and brought."""


Choice = tuple[int, float]
"""A token and its log-probability in nats."""


@dataclass
class Writer:
    """Turns tokens' bytes into text from the cursor on, and says when there is enough."""

    wanted: bytes
    """Healed bytes that the generation still has to say again."""
    stopper: Stopper
    on_piece: Callable[[str], None]
    text: str = ""
    """What stands so far; bytes of a character that is not complete yet are held back."""
    chosen: list[Choice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def mean_logprob(self) -> float | None:
        """Nats per token; None where there is none."""
        return float(np.mean([logprob for _, logprob in self.chosen])) if self.chosen else None

    def add(self, piece: bytes) -> bool:
        """Take one token's bytes; whether the text is complete."""
        said = min(len(piece), len(self.wanted))
        self.wanted, piece = self.wanted[said:], piece[said:]
        decoded, broken = self._decoded(piece)
        grown = self.text + decoded
        end = self.stopper.end(grown)
        grown = grown[:end]
        if len(grown) > len(self.text):
            self.on_piece(grown[len(self.text) :])
        self.text = grown
        return broken or end is not None

    def _decoded(self, piece: bytes) -> tuple[str, bool]:
        """What `piece` completes, and whether it has bytes that no text has: a weak base says any
        bytes, and what comes before them is all that can be shown."""
        try:
            return self._decoder.decode(piece), False
        except UnicodeDecodeError as error:
            return error.object[: error.start].decode("utf-8"), True

    def drop_unfinished_line(self) -> None:
        """Keep whole lines only, where there is one with something on it."""
        whole, newline, _ = self.text.rpartition("\n")
        if newline and whole.strip():
            self.text = whole.removesuffix("\r")


class Drafter:
    """Proposes tokens, and tells the pace how its proposals fared."""

    def __init__(self, memory: Memory, pace: Pace | None) -> None:
        self._memory = memory
        self._pace = pace
        self.drafted = 0
        self.accepted = 0
        self._open: tuple[int, int, float] | None = None

    def propose(self, room: int) -> list[int]:
        """At most `room` tokens that may come next."""
        if self._pace is None:
            return []
        self.settle()
        length = min(self._pace.length(), room)
        return self._memory.draft(length) if length > 0 else []

    def evaluated(self, drafted: int, milliseconds: float) -> None:
        """One evaluation took so long, with so many drafted tokens in it."""
        self._open = (drafted, self.accepted, milliseconds)
        self.drafted += drafted

    def settle(self) -> None:
        """Nothing more of the last draft will be accepted."""
        if self._open is not None and self._pace is not None:
            drafted, before, milliseconds = self._open
            self._pace.observe(drafted, self.accepted - before, milliseconds)
        self._open = None


@dataclass(frozen=True)
class Place:
    """What a token was chosen from."""

    length: int
    """Tokens chosen before it."""
    row: Logits
    wanted: bytes
    choice: Choice


@dataclass
class Run:
    """Greedy generation in one sequence, which holds, or begins, `prompt`."""

    evaluator: Evaluator
    vocabulary: Vocabulary
    sequence: KvSequence
    prompt: list[int]
    drafter: Drafter
    memory: Memory
    scale: float
    """Of the memory; 0 leaves it out of the distribution."""
    fixed: bool = False
    """Whether the prompt is split as on any other machine."""

    def generate(
        self, writer: Writer, limit: int, watch: Callable[[Place], None] = lambda _: None
    ) -> StopReason:
        """Go on behind the prompt and what `writer` has already, up to `limit` tokens in all.

        `watch` sees every choice. Raises:
            StoppedError: the flag went up; `writer` holds what there is.
        """
        try:
            return self._generate(writer, limit, watch)
        finally:
            self.drafter.settle()

    def _generate(self, writer: Writer, limit: int, watch: Callable[[Place], None]) -> StopReason:
        given = [token for token, _ in writer.chosen]
        self.sequence.truncate(len(self.prompt) + len(given) - 1)
        row = self.evaluator.prompt(self.sequence, self.prompt + given, fixed=self.fixed)
        rows = deque([row])
        draft: deque[int] = deque()
        for length in range(len(given), limit):
            row = self.mixed(rows.popleft())
            choice = self.choose(row, writer.wanted)
            if choice is None:
                return "constraint"
            watch(Place(length, row, writer.wanted, choice))
            if (stop := self._take(choice, writer)) is not None:
                return stop
            if draft and draft[0] == choice[0]:
                draft.popleft()
                self.drafter.accepted += 1
            elif length + 1 < limit:
                self.sequence.truncate(len(self.prompt) + length)
                draft, rows = self._advance(choice[0], limit - length - 2)
        return "length"

    def replay(self, choices: list[Choice], writer: Writer) -> bool:
        """Give `writer` what was chosen elsewhere; whether the text is complete with it."""
        return any(self._take(choice, writer) is not None for choice in choices)

    def choose(self, row: Logits, wanted: bytes) -> Choice | None:
        """The likeliest token, among those that fit the healed text while some is left."""
        if not wanted:
            token = int(row.argmax())
        else:
            fitting = self.vocabulary.fitting(wanted)
            if not len(fitting):
                return None
            token = int(fitting[row[fitting].argmax()])
        return token, log_probability(row, token)

    def _take(self, choice: Choice, writer: Writer) -> StopReason | None:
        writer.chosen.append(choice)
        token = choice[0]
        if token in self.vocabulary.control_tokens:
            return "end"
        if writer.add(self.vocabulary.piece(token)):
            return "line"
        self.memory.extend(token)
        return None

    def _advance(self, token: int, room: int) -> tuple[deque[int], deque[Logits]]:
        """Evaluate `token` and a draft of what follows: the draft, and the logits after each."""
        started = time.perf_counter()
        draft = self.drafter.propose(min(room, self.evaluator.limit - 1))
        rows = self.evaluator.extend(self.sequence, [token, *draft])
        self.drafter.evaluated(len(draft), (time.perf_counter() - started) * 1000)
        return deque(draft), deque(rows)

    def mixed(self, row: Logits) -> Logits:
        """`row` with the memory's distribution mixed in."""
        return self.memory.mix(row, self.scale) if self.scale else row


def log_probability(row: Logits, token: int) -> float:
    """Nats; a row of logits or of log-probabilities."""
    relative = row - row.max()
    chosen = float(relative[token])
    np.exp(relative, out=relative)
    return chosen - math.log(relative.sum())
