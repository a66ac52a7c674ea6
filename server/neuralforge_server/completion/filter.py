"""What of a generated text is fit to be shown, and how much to the right of the cursor it replaces.

Invariant: accepting a suggestion neither doubles what already stands right of the cursor nor
swallows anything else. Pure; knows no engine and no document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

_SPECIAL = re.compile(r"<\|[^|>\s]{1,40}\|>|<(?:fim|file|repo|reponame|filename)_[a-z_]{1,20}>")
_PARTIAL_SPECIAL = re.compile(r"<\|[^|>\s]{0,40}\|?$")
_PAIRS = {")": "(", "]": "[", "}": "{"}
_QUOTES = "\"'`"
_CLOSERS = frozenset(_PAIRS) | frozenset(_QUOTES)
_PUNCTUATION = _CLOSERS | frozenset(";:,>")


@dataclass(frozen=True)
class Shaped:
    """A text to insert at the cursor, in place of the next `replaces` code points of its line."""

    text: str
    replaces: int


def shape(
    text: str, line_prefix: str, line_suffix: str, next_line: str = "", max_lines: int = 1
) -> Shaped | None:
    """`text` as it may be shown, None where there is nothing worth showing.

    Args:
        line_prefix: what stands left of the cursor on its line.
        line_suffix: what stands right of it, without the line end.
        next_line: the first line below that is not blank.
        max_lines: lines that a suggestion may have.
    """
    tail = line_suffix.rstrip()
    # what stands right of the cursor belongs after the first line of a suggestion, so only one
    text = cut_lines(cut_special(text), 1 if tail else max_lines)
    words = text.strip()
    if not words or words == tail.strip() or (not tail and words == next_line.strip()):
        return None
    return Shaped(text, overlap(text, tail, open_quote(line_prefix)))


def cut_special(text: str) -> str:
    """`text` up to the first special token of a base, a begun one at the end included."""
    match = _SPECIAL.search(text) or _PARTIAL_SPECIAL.search(text)
    return text[: match.start()] if match else text


def cut_lines(text: str, max_lines: int) -> str:
    """The first `max_lines` lines without the last one's end and trailing blanks."""
    lines = re.split(r"\r\n|\n|\r", text, maxsplit=max_lines)[:max_lines]
    lines[-1] = lines[-1].rstrip()
    return "\n".join(lines)


def overlap(text: str, tail: str, quote: str = "") -> int:
    """Code points of `tail` that `text` brings along itself.

    They are what the text ends with, or the brackets and quotes that it closes without having
    opened them: those that an editor closed by itself. `quote` is the one that the cursor is in.
    """
    if tail and text.endswith(tail) and not set(tail) <= _PUNCTUATION:
        return len(tail)
    closed = unopened_closers(text, quote)
    for length in range(len(tail), 0, -1):
        part = tail[:length]
        closers = "".join(c for c in part if c in _CLOSERS)
        if set(part) <= _PUNCTUATION and text.endswith(part) and closed.endswith(closers):
            return length
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(tail, closed)))  # noqa: B905


def open_quote(line_prefix: str) -> str:
    """The quote that the end of `line_prefix` is within; empty outside of any string."""
    opened = _scan(line_prefix, [])[0]
    return opened[-1] if opened and opened[-1] in _QUOTES else ""


def unopened_closers(text: str, quote: str = "") -> str:
    """The closing brackets and quotes in `text` whose opening ones stand before it, in order."""
    return _scan(text, [quote] if quote else [])[1]


def _scan(text: str, opened: list[str]) -> tuple[list[str], str]:
    """What is still open after `text`, and what it closed without having opened it.

    A quote in `opened` at the start was opened before `text`.
    """
    closers, before = "", len(opened)
    for character in text:
        within = opened[-1] if opened and opened[-1] in _QUOTES else ""
        if within and character != within:
            continue
        if within or (opened and opened[-1] == _PAIRS.get(character)):
            if len(opened) == before:
                before, closers = 0, closers + character
            opened.pop()
        elif character in _QUOTES or character in _PAIRS.values():
            opened.append(character)
        elif character in _PAIRS:
            closers += character
    return opened, closers
