"""Whether differences are more than chance, one by one and as a family.

Invariant: plain functions of numbers; the same numbers give the same result. Knows no system.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

_RESAMPLES = 10_000
_CHUNK = 1_000


def bootstrap_p(differences: Sequence[float], clusters: Sequence[Hashable], seed: int = 0) -> float:
    """Two-sided p of a mean difference: twice the smaller share of resamples on one side of zero.

    Whole clusters are drawn with replacement; at least 1 / resamples (Davison and Hinkley 1997,
    percentile method inverted). 1 where every difference is zero.
    """
    index = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    labels = np.array([index[cluster] for cluster in clusters])
    sums = np.bincount(labels, np.asarray(differences, float))
    source = np.random.default_rng(seed)
    above = below = 0
    for _ in range(0, _RESAMPLES, _CHUNK):
        totals = sums[source.integers(0, len(sums), (_CHUNK, len(sums)))].sum(1)
        above, below = above + int((totals >= 0).sum()), below + int((totals <= 0).sum())
    return min(1.0, max(1, 2 * min(above, below)) / _RESAMPLES)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for being many, in the given order (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted
