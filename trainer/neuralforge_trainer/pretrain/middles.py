"""Where a document is cut into prefix, middle and suffix.

Invariant: the middle is a span of the document; the kinds occur in fixed shares, and each is one
that a cursor meets: the rest of a line, a line, several lines, a syntax node, any characters, or
nothing at all at a line's end (which teaches to stop). Knows no token.
"""

from __future__ import annotations

import random

from neuralforge_trainer.samples.syntax import Tree

_KINDS = {
    "rest": 0.34,
    "line": 0.16,
    "lines": 0.12,
    "node": 0.16,
    "characters": 0.17,
    "nothing": 0.05,
}
_MOST_LINES = 6
_NODE = (8, 500)
_MOST_CHARACTERS = 300

Span = tuple[int, int]


def draw_middle(text: str, tree: Tree, near: int, random_source: random.Random) -> Span:
    """A middle of `text` that begins near the character `near`."""
    (kind,) = random_source.choices(list(_KINDS), list(_KINDS.values()))
    if kind == "node":
        node = tree.node_at(near, random_source.choice((_NODE[0], 24, 80)), _NODE[1])
        if node is not None:
            return node
        kind = "rest"
    if kind == "characters":
        return near, min(len(text), near + int(_MOST_CHARACTERS ** random_source.random()))
    start, end = _line_at(text, near)
    if kind == "nothing":
        return end, end
    if kind == "rest":
        return random_source.randint(start, end), end
    if kind == "lines":
        for _ in range(random_source.randint(1, _MOST_LINES - 1)):
            end = _line_end(text, min(end + 1, len(text)))
        end = start + len(text[start:end].rstrip())
    indented = start + len(text[start:end]) - len(text[start:end].lstrip())
    return random_source.choice((start, indented, indented)), end


def _line_at(text: str, near: int) -> Span:
    """The line around `near`, or the next one that is not blank."""
    start = text.rfind("\n", 0, near) + 1
    end = _line_end(text, start)
    while not text[start:end].strip() and end < len(text):
        start, end = end + 1, _line_end(text, end + 1)
    return start, end


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
