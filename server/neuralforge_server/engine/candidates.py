"""Further texts for one cursor: runs that leave the likeliest one within its first tokens.

Invariant: each differs from the first text and from the others by more than white space. Knows
no prompt format and no stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from neuralforge_server.engine.generate import Choice, Place, Run, Writer, log_probability

_BRANCHING = 4
"""Tokens from the cursor among which another candidate may leave the first."""
_TRIES = 3
"""Runs per text wanted: some rivals lead back to a text that is there already."""


class Rivals:
    """The next likeliest choices at the first places of a run."""

    def __init__(self, run: Run, count: int) -> None:
        self._run = run
        self._count = count
        self._branches: list[tuple[float, int, Choice]] = []

    def watch(self, place: Place) -> None:
        """Note what else the run could have chosen at `place`."""
        if place.length >= _BRANCHING:
            return
        row = place.row.copy()
        row[list(self._run.vocabulary.control_tokens)] = -np.inf
        row[place.choice[0]] = -np.inf
        for _ in range(self._count):
            rival = self._run.choose(row, place.wanted)
            if rival is None or not np.isfinite(row[rival[0]]):
                return
            token = rival[0]
            row[token] = -np.inf
            logprob = log_probability(place.row, token)
            self._branches.append((place.choice[1] - logprob, place.length, (token, logprob)))

    def branches(self, chosen: list[Choice]) -> Iterator[list[Choice]]:
        """Beginnings of other runs, those that cost least likelihood first."""
        for _, length, rival in sorted(self._branches):
            yield [*chosen[:length], rival]


def other_texts(
    first: Writer,
    beginnings: Iterator[list[Choice]],
    generate: Callable[[list[Choice]], Writer],
    wanted: int,
) -> Iterator[tuple[float, str]]:
    """(mean log-probability, text) of up to `wanted` more texts, as they come.

    Raises:
        StoppedError: the flag went up.
    """
    seen = {first.text.strip()}
    for _, beginning in zip(range(_TRIES * wanted), beginnings, strict=False):
        writer = generate(beginning)
        if writer.text.strip() and writer.text.strip() not in seen:
            seen.add(writer.text.strip())
            yield writer.mean_logprob or 0.0, writer.text
        if len(seen) > wanted:
            return
