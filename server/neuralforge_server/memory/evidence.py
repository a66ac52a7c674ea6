"""How a context went on elsewhere: the places with the longest match to the left, and with any
shorter one, in a segment on disk or in a text held in memory.

Invariant: a place never counts that is the cursor's own (see `OwnPlace`), nor one in a document
that was replaced or removed. Where many places match, an even sample of them is counted. Knows
no model and no weights.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from neuralforge_server.memory.segment import DEPTH, Segment

LENGTHS = (1, 2, 4, 8, 16, 32)
"""Tokens of match at which places are counted."""

_SAMPLE = 128
"""Places counted at one length."""
_OWN_LEAST = 8
_OWN_MOST = 16
"""Places looked at for that: the cursor's own has few like it."""
_HEALED_MOST = 8
"""Tokens of a begun word that may stand between a context and the cursor."""
_LINE_REACH = 48
_LINES_SHOWN = 6

_BOUNDARY = -1
_NOTHING = np.empty(0, dtype=np.intp)
_EVENLY = np.arange(_SAMPLE)

Alive = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]


class Level(NamedTuple):
    """What followed where at least `length` tokens matched."""

    length: int
    tokens: npt.NDArray[np.intp]
    """One for every place counted."""
    places: float
    """How many there are; more than were counted where there are many."""


@dataclass(frozen=True)
class OwnPlace:
    """Recognises the cursor's own place in a stored copy of the document that is being edited.

    There the context goes on with the very line that is being written (or was, when the file was
    saved) and then with the lines below the cursor. It says where the user is, not what comes.
    """

    below: tuple[int, ...]
    """The first tokens of the lines below the cursor."""
    ends_line: Callable[[int], bool]

    @classmethod
    def at(cls, after: Sequence[int], ends_line: Callable[[int], bool]) -> OwnPlace:
        """The place that `after` follows: the tokens right of the cursor."""
        return cls(_below(after[:_LINE_REACH], ends_line), ends_line)

    @property
    def least(self) -> int:
        """Tokens that have to match; all that can where the file's end is all there is below."""
        return _OWN_LEAST if self.below else DEPTH

    def goes_on(self, ahead: Sequence[int]) -> bool:
        """Whether the tokens `ahead` of a place are those of the cursor's own."""
        return _below(ahead[:_LINE_REACH], self.ends_line) == self.below

    def ends_soon(self, ahead: Sequence[int]) -> bool:
        """Whether a line or its text ends within `ahead`, of which so many were asked for."""
        return len(ahead) < _HEALED_MOST or any(map(self.ends_line, ahead))


def _below(ahead: Sequence[int], ends_line: Callable[[int], bool]) -> tuple[int, ...]:
    for number, token in enumerate(ahead):
        if ends_line(token):
            return tuple(ahead[number + 1 : number + 1 + _LINES_SHOWN])
    return ()


class SegmentPlaces:
    """The places in one segment that match one context."""

    def __init__(self, segment: Segment, alive: Alive | None, context: Sequence[int]) -> None:
        self._segment = segment
        self._alive = alive
        self._key = segment.key(context)
        self._row, self.longest = segment.longest(self._key)

    def levels(self, own: OwnPlace) -> list[Level]:
        """By falling length."""
        found: list[Level] = []
        rows = (self._row, self._row + 1)
        seen: set[int] = set()
        mine: set[int] = set()
        tokens = _NOTHING
        for length in reversed(LENGTHS[: bisect.bisect_right(LENGTHS, self.longest)]):
            before, rows = rows, self._segment.widen(self._key, length, rows)
            if length >= own.least and rows[1] - rows[0] <= _OWN_MOST:
                fresh = [row for row in range(*rows) if row not in seen]
                mine.update(row for row in fresh if own.goes_on(self._ahead(row)))
                seen.update(fresh)
            if rows != before or not len(tokens):
                tokens = self._segment.following(self._counted(rows, mine))
            if len(tokens):
                share = max(1.0, (rows[1] - rows[0]) / _SAMPLE)
                found.append(Level(length, tokens, len(tokens) * share))
        return found

    def ahead(self, own: OwnPlace, count: int) -> tuple[int, list[int]]:
        """(length of the match, tokens that came after the longest one that counts)."""
        rows = (self._row, self._row + 1)
        lengths = {self.longest, *(n for n in LENGTHS if n < self.longest)} - {0}
        for length in sorted(lengths, reverse=True):
            rows = self._segment.widen(self._key, length, rows)
            for row in self._counted(rows, set())[:_OWN_MOST]:
                if length < own.least or not own.goes_on(self._ahead(int(row))):
                    return length, self._segment.ahead(int(row), count)
        return 0, []

    def _counted(self, rows: tuple[int, int], mine: set[int]) -> Places:
        low, high = rows
        if high - low > _SAMPLE:
            counted = low + _EVENLY * (high - low) // _SAMPLE
        else:
            counted = np.arange(low, high)
            if mine:
                counted = counted[~np.isin(counted, [*mine])]
        if self._alive is not None:
            counted = counted[self._alive[self._segment.documents_of(counted)]]
        return counted

    def _ahead(self, row: int) -> list[int]:
        return self._segment.ahead(row, _LINE_REACH + _LINES_SHOWN)


class LiveText:
    """Token texts held in memory, joined: open documents, or the prompt itself."""

    def __init__(self, texts: Sequence[Sequence[int] | npt.NDArray[np.int32]]) -> None:
        wall = np.full(DEPTH, _BOUNDARY, dtype=np.int32)
        parts = [wall]
        for text in texts:
            parts += [np.asarray(text, dtype=np.int32), wall[:1]]
        self._text = np.concatenate(parts)

    def append(self, token: int) -> None:
        """One more token at the end of the last text."""
        self._text = np.append(self._text, np.int32(_BOUNDARY))
        self._text[-2] = token

    def places(self, context: Sequence[int]) -> LivePlaces:
        """Those that match `context`."""
        return LivePlaces(self._text, context[-DEPTH:])


class LivePlaces:
    """The places in a text that match one context; like `SegmentPlaces`."""

    def __init__(self, text: npt.NDArray[np.int32], context: Sequence[int]) -> None:
        self._text = text
        self._found: dict[int, Places] = {}
        self.longest = 0
        if not context:
            return
        places = np.flatnonzero(text[:-1] == context[-1])
        places = places[text[places + 1] != _BOUNDARY]
        while len(places):
            self.longest += 1
            self._found[self.longest] = places
            if self.longest == len(context):
                break
            places = places[text[places - self.longest] == context[-1 - self.longest]]

    def levels(self, own: OwnPlace) -> list[Level]:
        """By falling length."""
        mine = self._mine(own)
        found: list[Level] = []
        for length in reversed([n for n in LENGTHS if n <= self.longest]):
            places = self._found[length]
            places = places[~np.isin(places, mine)] if mine else places
            if len(places):
                tokens = self._text[places[-_SAMPLE:] + 1].astype(np.intp)
                found.append(Level(length, tokens, float(len(places))))
        return found

    def ahead(self, own: OwnPlace, count: int) -> tuple[int, list[int]]:
        """(length of the match, tokens that came after the last of the longest that count)."""
        mine = self._mine(own)
        for length in range(self.longest, 0, -1):
            for place in reversed(self._found[length][-_OWN_MOST:].tolist()):
                if place not in mine:
                    return length, self._ahead(place, count)
        return 0, []

    def _mine(self, own: OwnPlace) -> list[int]:
        places = self._found.get(own.least, _NOTHING)
        if len(places) > _OWN_MOST:
            places = self._found[self.longest]
        reach = _LINE_REACH + _LINES_SHOWN
        likely = [*places[-_OWN_MOST:].tolist(), *self._whole(own)]
        return [p for p in likely if own.goes_on(self._ahead(p, reach))]

    def _whole(self, own: OwnPlace) -> list[int]:
        """Places before which all of a short text matches, and where its line ends soon."""
        found: list[int] = []
        for length in range(1, min(own.least, self.longest + 1)):
            places = self._found[length]
            found += places[self._text[places - length] == _BOUNDARY].tolist()
        return [place for place in found if own.ends_soon(self._ahead(place, _HEALED_MOST))]

    def _ahead(self, place: int, count: int) -> list[int]:
        later: list[int] = self._text[place + 1 : place + 1 + count].tolist()
        return later[: later.index(_BOUNDARY)] if _BOUNDARY in later else later
