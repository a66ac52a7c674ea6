"""Where text that somebody wrote in one go is cut into middles.

Invariant: a middle has at most three lines and no white space at its end, none overlaps another,
and each holds at least `LEAST_VISIBLE` visible characters. Knows no syntax and no history.
"""

from __future__ import annotations

from collections.abc import Iterator

from neuralforge_trainer.samples.lines import line_spans, visible

LEAST_VISIBLE = 3
"""Characters; a shorter middle teaches punctuation."""
BLOCK_LINES = 3
"""Lines of one middle at most (Giagnorio et al., TOSEM 2025)."""
_MOST_MIDDLES = 24

Span = tuple[int, int]


def written_spans(text: str) -> list[Span]:
    """Middles of `text`: of up to three lines the whole, of more each line, as it is typed.

    A longer text than 24 lines is rather pasted than written: its first 24 count.
    """
    return [span for span in _spans(text) if visible(text[slice(*span)]) >= LEAST_VISIBLE]


def _spans(text: str) -> Iterator[Span]:
    filled = [span for span in line_spans(text) if text[slice(*span)].strip()]
    if len(filled) > BLOCK_LINES:
        yield from ((start, _trimmed(text, start, end)) for start, end in filled[:_MOST_MIDDLES])
    elif filled:
        yield filled[0][0], _trimmed(text, *filled[-1])


def _trimmed(text: str, start: int, end: int) -> int:
    return start + len(text[start:end].rstrip())
