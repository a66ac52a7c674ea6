"""From places that match to a distribution over the next token, and how far to trust it.

Algorithm: an unbounded n-gram model (Liu et al. 2024, infini-gram) whose longer matches are
interpolated with the shorter ones below them by counts (Witten & Bell 1991), and mixed into the
model's distribution by match length and count. Pure; knows no file and no tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralforge_server.memory.evidence import LENGTHS, Level

_BACK_OFF = 0.5
"""Places of a shorter match that count as much as one of the length above it."""
_OFFSET = -1.2
_PER_LENGTH = 0.6
_PER_COUNT = 0.15

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Distribution:
    """Tokens that came next elsewhere, their probabilities (summing to 1), and `trust` in them:
    the share of the mixture that they are to have, in 0 … 1."""

    tokens: npt.NDArray[np.intp]
    probabilities: npt.NDArray[np.float64]
    trust: float


def distribution(found: Sequence[Level], vocabulary: int) -> Distribution | None:
    """What `found`, of any sources in any order, says of the next token; None where it is empty.

    Tokens outside the `vocabulary` (a damaged file holds such) do not count.
    """
    levels = [(level, level.tokens[level.tokens < vocabulary]) for level in found]
    levels = [(level, tokens) for level, tokens in levels if len(tokens)]
    if not levels:
        return None
    candidates, columns = np.unique(
        np.concatenate([tokens for _, tokens in levels]), return_inverse=True
    )
    counts = _counts(levels, columns, len(candidates))
    probabilities = np.zeros(len(candidates))
    for row in counts:
        total = row.sum()
        if total > 0:
            kept = _BACK_OFF if probabilities.any() else 0.0
            probabilities = (row + kept * probabilities) / (total + kept)
    longest = max(level.length for level, _ in levels)
    places = float(counts[LENGTHS.index(longest)].sum())
    return Distribution(candidates, probabilities, _trust(longest, places))


def mixed(logits: Logits, memory: Distribution, scale: float) -> Logits:
    """Logits of (1 − λ) · softmax(`logits`) + λ · `memory`, with λ = `scale` · trust, below 1.

    Only the memory's tokens change: the others keep their logits, to which the sum is scaled.
    """
    share = min(scale * memory.trust, 0.999)
    top = float(logits.max())
    total = float(np.exp(logits - top).sum())
    own = np.exp(logits[memory.tokens] - top) / total
    raised = own + share / (1 - share) * memory.probabilities
    result = logits.copy()
    with np.errstate(divide="ignore"):
        result[memory.tokens] = np.log(raised) + math.log(total) + top
    return result


def _counts(
    levels: Sequence[tuple[Level, npt.NDArray[np.intp]]],
    columns: npt.NDArray[np.intp],
    width: int,
) -> npt.NDArray[np.float64]:
    """Places by length (of `LENGTHS`, shortest first) and candidate."""
    rows = np.repeat(
        [LENGTHS.index(level.length) for level, _ in levels], [len(t) for _, t in levels]
    )
    weights = np.repeat(
        [level.places / len(level.tokens) for level, _ in levels], [len(t) for _, t in levels]
    )
    flat: npt.NDArray[np.float64] = np.bincount(
        rows * width + columns, weights, len(LENGTHS) * width
    ).astype(np.float64)
    return flat.reshape(len(LENGTHS), width)


def _trust(longest: int, places: float) -> float:
    score = _OFFSET + _PER_LENGTH * math.log2(longest) + _PER_COUNT * math.log2(places)
    return 1 / (1 + math.exp(-score))
