"""Which tokens stand in which sequence of llama.cpp's KV cache, and under which stack.

Invariant: a sequence's `tokens` are exactly those whose keys and values llama.cpp holds for it,
at positions 0, 1, 2, …, all computed under the stack `stack`; a request is only ever given a
sequence of its own stack. A sequence that is `shifted` holds chunks that were computed at other
positions and behind other tokens (as llama-server's --cache-reuse does); all others hold what a
cold start would. Each sequence has cells of its own, as many as the prompt limit, so one never
takes room from another. Knows no text and evaluates nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp

LEAST_MOVED = 96
"""Tokens: a shorter chunk is computed anew, which costs about what shifting does and is exact."""


class KvSequence:
    """One sequence of llama.cpp's memory and what stands in it."""

    def __init__(self, memory: Any, number: int) -> None:
        self._memory = memory
        self.number = number
        self.tokens: list[int] = []
        self.stack = 0
        """Serial number of the loaded stack that `tokens` were computed under."""
        self.shifted = False
        self.used = 0
        """When it was opened last, by the cache's own clock."""

    def truncate(self, length: int) -> None:
        """Drop what stands from `length` on; all of it where the model cannot drop a part."""
        if length >= len(self.tokens):
            return
        if length > 0 and llama_cpp.llama_memory_seq_rm(self._memory, self.number, length, -1):
            del self.tokens[length:]
        else:
            self.clear()

    def clear(self) -> None:
        """Drop everything."""
        llama_cpp.llama_memory_seq_rm(self._memory, self.number, -1, -1)
        self.tokens = []
        self.shifted = False

    def keep_finished(self, tokens: Sequence[int]) -> None:
        """After an aborted batch of `tokens`: those that llama.cpp has finished stand here."""
        self.tokens.extend(tokens)
        finished = llama_cpp.llama_memory_seq_pos_max(self._memory, self.number) + 1
        self.truncate(finished)
        del self.tokens[finished:]

    def copy_from(self, other: KvSequence) -> None:
        """Become the same as `other`."""
        self.clear()
        llama_cpp.llama_memory_seq_cp(self._memory, other.number, self.number, -1, -1)
        self.tokens = other.tokens.copy()
        self.shifted = other.shifted

    def apply(self, plan: Plan) -> None:
        """Cut down to what `plan` found reusable, at its new place."""
        for source, target in plan.moves:
            llama_cpp.llama_memory_seq_rm(self._memory, self.number, target, source)
            llama_cpp.llama_memory_seq_add(self._memory, self.number, source, -1, target - source)
            del self.tokens[target:source]
            self.shifted = True
        self.truncate(plan.reused)


@dataclass(frozen=True)
class Plan:
    """How much of a sequence serves a prompt."""

    common: int
    """Tokens at the beginning that agree."""
    moves: tuple[tuple[int, int], ...] = ()
    """(where a chunk stands, where it is to stand), each as it is after the moves before it."""
    reused: int = 0
    """Tokens of the prompt that then need no evaluation."""


class KvCache:
    """The sequences of one llama.cpp context."""

    def __init__(self, context: Any) -> None:
        self._memory = llama_cpp.llama_get_memory(context)
        self._can_shift = llama_cpp.llama_memory_can_shift(self._memory)
        self._clock = itertools.count(1)
        self.sequences = [
            KvSequence(self._memory, n) for n in range(llama_cpp.llama_n_seq_max(context))
        ]

    def open(
        self, stack: int, prompt: Sequence[int], *, fresh: bool = False, shift: bool = True
    ) -> KvSequence:
        """A sequence of `stack` that holds a beginning of `prompt`, all but its last token at most.

        `fresh` wants an empty one; `shift` allows chunks that stood elsewhere before.
        """
        wanted = list(prompt[:-1])
        sequence = self._least_useful() if fresh else self._best(stack, wanted, shift=shift)
        if fresh:
            sequence.clear()
        sequence.stack = stack
        sequence.used = next(self._clock)
        return sequence

    def forget(self, stack: int) -> None:
        """Drop what was computed under `stack`."""
        for sequence in self.sequences:
            if sequence.stack == stack:
                sequence.clear()

    def _best(self, stack: int, wanted: list[int], *, shift: bool) -> KvSequence:
        """The one with most to reuse; a copy of it where that would cost it more than it keeps."""
        shift = shift and self._can_shift
        plans = [
            (plan_reuse(s.tokens, wanted, shift=shift), s)
            for s in self.sequences
            if s.stack == stack and s.tokens and (shift or not s.shifted)
        ]
        plan, best = max(
            plans, key=lambda p: (p[0].reused, not p[1].shifted), default=(Plan(0), None)
        )
        if best is None or plan.reused == 0:
            sequence = self._least_useful()
            sequence.clear()
            return sequence
        if len(best.tokens) > 2 * plan.reused and len(self.sequences) > 1:
            target = self._least_useful(but=best)
            target.copy_from(best)
            best = target
        best.apply(plan)
        return best

    def _least_useful(self, but: KvSequence | None = None) -> KvSequence:
        """An empty one, or the one that was not used for longest."""
        return min(
            (s for s in self.sequences if s is not but), key=lambda s: (bool(s.tokens), s.used)
        )


def plan_reuse(held: list[int], wanted: list[int], *, shift: bool) -> Plan:
    """What of `held` serves `wanted`: the common beginning, then chunks that moved to the left.

    The search for chunks is that of llama-server's --cache-reuse (llama.cpp, tools/server).
    """
    common = common_length(held, wanted)
    moves: list[tuple[int, int]] = []
    at, removed, search = common, 0, common
    while shift and at < len(wanted) and search < len(held):
        try:
            search = held.index(wanted[at], search)
        except ValueError:
            break
        length = common_length(held, wanted, search, at)
        if length < LEAST_MOVED:
            search += 1
            continue
        moves.append((search - removed, at))
        removed = search - at
        at, search = at + length, search + length
    return Plan(common, tuple(moves), at)


def common_length(
    first: Sequence[int], second: Sequence[int], start: int = 0, other_start: int = 0
) -> int:
    """How many tokens agree from `start` in `first` and `other_start` in `second` on."""
    limit = min(len(first) - start, len(second) - other_start)
    for i in range(limit):
        if first[start + i] != second[other_start + i]:
            return i
    return limit
