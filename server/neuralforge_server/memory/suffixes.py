"""Sorts the suffixes of a token text to a bounded depth.

Algorithm: prefix doubling (Manber & Myers 1993), begun with as many tokens as fit into one 64-bit
word, so that a depth of 32 takes four sorts of integers. Pure; knows no file and no document.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def sorted_suffixes(text: npt.NDArray[np.integer], depth: int) -> npt.NDArray[np.uint32]:
    """Starts of all suffixes of `text`, in the order of their first `depth` tokens.

    What is past the end sorts before every token. Suffixes equal to that depth stand in the
    order of their starts. `depth` is a power of two.
    """
    rank, known = _packed(text.astype(np.uint64), depth)
    while True:
        order = np.argsort(rank, kind="stable").astype(np.uint32)
        if known >= depth:
            return order
        dense = _dense(rank, order)
        if int(dense.max(initial=0)) == len(text):
            return order  # all differ already
        rank = (dense << np.uint64(32)) | _shifted(dense, known)
        known *= 2


def _packed(text: npt.NDArray[np.uint64], depth: int) -> tuple[npt.NDArray[np.uint64], int]:
    """The first tokens of every suffix as one number, and how many those are."""
    bits = (int(text.max(initial=0)) + 1).bit_length()
    rank = text + np.uint64(1)
    known = 1
    while known < depth and 2 * known * bits <= 64:
        rank = (rank << np.uint64(known * bits)) | _shifted(rank, known)
        known *= 2
    return rank, known


def _shifted(rank: npt.NDArray[np.uint64], by: int) -> npt.NDArray[np.uint64]:
    """Of every suffix, the rank of the one `by` tokens later; 0 past the end."""
    later = np.zeros_like(rank)
    later[: max(0, len(rank) - by)] = rank[by:]
    return later


def _dense(rank: npt.NDArray[np.uint64], order: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """Ranks counted from 1, equal ones alike; `order` sorts `rank`."""
    ordered = rank[order]
    steps = np.ones(len(rank), dtype=np.uint64)
    np.not_equal(ordered[1:], ordered[:-1], out=steps[1:], casting="unsafe")
    dense = np.empty_like(steps)
    dense[order] = np.cumsum(steps, dtype=np.uint64)
    return dense
