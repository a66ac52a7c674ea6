"""Near-duplicates by MinHash: whether a text is hardly different from one that was seen before.

Similarity is Jaccard's, of shingles of tokens. Invariant: what is at least as similar as the
threshold is found, but for the chance that lies in the method (Broder 1997, banded as in
datasketch: at a threshold of 0.8 a similarity of 0.6 is taken for near once in a hundred times).
Knows no file and no sample.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

_PERMUTATIONS = 64
_TOKEN = re.compile(r"\w+|[^\w\s]")


class NearDuplicates:
    """An index of texts that answers whether a new one is near to one of them."""

    def __init__(self, similarity: float, shingle: int = 5, fewest: int = 20) -> None:
        """`shingle` in tokens; a text of fewer than `fewest` tokens is near to none."""
        from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]

        self._index = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS)
        self._blank = MinHash(num_perm=_PERMUTATIONS, hashfunc=int)
        self._shingle = shingle
        self._fewest = max(shingle, fewest)
        self._count = 0

    def add(self, text: str) -> bool:
        """Take `text` in unless a near-duplicate is there; whether it was taken."""
        signature = self._signature(text)
        if signature is None or self._index.query(signature):
            return False
        self._insert(signature)
        return True

    def extend(self, texts: Iterable[str]) -> None:
        """Take in `texts` whatever is there already; too short ones are passed over."""
        for text in texts:
            signature = self._signature(text)
            if signature is not None:
                self._insert(signature)

    def has(self, text: str) -> bool:
        """Whether something near to `text` is in the index."""
        signature = self._signature(text)
        return signature is not None and bool(self._index.query(signature))

    def _insert(self, signature: Any) -> None:
        self._index.insert(str(self._count), signature)
        self._count += 1

    def _signature(self, text: str) -> Any | None:
        """MinHash over the shingles of `text`; None where it has hardly any."""
        tokens = [zlib.crc32(token.encode("utf-8", "replace")) for token in _TOKEN.findall(text)]
        if len(tokens) < self._fewest:
            return None
        columns = np.array(tokens, dtype=np.uint64)
        mixed = np.zeros(len(tokens) - self._shingle + 1, dtype=np.uint64)
        for offset in range(self._shingle):  # a polynomial hash of each shingle, modulo 2**64
            mixed = mixed * np.uint64(1_000_003) + columns[offset : offset + len(mixed)]
        folded = np.unique(mixed ^ (mixed >> np.uint64(29))) & np.uint64(0xFFFFFFFF)
        signature = self._blank.copy()
        signature.update_batch(folded.tolist())
        return signature
