"""A file in pieces of a few lines, cut where the code itself has a joint.

Invariant: the chunks of a text are disjoint and in order, and hold every line but blank ones and
those beside a line too long to show; the same text is always cut alike. A joint is told by blank
lines and indentation, which every language has. Knows no language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_LINES, MOST_LINES = 6, 16
_MOST_CHARS = 1_200
_LONGEST_LINE = 400
"""Characters; a longer line is data, and would fill the whole budget of a prompt."""
_TAB = 4
_TORN, _CLOSING = 2, 8
"""Costs, in columns, of a cut without a blank line, and of one before a closing bracket."""


@dataclass(frozen=True)
class Chunk:
    """Lines [first, last) of a file."""

    first: int
    last: int
    text: str


def cut(lines: Sequence[str]) -> list[Chunk]:
    """The chunks of a file, given as lines with their ends."""
    costs = _costs(lines)
    found, first = [], 0
    while first < len(lines):
        if not lines[first].strip():
            first += 1
            continue
        last = _end(lines, first, costs)
        text = "".join(lines[first:last]).rstrip()
        if max(map(len, lines[first:last])) <= _LONGEST_LINE:
            found.append(Chunk(first, last, text))
        first = last
    return found


def _end(lines: Sequence[str], first: int, costs: Sequence[int]) -> int:
    """Where the chunk that begins at `first` ends best."""
    most = _reach(lines, first)
    if most == len(lines):
        return most
    least = min(first + LEAST_LINES, most)
    return min(range(least, most + 1), key=costs.__getitem__)


def _reach(lines: Sequence[str], first: int) -> int:
    """The first line that is too much for the chunk."""
    room, place = _MOST_CHARS, first
    while place < len(lines) and place - first < MOST_LINES:
        room -= len(lines[place])
        if room < 0 and place > first:
            break
        place += 1
    return place


def _costs(lines: Sequence[str]) -> list[int]:
    """How much a cut before each line tears apart: its depth, less after a blank line."""
    costs, below = [0] * len(lines), 0
    for place in range(len(lines) - 1, -1, -1):
        line = lines[place][:_LONGEST_LINE].expandtabs(_TAB)
        if code := line.lstrip():
            torn = _TORN if place and lines[place - 1].strip() else 0
            below = len(line) - len(code) + torn + (_CLOSING if code[0] in ")]}" else 0)
        costs[place] = below
    return costs
