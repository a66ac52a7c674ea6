"""Takes duplicates out, of what is learnt and of what is held out from it.

Invariant: of samples that ask for the same text at the same kind of place, the first stays, and
so it does of samples whose neighbourhoods are nearly the same (Jaccard 0.8 of shingles of three
tokens): moved, renamed and committed again. White space and numbers never tell two apart. Knows
no split; whoever holds out asks `repeats` of what is trained on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from neuralforge_trainer.samples.lines import split_lines
from neuralforge_trainer.samples.near import NearDuplicates
from neuralforge_trainer.samples.sample import Sample

SIMILARITY = 0.8
"""Jaccard's, from which on two neighbourhoods are the same."""

_SHINGLE, _FEWEST = 3, 10
_CONTEXT_LINES = 3  # the line's left part and two lines above it
_LINES_AFTER = 2  # the line's right part and one line below it
_CONTEXT_CHARACTERS = 1_000
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Passage:
    """A middle and what stands around it, as two of them are compared."""

    prefix: str
    middle: str
    suffix: str
    language: str

    @classmethod
    def of(cls, sample: Sample) -> Passage:
        """The passage that `sample` shows."""
        return cls(sample.prefix, sample.middle, sample.suffix, sample.language)

    @property
    def above(self) -> list[str]:
        """The lines above and the line's left part."""
        return split_lines(self.prefix[-_CONTEXT_CHARACTERS:])[-_CONTEXT_LINES:]

    @property
    def key(self) -> bytes:
        """Equal for exact duplicates."""
        parts = [self.language, *map(_normalised, self.above), "", _normalised(self.middle)]
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).digest()

    @property
    def neighbourhood(self) -> str:
        """The lines around the middle's beginning, however far it goes."""
        after = split_lines((self.middle + self.suffix)[:_CONTEXT_CHARACTERS])[:_LINES_AFTER]
        return _NUMBER.sub("0", "\n".join(self.above) + "\n".join(after))


def _near() -> NearDuplicates:
    return NearDuplicates(SIMILARITY, _SHINGLE, _FEWEST)


@dataclass
class Distinct:
    """Takes samples in one by one, each unless it repeats one that was taken in before."""

    exact: int = 0
    """Exact duplicates that were refused."""
    near: int = 0
    """Near-duplicates that were refused."""
    _keys: set[bytes] = field(default_factory=set)
    _index: NearDuplicates = field(default_factory=_near)

    def admits(self, sample: Sample) -> bool:
        """Whether `sample` is new; from then on it no longer is."""
        passage = Passage.of(sample)
        key = passage.key
        if key in self._keys:
            self.exact += 1
            return False
        self._keys.add(key)
        text = passage.neighbourhood
        if self._index.has(text):
            self.near += 1
            return False
        self._index.extend([text])
        return True

    def take(self, passage: Passage) -> None:
        """Take `passage` in, whatever it repeats."""
        self._keys.add(passage.key)
        self._index.extend([passage.neighbourhood])

    def repeats(self, passage: Passage) -> bool:
        """Whether `passage` is a duplicate, exact or near, of what was taken in."""
        return passage.key in self._keys or self._index.has(passage.neighbourhood)


def distinct(samples: Iterable[Sample]) -> list[Sample]:
    """`samples` in order, without the later ones of each set of duplicates, exact or near."""
    seen = Distinct()
    return [sample for sample in samples if seen.admits(sample)]


def _normalised(text: str) -> str:
    return _NUMBER.sub("0", " ".join(text.split()))
