"""Mixes how a context went on elsewhere into the model's distribution over the next token.

Algorithm: an unbounded n-gram model (Liu et al. 2024, infini-gram) interpolated as Jelinek and
Mercer (1980) do, with the model at the bottom: p ← (1 − λ) p + λ · share, from the shortest match
to the longest, first over what is stored, then over what is near (open documents, prompt). λ
depends on the length and the kind of source. That form is calibrated by likelihood alone, is
indifferent to a text that is found twice, and is linear in the model's distribution.
Pure; knows no file and no tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuralforge_server.memory.evidence import LENGTHS, Level

STORED = (-1.93, 0.52)
NEAR = (-1.87, 0.45)
"""(offset, per doubling of the length) of λ's log-odds, fitted by likelihood; see the lab log."""

_MOST = 0.999

Logits = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Which tokens came next elsewhere, and how often, step by step of the interpolation."""

    tokens: npt.NDArray[np.intp]
    """The candidates, rising."""
    shares: Numbers
    """Of each step (rows) and candidate (columns); a row sums to 1."""
    trusts: Numbers
    """λ of each step."""


def weigh(stored: Sequence[Level], near: Sequence[Level], vocabulary: int) -> Evidence | None:
    """The evidence in what was found, in any order; None where there is none.

    Tokens outside the `vocabulary` (a damaged file may hold such) do not count.
    """
    levels = [*stored, *near]
    if not levels:
        return None
    steps = [_STEPS[0][level.length] for level in stored]
    steps += [_STEPS[1][level.length] for level in near]
    sizes = [len(level.tokens) for level in levels]
    weights = np.repeat([level.places / len(level.tokens) for level in levels], sizes)
    numbers = np.repeat(steps, sizes)
    tokens = np.concatenate([level.tokens for level in levels])
    if int(tokens.max()) >= vocabulary:
        known = tokens < vocabulary
        tokens, numbers, weights = tokens[known], numbers[known], weights[known]
    candidates, columns = np.unique(tokens, return_inverse=True)
    rows, width = len(_TRUSTS), len(candidates)
    counts = np.bincount(numbers * width + columns, weights, rows * width).reshape(rows, width)
    totals = counts.sum(axis=1)
    present = totals > 0
    if not present.any():
        return None
    return Evidence(candidates, counts[present] / totals[present, None], _TRUSTS[present])


def mixed(logits: Logits, evidence: Evidence, scale: float) -> Logits:
    """Logits of the interpolation, every λ multiplied by `scale`.

    Only the evidence's tokens change: the others keep their logits, to which the sum is scaled.
    """
    trusts = np.minimum(scale * evidence.trusts, _MOST)
    left = np.cumprod(1 - trusts[::-1])[::-1]  # of what a step leaves, after the later ones
    mass = (trusts * left / (1 - trusts)) @ evidence.shares
    top = float(logits.max())
    total = float(np.exp(logits - top).sum())
    own = np.exp(logits[evidence.tokens] - top) / total
    result = logits.copy()
    with np.errstate(divide="ignore"):
        result[evidence.tokens] = np.log(own + mass / left[0]) + math.log(total) + top
    return result


def _trusts() -> Numbers:
    doublings = np.log2(LENGTHS)
    odds = [offset + slope * doublings for offset, slope in (STORED, NEAR)]
    return np.asarray(1 / (1 + np.exp(-np.concatenate(odds))))


_TRUSTS = _trusts()
_STEPS = [
    {length: first + number for number, length in enumerate(LENGTHS)} for first in (0, len(LENGTHS))
]
