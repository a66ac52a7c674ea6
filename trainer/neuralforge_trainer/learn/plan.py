"""The order in which a run sees its examples, fixed before it begins.

Invariant: the same lengths and seed give the same order, whatever has been drawn at random since:
a run that was killed goes on exactly where it was. Examples of like length share a batch, so that
little is computed on padding. Knows no content.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

_POOL = 16  # batches whose examples are sorted together: order within them is no longer random


def plan(lengths: Sequence[int], batch: int, epochs: int, seed: int) -> list[int]:
    """Indices of `lengths` for all epochs, to be taken `batch` at a time.

    Every epoch holds every index once. Only an epoch's last batch may be short, and then the
    next epoch fills it up.
    """
    return [index for epoch in range(epochs) for index in _epoch(lengths, batch, f"{seed}:{epoch}")]


def _epoch(lengths: Sequence[int], batch: int, seed: str) -> list[int]:
    source = random.Random(seed)
    shuffled = list(range(len(lengths)))
    source.shuffle(shuffled)
    size = batch * _POOL
    pools = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    ordered = [i for pool in pools for i in sorted(pool, key=lambda i: lengths[i])]
    batches = [ordered[start : start + batch] for start in range(0, len(ordered), batch)]
    last = batches.pop() if batches and len(batches[-1]) < batch else []
    source.shuffle(batches)
    return [index for group in batches for index in group] + last
