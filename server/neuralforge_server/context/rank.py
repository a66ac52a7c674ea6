"""Which pieces of other files help most at a cursor, and how many of them fit.

Invariant: a pure function of what it is given, ties broken by path and line, so that the same
situation gives the same snippets in the same order. What the prompt shows already, or another
snippet says too, is left out: a base echoes what it sees twice. Knows no file and no index.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from neuralforge_adapters.language import language_of
from neuralforge_server.context.search import Piece
from neuralforge_server.context.words import identifiers, parts

_ABOVE, _BELOW = 24, 6
"""Lines around the cursor that a query is made of."""
_LONGEST_LINE = 1_000
_HALF = 2.0
"""Lines away from the cursor, a word weighs half as much."""
_BELOW_FACTOR = 0.5
_PART_FACTOR = 0.3
_QUERY_WORDS = 32
_QUERY_POSTINGS = 4_000
"""Entries of the index that one query may visit: about 6 ms."""
_TYPICAL_CHARS = 400
_LENGTH_SHARE = 0.4
"""How far length counts against a piece: BM25's b."""

_RECENT, _OPEN, _BESIDE, _FOREIGN = 1.4, 1.2, 1.15, 0.3
"""Factors: a place edited lately, another open file, the same folder, another language."""

SHOWN_LIMIT, TWICE_LIMIT = 0.5, 0.9
"""Share of a piece's lines that the prompt, or another piece, may show too."""
_LEAST_CHARS = 60
"""A piece shorter than this says nothing, and its path costs as much."""
_HEADER_CHARS = 12
"""What a snippet's path line costs besides the path."""


@dataclass(frozen=True)
class Focus:
    """What the user is at: words near the cursor, in lower case, with their weights."""

    path: str
    weights: Mapping[str, float]
    names: Mapping[str, float]
    """The identifiers among them, in their own case."""

    @classmethod
    def at(cls, path: str, lines: Sequence[str], line: int) -> Focus:
        """The focus at a cursor in a line of `lines`."""
        names: dict[str, float] = {}
        for place in range(max(0, line - _ABOVE), min(len(lines), line + _BELOW + 1)):
            side = _BELOW_FACTOR if place > line else 1.0
            weight = side / (1 + abs(place - line) / _HALF)
            for name in identifiers(lines[place][:_LONGEST_LINE]):
                names[name] = max(weight, names.get(name, 0.0))
        weights: dict[str, float] = {}
        for name, weight in names.items():
            for word, share in ((name.lower(), 1.0), *((p, _PART_FACTOR) for p in parts(name))):
                weights[word] = max(weight * share, weights.get(word, 0.0))
        return cls(path, weights, names)

    def query(self, counts: Mapping[str, int], total: int) -> list[str]:
        """The words to look up: heavy and rare ones, as far as looking them up is cheap."""
        known = [word for word in self.weights if word in counts]
        known.sort(key=lambda word: (-self.weights[word] * rarity(counts[word], total), word))
        chosen, room = list[str](), _QUERY_POSTINGS
        for word in known:
            if counts[word] <= room and len(chosen) < _QUERY_WORDS:
                chosen.append(word)
                room -= counts[word]
        return chosen


def rarity(count: int, total: int) -> float:
    """Inverse document frequency, as in BM25 (Robertson and Zaragoza 2009)."""
    return math.log(1 + (max(total, count) - count + 0.5) / (count + 0.5))


@dataclass(frozen=True)
class Ranker:
    """Scores pieces for one focus; all of it is fixed while one prompt is made."""

    focus: Focus
    values: Mapping[str, float]
    """Weight times rarity of each word."""
    open_paths: frozenset[str]
    recent: Callable[[Piece], bool]
    """Whether a place of the piece was edited lately."""

    @classmethod
    def of(
        cls,
        focus: Focus,
        counts: Mapping[str, int],
        total: int,
        open_paths: Iterable[str],
        recent: Callable[[Piece], bool],
    ) -> Ranker:
        """A ranker, for words that occur in `counts` of the `total` chunks."""
        values = {
            word: weight * rarity(counts.get(word, 1), total)
            for word, weight in focus.weights.items()
        }
        return cls(focus, values, frozenset(open_paths), recent)

    def score(self, piece: Piece) -> float:
        """How much the piece has to do with what the user is at; 0 for nothing."""
        values = self.values
        matched = sum(values[word] for word in values.keys() & piece.words)
        length = 1 - _LENGTH_SHARE + _LENGTH_SHARE * len(piece.text) / _TYPICAL_CHARS
        return matched / length * self._bonus(piece)

    def _bonus(self, piece: Piece) -> float:
        own = self.focus.path
        bonus = 1.0
        if piece.path in self.open_paths and piece.path != own:
            bonus *= _OPEN
        if self.recent(piece):
            bonus *= _RECENT
        if posixpath.dirname(piece.path) == posixpath.dirname(own):
            bonus *= _BESIDE
        if _language(piece.path) != _language(own):
            bonus *= _FOREIGN
        return bonus

    def ranked(self, pieces: Iterable[Piece]) -> list[tuple[float, Piece]]:
        """Pieces that have anything to do with it, best first."""
        scored = [(self.score(piece), piece) for piece in pieces]
        return sorted(
            ((score, piece) for score, piece in scored if score > 0),
            key=lambda pair: (-pair[0], pair[1].path, pair[1].first, pair[1].text),
        )


_language = lru_cache(1 << 14)(language_of)


def choose(
    ranked: Iterable[Piece], shown: str, budget_chars: int, refused: Callable[[str], bool]
) -> list[Piece]:
    """As many of the first pieces as fit into the budget and say something new.

    `refused` tells a text that must not be shown; it is asked last, since it is slow.
    """
    visible, chosen, said = _lines(shown), list[Piece](), list[set[str]]()
    room = budget_chars
    for piece in ranked:
        if room < _LEAST_CHARS:
            break
        cost = len(piece.text) + len(piece.path) + _HEADER_CHARS
        lines = _lines(piece.text)
        if cost > room or len(piece.text) < _LEAST_CHARS or not lines:
            continue
        if _share(lines, visible) > SHOWN_LIMIT or any(
            _share(lines, others) > TWICE_LIMIT for others in said
        ):
            continue
        if refused(piece.text):
            continue
        chosen.append(piece)
        said.append(lines)
        room -= cost
    return chosen


def _lines(text: str) -> set[str]:
    """Lines by which texts are compared: without indentation, brackets alone, blank ones."""
    stripped = (line.strip() for line in text.splitlines())
    return {line for line in stripped if any(character.isalnum() for character in line)}


def _share(lines: set[str], others: set[str]) -> float:
    return len(lines & others) / len(lines)
