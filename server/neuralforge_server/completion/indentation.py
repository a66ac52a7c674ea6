"""The indentation of a file, and that of a suggestion brought in line with it.

Invariant: a suggestion's lines keep their depths relative to each other; what stands left of the
cursor is never taken away. Pure; knows no cursor but the blanks left of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from neuralforge_server.engine.stopping import TAB, columns

_LEADING = re.compile(r"[ \t]*")


def unit_of(lines: Iterable[str]) -> str:
    """What one level of indentation is in `lines`: a tab or some blanks; empty if none shows."""
    steps: Counter[int] = Counter()
    tabs = spaces = before = 0
    for line in lines:
        if not line.strip():
            continue
        tabs += line[0] == "\t"
        spaces += line.startswith("  ")
        depth = columns(line)
        if depth > before and line[0] == " ":
            steps[depth - before] += 1
        before = depth
    if tabs > spaces:
        return "\t"
    likely = [step for step, _ in steps.most_common(2) if step in (2, 3, 4, 8)]
    return " " * likely[0] if likely else ""


def leading(line: str) -> str:
    """The blanks that a line begins with."""
    match = _LEADING.match(line)
    return match.group() if match else ""


def levels_above(lines: Sequence[str]) -> tuple[int, ...]:
    """Columns at which a statement below `lines` may begin, innermost first: theirs and outer."""
    levels: list[int] = []
    for line in reversed(lines):
        if line.strip() and (not levels or columns(line) < levels[-1]):
            levels.append(columns(line))
        if levels and levels[-1] == 0:
            break
    return tuple(levels)


def in_unit(text: str, unit: str, base: int) -> str:
    """`text` with its lines after the first indented by `unit`.

    `base` is the column of the line that the cursor is on. Levels of another width than the
    unit's become the unit's where the first line that is deeper than `base` tells it.
    """
    lines = text.split("\n")
    if not unit or len(lines) == 1:
        return text
    own = _own_step(lines[1:], base)
    return "\n".join([lines[0], *(_indented(line, unit, base, own) for line in lines[1:])])


def _own_step(lines: Sequence[str], base: int) -> int:
    """Columns of one level in `lines`, where all of them agree; 0 where they do not."""
    depths = [columns(line) - base for line in lines if line.strip()]
    step = next((depth for depth in depths if depth > 0), 0)
    return step if step in (2, 4, 8) and all(depth % step == 0 for depth in depths) else 0


def _indented(line: str, unit: str, base: int, own: int) -> str:
    body = line.lstrip(" \t")
    if not body:
        return ""
    depth = columns(line)
    width = TAB if unit == "\t" else len(unit)
    if own and depth > base:
        depth = base + (depth - base) // own * width
    return blanks(depth, unit) + body


def blanks(depth: int, unit: str) -> str:
    """Indentation of so many columns: tabs as far as they go where `unit` is one."""
    if unit == "\t":
        return "\t" * (depth // TAB) + " " * (depth % TAB)
    return " " * depth
