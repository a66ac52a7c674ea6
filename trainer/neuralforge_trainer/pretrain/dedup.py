"""Near-duplicates by MinHash: copies inside the corpus, and copies of what is evaluated.

Invariant: of files at least as similar as the threshold, the first stays; a file that is near to
one of an evaluation repository never does. Method: Broder 1997, banded as in datasketch.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

_PERMUTATIONS = 64
_SHINGLE = 5
_TOKEN = re.compile(r"\w+|[^\w\s]")
_FEWEST_TOKENS = 20


class NearDuplicates:
    """An index of texts that answers whether a new one is near to one of them."""

    def __init__(self, similarity: float) -> None:
        from datasketch import MinHashLSH  # type: ignore[import-untyped]

        self._index = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS)
        self._count = 0

    def add(self, text: str) -> bool:
        """Take `text` in unless a near-duplicate is there; whether it was taken."""
        signature = _signature(text)
        if signature is None or self._index.query(signature):
            return False
        self._insert(signature)
        return True

    def extend(self, texts: Iterable[str]) -> None:
        """Take in `texts` whatever is there already; too short ones are passed over."""
        for text in texts:
            signature = _signature(text)
            if signature is not None:
                self._insert(signature)

    def has(self, text: str) -> bool:
        """Whether something near to `text` is in the index."""
        signature = _signature(text)
        return signature is not None and bool(self._index.query(signature))

    def _insert(self, signature: Any) -> None:
        self._index.insert(str(self._count), signature)
        self._count += 1


def _signature(text: str) -> Any | None:
    """MinHash over shingles of five tokens; None for a text with hardly any."""
    from datasketch import MinHash

    tokens = [zlib.crc32(token.encode("utf-8", "replace")) for token in _TOKEN.findall(text)]
    if len(tokens) < _FEWEST_TOKENS:
        return None
    columns = np.array(tokens, dtype=np.uint64)
    mixed = np.zeros(len(tokens) - _SHINGLE + 1, dtype=np.uint64)
    for offset in range(_SHINGLE):  # a polynomial hash of each shingle, modulo 2**64
        mixed = mixed * np.uint64(1_000_003) + columns[offset : offset + len(mixed)]
    folded = np.unique(mixed ^ (mixed >> np.uint64(29))) & np.uint64(0xFFFFFFFF)
    signature = MinHash(num_perm=_PERMUTATIONS, hashfunc=int)
    signature.update_batch(folded.tolist())
    return signature
