"""The copier: pastes the rest of the line with the longest match to its left.

The baseline that every learned system has to beat. It searches the training commits' file
states and the item's own file above the cursor for the longest text that ends as the text left
of the cursor does (across lines, so that the lines above count too), and pastes what follows.

Invariant: of several places with the longest match the most recent wins, the file's own lines
first; what it pastes is never blank. Knows no syntax, language or token.
"""

from __future__ import annotations

from collections.abc import Iterable

from neuralforge_trainer.samples.git import CommitChange
from neuralforge_trainer.samples.lines import split_lines

_LONGEST_MATCH = 400  # characters to the left that are compared


class Copier:
    """Completes lines by copying from `texts`, given oldest first."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._backwards = "\n".join(map(_backwards, reversed(list(texts)))) + "\n"

    @classmethod
    def of_changes(cls, train: Iterable[CommitChange]) -> Copier:
        """A copier that knows what the training commits show.

        Every file is kept as the last commit left it, and of its earlier states the lines that
        stand in none of these.
        """
        latest: dict[str, str] = {}
        lines: dict[str, None] = {}
        for change in train:
            for file in change.files:
                latest.pop(file.path, None)  # files in the order of their last change
                latest[file.path] = file.text
                lines |= dict.fromkeys(split_lines(file.text))
        present = {line for text in latest.values() for line in split_lines(text)}
        gone = [line for line in lines if line not in present]
        return cls(["\n".join(gone), *latest.values()])

    def complete(self, prefix: str) -> str:
        """The rest of the line after `prefix`; empty where nothing matches."""
        above, _, _ = prefix.rpartition("\n")
        own = _backwards(above) + "\n"
        wanted = "\n".join(split_lines(prefix[-_LONGEST_MATCH:]))[::-1]
        places = [
            (own, *_longest(own, wanted)),
            (self._backwards, *_longest(self._backwards, wanted)),
        ]
        text, length, place = max(places, key=lambda found: found[1])  # of equals, the file's own
        if not length:
            return ""
        start = text.rfind("\n", 0, place) + 1
        return text[start:place][::-1]


def _backwards(text: str) -> str:
    """`text` back to front, without white space at the ends of its lines.

    Back to front, a search finds the most recent place first, and a place with something to
    paste is one whose preceding character ends no line.
    """
    return "\n".join(line.rstrip() for line in split_lines(text))[::-1]


def _longest(text: str, wanted: str) -> tuple[int, int]:
    """(length, place) of the longest start of `wanted` found in `text` with something before it.

    If n characters are found, so are fewer, at the same place: hence the bisection.
    """
    low, place = 0, 0
    high = len(wanted)
    while low < high:
        middle = (low + high + 1) // 2
        found = _find(text, wanted[:middle])
        if found < 0:
            high = middle - 1
        else:
            low, place = middle, found
    return low, place


def _find(text: str, wanted: str) -> int:
    place = text.find(wanted, 1)
    while place > 0 and text[place - 1] == "\n":
        place = text.find(wanted, place + 1)
    return place
