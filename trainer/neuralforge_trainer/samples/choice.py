"""Draws which samples are learnt: at random or all, balanced by language, without duplicates.

Invariant: no two that are chosen are duplicates of each other, none holds a secret, and they keep
the order of their candidates; the same seed chooses the same. Only what is drawn is made, so that
a long history costs no more than a short one. Knows no source.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, zip_longest

from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.scrubbed import scrubbed


@dataclass(frozen=True)
class Candidate:
    """A sample that can be made."""

    language: str
    make: Callable[[], Sample]


def candidates_of(samples: Iterable[Sample]) -> list[Candidate]:
    """Candidates that are samples already."""
    return [Candidate(sample.language, partial(replace, sample)) for sample in samples]


def choose(
    candidates: Sequence[Candidate],
    seen: Distinct,
    limit: int | None = None,
    balance: bool = False,
    seed: int = 0,
) -> list[Sample]:
    """At most `limit` samples, in the order of the candidates, none of them in `seen` before.

    With `balance` every language gets an equal share of the limit, and where it has less, the
    others get the rest; without a limit every language gets as many as the rarest one has.
    """
    chosen = _take(candidates, range(len(candidates)), seen, None) if limit is None else []
    if limit is None and balance:
        counts = Counter(sample.language for sample in chosen)
        limit = len(counts) * min(counts.values(), default=0)
        order = _draw_order([sample.language for sample in chosen], True, seed)[:limit]
        return [chosen[index] for index in sorted(order)]
    if limit is None:
        return chosen
    order = _draw_order([candidate.language for candidate in candidates], balance, seed)
    return _take(candidates, order, seen, limit)


def _take(
    candidates: Sequence[Candidate], order: Iterable[int], seen: Distinct, limit: int | None
) -> list[Sample]:
    taken: dict[int, Sample] = {}
    for index in order:
        if len(taken) == limit:
            break
        sample = scrubbed(candidates[index].make())
        if sample is not None and seen.admits(sample):
            taken[index] = sample
    return [taken[index] for index in sorted(taken)]


def _draw_order(languages: Sequence[str], balance: bool, seed: int) -> list[int]:
    """Indexes at random; balanced, the languages take turns as long as they have some."""
    order = random.Random(seed).sample(range(len(languages)), len(languages))
    if not balance:
        return order
    turns: dict[str, list[int]] = defaultdict(list)
    for index in order:
        turns[languages[index]].append(index)
    rounds = zip_longest(*turns.values())
    return [index for index in chain.from_iterable(rounds) if index is not None]
