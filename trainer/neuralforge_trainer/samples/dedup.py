"""Takes duplicates out, before anything is split into training and held-out samples.

Invariant: of samples that ask for the same text at the same kind of place, the first stays.
Two samples are duplicates if middle, the line's left part and the two lines above agree but for
white space and numbers. Knows no near duplicates beyond that: moved and renamed code passes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from neuralforge_trainer.samples.sample import Sample

_CONTEXT_LINES = 3  # the line's left part and two lines above it
_CONTEXT_CHARACTERS = 1_000
_NUMBER = re.compile(r"\d+")


def unique(samples: Iterable[Sample]) -> list[Sample]:
    """`samples` in order, without the later ones of each set of duplicates."""
    kept: dict[bytes, Sample] = {}
    for sample in samples:
        kept.setdefault(_key(sample), sample)
    return list(kept.values())


def _key(sample: Sample) -> bytes:
    above = sample.prefix[-_CONTEXT_CHARACTERS:].split("\n")[-_CONTEXT_LINES:]
    parts = [sample.language, *map(_normalised, above), "", _normalised(sample.middle)]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).digest()


def _normalised(text: str) -> str:
    return _NUMBER.sub("0", " ".join(text.split()))
