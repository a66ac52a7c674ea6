"""Cursors: the text around one, and how one cursor follows from another.

Invariant: `since` names exactly what a user did between two cursors, typing on or deleting on one
line, and nothing where anything else has changed as well. Knows no engine and no cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neuralforge_adapters.fim import Window, split_lines
from neuralforge_server.documents import Document, Position

_CLOSERS = frozenset(")]}\"'`>")
_MAX_CLOSED = 3


class Step(NamedTuple):
    """What a user did from one cursor to another: one of the two is empty."""

    typed: str
    deleted: str


@dataclass(frozen=True, eq=False)
class Spot:
    """A cursor (code points) and the text around it that a prompt is made of."""

    document: Document
    position: Position
    prefix: str
    suffix: str

    @classmethod
    def at(cls, document: Document, position: Position, window: Window) -> Spot:
        """The spot in the document as it is now."""
        prefix, suffix = window.cut(document.lines, position.line, position.character)
        return cls(document, position, prefix, suffix)

    @property
    def line_rest(self) -> str:
        """What stands right of the cursor on its line."""
        return split_lines(self.suffix + "\n")[0].rstrip("\r\n")

    def is_at(self, other: Spot) -> bool:
        """Whether it is the same place in the same text."""
        here = (self.position, self.prefix, self.suffix)
        there = (other.position, other.prefix, other.suffix)
        return self.document is other.document and here == there

    def since(self, origin: Spot) -> Step | None:
        """What was typed or deleted from `origin` to here; None: something else has changed."""
        if self.document is not origin.document or not _same_suffix(self.suffix, origin.suffix):
            return None
        if self.position >= origin.position:
            return self._typed_since(origin)
        if self.position.line != origin.position.line:
            return None
        deleted = origin.prefix[self.position.character - origin.position.character :]
        before = origin.prefix[: len(origin.prefix) - len(deleted)]
        return Step("", deleted) if _same_ends(self.prefix, before) else None

    def _typed_since(self, origin: Spot) -> Step | None:
        typed = self.document.between(origin.position, self.position)
        if not self.prefix.endswith(typed):
            return None
        before = self.prefix[: len(self.prefix) - len(typed)]
        return Step(typed, "") if _same_ends(before, origin.prefix) else None

    def after(self, inserted: str, replaced: int, window: Window) -> tuple[Spot, Sequence[str]]:
        """The spot, and the lines, with `inserted` in place of the next `replaced` code points."""
        lines, there = _inserted(self, inserted, replaced), moved(self.position, inserted)
        prefix, suffix = window.cut(lines, there.line, there.character)
        return Spot(self.document, there, prefix, suffix), lines


def moved(position: Position, typed: str) -> Position:
    """The position after `typed` was inserted at `position`."""
    lines = split_lines(typed + ".")  # the dot: a line end at the end begins a line
    start = position.character if len(lines) == 1 else 0
    return Position(position.line + len(lines) - 1, start + len(lines[-1]) - 1)


def _inserted(spot: Spot, text: str, replaced: int) -> Sequence[str]:
    lines, line = list(spot.document.lines), spot.position.line
    here = lines[line] if line < len(lines) else ""
    left, right = here[: spot.position.character], here[spot.position.character + replaced :]
    if lines and lines[0].endswith("\r\n"):
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    lines[line : line + 1] = split_lines(left + text + right)
    return lines


def _same_ends(one: str, other: str) -> bool:
    """Whether the shorter text ends the longer: windows may begin at different lines."""
    return one.endswith(other) if len(one) >= len(other) else other.endswith(one)


def _same_beginnings(one: str, other: str) -> bool:
    """Whether the shorter text begins the longer: windows may end at different lines."""
    return one.startswith(other) if len(one) >= len(other) else other.startswith(one)


def _same_suffix(now: str, then: str) -> bool:
    """The same, but for the brackets and quotes that the editor closed by itself."""
    for closed in range(_MAX_CLOSED + 1):
        if _same_beginnings(now[closed:], then):
            return True
        if closed >= len(now) or now[closed] not in _CLOSERS:
            return False
    return False
