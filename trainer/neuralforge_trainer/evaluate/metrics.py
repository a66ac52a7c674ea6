"""How good answers are, and whether a difference between two systems is more than chance.

Invariant: plain functions of numbers and strings. Knows no model, tokenizer or repository.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein

_CHUNK = 1_000  # resamples at a time, which bounds memory to this many rows of clusters


class Difference(NamedTuple):
    """A mean difference and the bounds of its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def exact_match(expected: str, got: str) -> bool:
    """EM: whether the two agree but for white space at their ends."""
    return expected.rstrip() == got.rstrip()


def edit_similarity(expected: str, got: str) -> float:
    """ES: 1 - Levenshtein distance / length of the longer one, in [0, 1]; 1 for two empty ones."""
    return Levenshtein.normalized_similarity(expected, got)


def perplexity(sum_nll_nats: float, tokens: int) -> float:
    """e to the mean negative log-likelihood of a token; infinite where that overflows.

    Raises:
        ValueError: `tokens` is not positive.
    """
    if tokens < 1:
        raise ValueError(f"perplexity of {tokens} tokens is not defined")
    try:
        return math.exp(sum_nll_nats / tokens)
    except OverflowError:
        return math.inf


def bits_per_byte(sum_nll_nats: float, utf8_bytes: int) -> float:
    """The negative log-likelihood in bits for each byte of the text: comparable across tokenizers.

    Raises:
        ValueError: `utf8_bytes` is not positive.
    """
    if utf8_bytes < 1:
        raise ValueError(f"bits per byte of {utf8_bytes} bytes are not defined")
    return sum_nll_nats / math.log(2) / utf8_bytes


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable],
    resamples: int = 10_000,
    seed: int = 0,
    weights: Sequence[float] | None = None,
) -> Difference:
    """The mean of a - b over paired items, with its 95 % percentile bootstrap interval.

    With `weights` (tokens, say) it is the sum of a - b over the sum of weights. Whole clusters
    (commits) are drawn with replacement, since the items of one are not independent (Efron and
    Tibshirani 1993; Field and Welsh 2007, the cluster bootstrap).

    Raises:
        ValueError: there are no items, or the sequences differ in length.
    """
    parts = np.ones(len(a)) if weights is None else np.asarray(weights, float)
    if not a or not len(a) == len(b) == len(clusters) == len(parts):
        raise ValueError(f"need items in pairs: {len(a)}, {len(b)}, {len(clusters)} clusters")
    difference = np.asarray(a, float) - np.asarray(b, float)
    index = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    labels = np.array([index[cluster] for cluster in clusters])
    sums, sizes = np.bincount(labels, difference), np.bincount(labels, parts)
    source = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = source.integers(0, len(sums), (rows, len(sums)))
        means[start : start + rows] = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    mean = difference.sum() / parts.sum()
    return Difference(float(mean), float(low), float(high))
