"""What stands around a cursor, and how much a suggestion there may write.

Invariants: one line in the middle of a line, a block only where one begins and has nothing in it
yet; a fixed number of lines is looked at, however long the document. Decided by brackets,
strings, comments and indentation, which hold in every language and in text that does not parse,
as text at a cursor hardly ever does. Knows no engine and no model.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from neuralforge_server.completion.indentation import leading, levels_above, unit_of
from neuralforge_server.documents import Position
from neuralforge_server.engine.brackets import PAIRS, Lexer, several_lines
from neuralforge_server.engine.stopping import StopRules, columns

_ABOVE = 120
"""Lines above the cursor that are looked at."""
_USUAL = 4
"""Columns of a level where a file shows none."""
_COUNTED = 5_000
"""Lines above those, of which only the marks of strings over several lines are counted."""
_BELOW = 60
_FOLLOWING = 8
"""Lines below that a suggestion's end is compared with."""
_LONG = 2000
"""Characters of a line that are looked at."""
_KEPT = 8
"""Places of which what the lines around say is kept: only the cursor's line changes with a key."""
_AUTO_CLOSED = re.compile(r"[\s)\]}\"'`;:,>]*\Z")
_COMMENT = re.compile(r"\s+(?:#|//)\s.*\Z")
_OPENS = re.compile(r"[{(\[]\Z|(?:=>|->)\Z|\b(?:do|then|else|begin)\Z")
COLON_BLOCKS = frozenset(["python", "nim", "yaml", ""])
"""Languages in which a colon opens a block, and only its lines are indented more."""


_Bracket = tuple[str, int]
"""One that is open, and the columns of the line it is on."""


@dataclass(frozen=True)
class Place:
    """A cursor's surroundings, as far as they say what fits there."""

    language: str
    prefix: str
    """Left of the cursor on its line."""
    suffix: str
    """Right of it, without the line's end."""
    above: str
    """The nearest line above that is not blank."""
    following: tuple[str, ...]
    """The next lines below that are not blank."""
    within: str
    """The string or comment that the cursor is in; empty outside."""
    sealed: bool
    """Whether `within` is over several lines, and its end stands below."""
    opened: str
    """Brackets that are open and that nothing below closes, innermost last."""
    unit: str
    """One level of indentation in this file; empty where none shows."""
    levels: tuple[int, ...]
    """Columns at which a statement on a blank line here may begin, innermost first."""
    block: bool
    """Whether an empty block begins here."""
    indent: int
    """Columns of the line that opens it."""

    @property
    def below(self) -> str:
        """The next line that is not blank."""
        return self.following[0] if self.following else ""


def look(lines: Sequence[str], language: str, position: Position) -> Place:
    """The surroundings of a code point position in `lines`, which may keep their ends."""
    here = lines[position.line].rstrip("\r\n") if position.line < len(lines) else ""
    prefix = here[: position.character][-_LONG:]
    suffix = here[position.character :][:_LONG]
    first = max(0, position.line - _ABOVE)
    above = _contents(lines[first : position.line])
    below = _contents(lines[position.line + 1 : position.line + _BELOW])
    outer, within = _opened_above(language, _within_at(lines, first, language), above)
    lexer = Lexer(language, within)
    opened = _opened(lexer, prefix, outer)
    following = tuple(line for line in below if line.strip())[:_FOLLOWING]
    opener = prefix if prefix.strip() else next((t for t in reversed(above) if t.strip()), "")
    unit = _unit(above, leading(prefix) + "." if prefix.strip() else "", below)
    return Place(
        language=language,
        prefix=prefix,
        suffix=suffix,
        above=next((line for line in reversed(above) if line.strip()), ""),
        following=following,
        within=lexer.within,
        sealed=_sealed(lexer.within, lines, position, language),
        opened=_closable(opened, auto_closed(suffix), language, lexer.within, (suffix, *below)),
        unit=unit,
        levels=_levels(above, prefix, unit, language),
        block=not lexer.within
        and auto_closed(suffix)
        and _begins_block(opener, bool(prefix.strip()), following, language),
        indent=columns(opener),
    )


def rules_for(lines: Sequence[str], language: str, position: Position, max_lines: int) -> StopRules:
    """When a generation at `position` is complete; `max_lines` is what a block may have."""
    return rules_at(look(lines, language, position), max_lines)


def rules_at(place: Place, max_lines: int) -> StopRules:
    """`rules_for` a place that was looked at before."""
    rules = StopRules(
        max_lines=1,
        language=place.language,
        prefix=place.prefix,
        suffix=place.suffix,
        joins=not auto_closed(place.suffix),
        below=place.below,
        within=place.within,
        sealed=place.sealed,
        balanced=True,
        opened=place.opened,
    )
    if not place.block or max_lines == 1:
        return rules
    more = 1 if place.prefix.strip() else 0  # the rest of the opener's own line
    return replace(rules, max_lines=max_lines + more, indent=place.indent + 1)


def auto_closed(suffix: str) -> bool:
    """Whether an editor may have put what stands right of the cursor there by itself."""
    return _AUTO_CLOSED.match(suffix) is not None


def opens_block(line: str, language: str) -> bool:
    """Whether the next line is to be indented more than `line`."""
    code = _COMMENT.sub("", line).rstrip()
    if _OPENS.search(code):
        return True
    if not code.endswith(":") or language not in COLON_BLOCKS:
        return False
    return not _opened(Lexer(language), code)


def _contents(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple([line.rstrip("\r\n")[:_LONG] for line in lines])


def _within_at(lines: Sequence[str], number: int, language: str) -> str:
    """The string or comment of several lines that line `number` begins in, by counting marks."""
    above = "".join(lines[max(0, number - _COUNTED) : number])
    for begin, end in several_lines(language):
        opened = above.count(begin) - above.count("\\" + begin)
        if opened % 2 if begin == end else opened > above.count(end):
            return begin
    return ""


def _sealed(within: str, lines: Sequence[str], position: Position, language: str) -> bool:
    """Whether the string or comment of several lines that the cursor is in ends below."""
    end = dict(several_lines(language)).get(within)
    if end is None:
        return False
    below = "".join(lines[position.line : position.line + _COUNTED])
    after = below[position.character :]
    if end != within:
        return after.count(end) > after.count(within)
    return (after.count(end) - after.count("\\" + end)) % 2 == 1


@functools.lru_cache(_KEPT)
def _opened_above(
    language: str, within: str, above: tuple[str, ...]
) -> tuple[tuple[_Bracket, ...], str]:
    """The brackets that the lines above leave open, and the string or comment they end in."""
    lexer = Lexer(language, within)
    opened = _opened(lexer, "".join(f"{line}\n" for line in above))
    return tuple(opened), lexer.within


def _opened(lexer: Lexer, text: str, outer: Sequence[_Bracket] = ()) -> list[_Bracket]:
    """The brackets that `text` leaves open, where `outer` are open before it."""
    opened = list(outer)
    for offset, character in lexer.brackets(text):
        if character not in PAIRS:
            opened.append((character, _column_of_line(text, offset)))
        elif opened and opened[-1][0] == PAIRS[character]:
            opened.pop()
    return opened


@functools.lru_cache(_KEPT)
def _unit(above: tuple[str, ...], here: str, below: tuple[str, ...]) -> str:
    return unit_of([*above, here, *below])


def _column_of_line(text: str, offset: int) -> int:
    return columns(text[text.rfind("\n", 0, offset) + 1 : offset] + ".")


def _closable(
    opened: list[_Bracket], replaceable: bool, language: str, within: str, after: tuple[str, ...]
) -> str:
    """The innermost of `opened` that the lines `after` the cursor leave open.

    A bracket that closes at the start of its line belongs to one opened on a line that is not
    indented more. Those that an editor may have closed by itself count as open: a suggestion
    that closes them replaces what stands there.
    """
    limit, closed = len(opened), -1
    for number, character, column in _unmatched(language, within, after):
        candidates = (i for i in range(limit - 1, -1, -1) if opened[i][0] == PAIRS[character])
        match = next((i for i in candidates if column is None or opened[i][1] <= column), None)
        if match is None:
            break
        limit = match
        if number > 0 or not replaceable:
            closed = max(closed, match)
    return "".join(character for character, _ in opened[closed + 1 :])


@functools.lru_cache(_KEPT)
def _unmatched(
    language: str, within: str, lines: tuple[str, ...]
) -> list[tuple[int, str, int | None]]:
    """Closing brackets opened before `lines`: (line, bracket, column where it begins its line)."""
    lexer, text = Lexer(language, within), "\n".join(lines)
    found: list[tuple[int, str, int | None]] = []
    inner = 0
    for offset, character in lexer.brackets(text):
        if character not in PAIRS:
            inner += 1
        elif inner:
            inner -= 1
        else:
            number = text.count("\n", 0, offset)
            before = text[text.rfind("\n", 0, offset) + 1 : offset]
            starts = number > 0 and not before.strip(" \t)]}")
            found.append((number, character, columns(before + ".") if starts else None))
    return found


def _levels(above: Sequence[str], prefix: str, unit: str, language: str) -> tuple[int, ...]:
    last = next((line for line in reversed(above) if line.strip()), "")
    if not last or not opens_block(last, language):
        return levels_above(above) or (0,)
    begun = columns(prefix + ".") - columns(last)  # a file's first indentation is the user's
    step = columns(unit + ".") or (begun if begun > 0 else _USUAL)
    return (columns(last) + step,)


def _begins_block(opener: str, here: bool, following: Sequence[str], language: str) -> bool:
    """Whether an empty block follows `opener`, which may be on the cursor's line (`here`)."""
    if not opens_block(opener, language) or (here and opener.rstrip().endswith(("(", "["))):
        return False
    return not following or columns(following[0]) <= columns(opener)
