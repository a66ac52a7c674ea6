"""When a text that grows at a cursor is complete.

Invariant: what is kept is a beginning of the text, whose lines are whole but for the last. Pure:
knows no engine and no document. What the rules are for a given cursor is decided where the
document is known (`completion.extent`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from neuralforge_server.engine.brackets import PAIRS, Lexer, settle

TAB = 4
"""Columns that a tab counts as, where indentations are compared."""

_PERIODS = 6
"""Lines of a block whose repetition is noticed."""
_LOOPS = ((20, 4), (120, 3))
"""A unit of up to so many characters is a loop when it stands there so many times."""
_FIGURES = 24
"""Repetitions of a unit without letters (rows of numbers, rulers) from which it is a loop."""
_BLANKS = 80
"""Characters of indentation after which no text is waited for: some bases never end it."""
_BLANKS_HERE = 24
"""The same for what is added to the cursor's own line."""
_CLOSING = {"/*": "*/"}
_DANGLING = re.compile(r"[\s=+*/|&,.<>-]+$")


@dataclass(frozen=True)
class StopRules:
    """What ends a generation before the model does."""

    max_lines: int = 1
    """Lines that it may have."""
    language: str = ""
    """LSP's id, for strings and comments; empty where it is unknown."""
    prefix: str = ""
    """What stands left of the cursor on its line."""
    suffix: str = ""
    """What stands right of it, without the line's end."""
    joins: bool = False
    """Whether the line has to come to `suffix`: one that ends without is kept with its end."""
    below: str = ""
    """The next line below that is not blank."""
    within: str = ""
    """The string or comment that the cursor is in, as `brackets.Lexer` names it."""
    sealed: bool = False
    """Whether the end of `within` stands below already: a text ends where it would close it."""
    balanced: bool = False
    """Whether closing a bracket that is not in `opened` ends it."""
    opened: str = ""
    """Brackets before the cursor that nothing after it closes, innermost last."""
    indent: int = -1
    """Columns that a line after the first is indented at least, or closes the block; -1 for any."""


class Stopper:
    """Watches one text grow."""

    _text: str
    _start: int

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._tail = _phrase(rules.suffix.rstrip())
        self._begin("")

    def end(self, text: str) -> int | None:
        """Length of `text` to keep where it is complete, None where it may go on."""
        if not text.startswith(self._text):
            self._begin(text)
        self._text = text
        while True:
            newline = text.find("\n", self._start)
            line = text[self._start : None if newline < 0 else newline].removesuffix("\r")
            cut = self._within_line(line)
            if cut is None and newline >= 0:
                cut = self._after_line(line)
                self._start = newline + 1
            if cut is not None or newline < 0:
                return cut

    def _begin(self, text: str) -> None:
        self._text = text
        self._start = 0
        self._lines: list[str] = []
        self._ends: list[int] = []
        self._within = self._rules.within
        self._opened = list(self._rules.opened)

    def _within_line(self, line: str) -> int | None:
        """Where a line ends the text, whatever may still come on it."""
        if not line.strip():
            return (
                self._last_end() if len(line) > (_BLANKS if self._lines else _BLANKS_HERE) else None
            )
        if self._lines and not self._within and self._leaves_block(line):
            return self._last_end()
        if self._tail is not None and (tail := self._tail.search(line)):
            return self._start + tail.start()
        if (
            self._rules.sealed
            and (mark := line.find(_CLOSING.get(self._within, self._within))) >= 0
        ):
            return self._start + mark if line[:mark].strip() else self._last_end()
        if self._rules.balanced:
            opened = self._opened.copy()
            brackets = Lexer(self._rules.language, self._within).brackets(line)
            if (closes := settle(opened, brackets)) is not None:
                return self._start + closes if line[:closes].strip() else self._last_end()
        loop = loop_start(line)
        return None if loop is None else self._start + loop

    def _after_line(self, line: str) -> int | None:
        """Where a line that is whole ends the text, or the one before it."""
        first = not self._lines
        whole = (self._rules.prefix if first else "") + line
        self._lines.append(whole.rstrip())
        self._ends.append(self._start + len(line))
        self._take(line)
        if self._rules.joins:
            return self._start + len(line) + 1  # with the line's end: it did not come to the suffix
        if same_line(whole, self._rules.below):
            return 0 if first else self._last_end(1)
        if (repeated := self._repeated()) is not None:
            return self._ends[repeated]
        if len(self._lines) >= self._rules.max_lines or self._closed_block(line):
            return self._ends[-1]
        if len(self._lines) > 2 and not (line.strip() or self._lines[-2]):
            return self._last_end(2)
        return None

    def _take(self, line: str) -> None:
        lexer = Lexer(self._rules.language, self._within)
        settle(self._opened, lexer.brackets(line + "\n"))
        self._within = lexer.within

    def _leaves_block(self, line: str) -> bool:
        """Whether a line is indented less than the block, and does not close it."""
        if self._rules.indent < 0 or columns(line) >= self._rules.indent:
            return False
        if len(self._opened) > len(self._rules.opened):
            return False
        return line.lstrip()[0] not in PAIRS

    def _closed_block(self, line: str) -> bool:
        """Whether a line closed the bracket that the block stands in."""
        if self._rules.indent < 0 or len(self._lines) < 2 or not line.strip():
            return False
        return columns(line) < self._rules.indent and len(self._opened) < len(self._rules.opened)

    def _last_end(self, skipped: int = 0) -> int:
        """Where the last line that is not blank ended, the newest `skipped` not looked at."""
        for i in range(len(self._lines) - 1 - skipped, -1, -1):
            if self._lines[i]:
                return self._ends[i]
        return 0

    def _repeated(self) -> int | None:
        """The last line of a block's first occurrence, where the newest lines repeat it."""
        lines = self._lines
        for period in range(1, min(_PERIODS, len(lines) // 2) + 1):
            block = lines[-period:]
            if lines[-2 * period : -period] == block and any(map(substantial, block)):
                return len(lines) - period - 1
        if len(lines) > 1 and same_line(lines[-1], lines[-2]):
            return len(lines) - 2
        return None


def loop_start(line: str) -> int | None:
    """Length of `line` without the repetitions that it ends with; None where it ends in none."""
    length = len(line)
    for period in range(1, length // 3 + 1):
        if line[-1] != line[-1 - period]:
            continue
        unit = line[-period:]
        times = next((times for most, times in _LOOPS if period <= most), None)
        if times is None:
            return None
        if not any(map(str.isalpha, unit)) or period == 1:
            times = _FIGURES
        if not unit.strip() or length < times * period or line[-times * period :] != unit * times:
            continue
        start = length - times * period
        while start > 0 and line[start - 1] == line[start - 1 + period]:
            start -= 1
        return len(_DANGLING.sub("", line[: start + period]))
    return None


def _phrase(text: str) -> re.Pattern[str] | None:
    """Finds `text` standing for itself; None where it is too short to be told from others."""
    if not substantial(text):
        return None
    before = r"(?<!\w)" if text[0].isalnum() else ""
    return re.compile(before + re.escape(text) + (r"(?!\w)" if text[-1].isalnum() else ""))


def columns(line: str) -> int:
    """How far a line is indented."""
    blanks = line[: len(line) - len(line.lstrip())]
    return len(blanks.expandtabs(TAB)) if "\t" in blanks else len(blanks)


def substantial(line: str) -> bool:
    """Whether a line says enough to be told from any other: a word, not only brackets."""
    return len(line.strip()) > 2 and any(map(str.isalpha, line))


def same_line(first: str, second: str) -> bool:
    """Whether two lines say the same thing, however they are indented."""
    return first.strip() == second.strip() and substantial(first)
