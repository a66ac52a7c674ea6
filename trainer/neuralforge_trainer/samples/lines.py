r"""Where the lines of a text lie.

Invariant: lines end at \n, \r\n and \r only, as in the Language Server Protocol, so that a
line number means the same here as in the editor (str.splitlines splits elsewhere too).
"""

from __future__ import annotations

import re

_END = re.compile(r"\r\n|\n|\r")


def split_lines(text: str) -> list[str]:
    """The lines of `text` without their ends; after a final line end comes an empty one."""
    return _END.split(text)


def line_spans(text: str) -> list[tuple[int, int]]:
    """For each line of `split_lines`, where it starts and where it ends (its line end left out)."""
    ends = [match.span() for match in _END.finditer(text)]
    starts = [0, *(after for _, after in ends)]
    return list(zip(starts, [*(before for before, _ in ends), len(text)], strict=True))


def visible(text: str) -> int:
    """How many characters of `text` are not white space."""
    return sum(not character.isspace() for character in text)
