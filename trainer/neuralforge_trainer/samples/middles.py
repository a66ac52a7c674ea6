"""Where a line that the user wrote begins a middle, and where that ends.

Invariant: a middle starts on its line and ends within the added lines; it ends in no white space
and holds at least `LEAST_VISIBLE` visible characters; the same random source draws the same one.
Knows no history and no token.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from neuralforge_trainer.samples.syntax import Tree
from neuralforge_trainer.samples.written import BLOCK_LINES, LEAST_VISIBLE

SHARES = {"rest": 0.5, "line": 0.15, "block": 0.15, "node": 0.12, "characters": 0.08}
"""How often each kind is drawn: the rest of the line from any column, the whole line, the line
with one or two below it, a whole node of the syntax tree, any run of characters."""

_LONGEST_NODE = 400
_MOST_CHARACTERS = 120

Span = tuple[int, int]


@dataclass(frozen=True)
class Place:
    """An added line of a text, by number, and the last line that was added along with it."""

    text: str
    lines: list[Span]
    number: int
    last: int
    tree: Callable[[], Tree]

    @property
    def span(self) -> Span:
        """The line without its indentation and trailing white space."""
        return text_span(self.text, self.lines[self.number])

    def end(self, most_lines: int) -> int:
        """Where the added lines from here end, if at most so many are taken."""
        final = min(self.last, self.number + most_lines - 1)
        start = self.lines[self.number][0]
        return start + len(self.text[start : self.lines[final][1]].rstrip())


def draw_middle(place: Place, random_source: random.Random) -> Span:
    """A middle that starts on `place`'s line, of a kind drawn by `SHARES`.

    Where no node of the syntax tree starts there and ends in time, the rest of the line is taken.
    """
    (kind,) = random_source.choices(list(SHARES), list(SHARES.values()))
    if kind == "node" and (node := _node(place, random_source)):
        return node
    start, end = place.span
    if kind in ("rest", "node"):
        return random_cut(place.text, (start, end), random_source), end
    if kind == "characters":
        return _characters(place, random_source)
    if kind == "block":
        end = place.end(random_source.randint(2, BLOCK_LINES))
    # the cursor stands after the indentation or, where the editor does not indent, before it
    return random_source.choice((start, place.lines[place.number][0])), end


def text_span(text: str, line: Span) -> Span:
    """`line` without its indentation and trailing white space."""
    content = text[line[0] : line[1]]
    stripped = content.strip()
    start = line[0] + len(content) - len(content.lstrip()) if stripped else line[0]
    return start, start + len(stripped)


def random_cut(text: str, span: Span, random_source: random.Random) -> int:
    """A random position in `span` after which at least `LEAST_VISIBLE` visible characters stand.

    `span` must hold that many; its first position counts, its last is never drawn.
    """
    last = span[1]
    needed = LEAST_VISIBLE
    while needed:
        last -= 1
        needed -= not text[last].isspace()
    return random_source.randint(span[0], last)


def _node(place: Place, random_source: random.Random) -> Span | None:
    """One of the whole nodes that start on the line, as a user writes them from left to right."""
    start, end = place.span
    limit = place.end(len(place.lines))
    position = random_cut(place.text, (start, end), random_source)
    nodes = [
        (first, first + len(place.text[first:after].rstrip()))
        for first, after in place.tree().nodes_at(position)
        if start <= first and after - first <= _LONGEST_NODE
    ]
    fitting = [node for node in nodes if node[1] <= limit and _is_enough(place.text, node)]
    return random_source.choice(fitting) if fitting else None


def _characters(place: Place, random_source: random.Random) -> Span:
    text, (start, end) = place.text, place.span
    first = random_cut(text, (start, end), random_source)
    after = min(place.end(BLOCK_LINES), first + int(_MOST_CHARACTERS ** random_source.random()))
    while not _is_enough(text, (first, after)):
        after += 1
    return first, first + len(text[first:after].rstrip())


def _is_enough(text: str, span: Span) -> bool:
    seen = 0
    for character in text[slice(*span)]:
        seen += not character.isspace()
        if seen == LEAST_VISIBLE:
            return True
    return False
