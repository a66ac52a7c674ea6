"""What of a generated text is fit to be shown, and how much to the right of the cursor it replaces.

Invariant: accepting a suggestion neither doubles what already stands right of the cursor or below
it nor swallows anything else. Pure; knows no engine and no document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from neuralforge_server.completion.extent import Place, auto_closed, opens_block, rules_at
from neuralforge_server.completion.indentation import blanks, in_unit, leading
from neuralforge_server.engine.brackets import LINE_COMMENTS, PAIRS, Lexer, settle
from neuralforge_server.engine.stopping import Stopper, columns, same_line, substantial

_SPECIAL = re.compile(
    r"\ufffd|<\|[^|>\s]{1,40}\|>|<[｜][^｜>\n]{1,40}[｜]>|<(?:EOT|PRE|SUF|MID)>"
    r"|<(?:fim|file|repo|reponame|filename|jupyter|issue|commit|gh)_[a-z_]{1,20}>"
)
_PARTIAL_SPECIAL = re.compile(
    r"(?:<\|(?:[^|>\s]{0,40}\|?)|<[｜][^｜>\n]{0,40}[｜]?|<(?:fim|repo|file)_[a-z_]{0,20})\Z"
)
_QUOTES = "\"'`"
_CLOSERS = frozenset(PAIRS) | frozenset(_QUOTES)
_MARKS = frozenset(";:,")
_PUNCTUATION = _CLOSERS | _MARKS | frozenset(">/")
_LAST_WORD = re.compile(r"\w+\Z")
_DANGLING = re.compile(r"(?:\s*(?:[=+*/|&,.<-]|\band|\bor|\bnot|\bin|\bis|\bif|\belse))+\s*\Z")
_STRING_PREFIX = re.compile(r"\b[bBfFrRuU]{1,2}\Z")
_ENDS_WORD = re.compile(r"[\w\"'`)\]}]\Z")
_BEGINS_WORD = re.compile(r"[\w\"'`]")
_OPEN_END = re.compile(r"[({\[:]\s*\Z|=>\s*\Z")


@dataclass(frozen=True)
class Shaped:
    """A text to insert at the cursor, in place of the next `replaces` code points of its line."""

    text: str
    replaces: int


def shape(
    text: str,
    line_prefix: str,
    line_suffix: str,
    next_line: str = "",
    max_lines: int = 1,
    *,
    place: Place | None = None,
    unfinished: bool = False,
) -> Shaped | None:
    """`text` as it may be shown, None where there is nothing worth showing.

    Args:
        line_prefix: what stands left of the cursor on its line.
        line_suffix: what stands right of it, without the line end.
        next_line: the first line below that is not blank.
        max_lines: lines that a suggestion may have.
        place: everything else around the cursor; the three above are then taken from it.
        unfinished: whether a limit of time or tokens ended the text, and not the base.
    """
    known = place or _line_alone(line_prefix, line_suffix, next_line)
    text = cut_special(text).replace("\r\n", "\n").replace("\r", "\n")
    text = _stopped(text, known, max_lines, looked=place is not None)
    text = _whole(text, known, unfinished)
    text = _aligned(_without_below(text, known.prefix, known.following), known)
    if not _worth_showing(text, known):
        return None
    replaces = overlap(text, known.suffix.rstrip(), open_quote(known.prefix))
    if not _ends_strings(text, known.suffix[replaces:], known):
        return None
    return Shaped(text, replaces)


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
    opened them: those that an editor closed by itself, with the blanks before. `quote` is the one
    that the cursor is in.
    """
    if tail and text.endswith(tail) and not set(tail) <= _PUNCTUATION:
        return len(tail)
    closed, closing = unopened_closers(text, quote), tail.lstrip()
    length = max(_at_end(text, closing, closed), _anywhere(text, closing, closed))
    return length + len(tail) - len(closing) if length else 0


def _at_end(text: str, tail: str, closed: str) -> int:
    """Length of the beginning of `tail` that `text` ends with, as far as it is punctuation."""
    for length in range(len(tail), 0, -1):
        part = tail[:length]
        closers = "".join(c for c in part if c in _CLOSERS)
        if set(part) <= _PUNCTUATION and text.endswith(part) and closed.endswith(closers):
            return length
    return 0


def _anywhere(text: str, tail: str, closed: str) -> int:
    """Length of the beginning of `tail` that `text` closes, and of the `;` or `:` after it."""
    both = zip(tail, closed, strict=False)
    length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
    rest = tail[length : length + 1]
    return length + (1 if length and rest in _MARKS and text.endswith(rest) else 0)


def open_quote(line_prefix: str) -> str:
    """The quote that the end of `line_prefix` is within; empty outside of any string."""
    opened = _scan(line_prefix, [])[0]
    return opened[-1] if opened and opened[-1] in _QUOTES else ""


def unopened_closers(text: str, quote: str = "") -> str:
    """The closing brackets and quotes in `text` whose opening ones stand before it, in order."""
    return _scan(text, [quote] if quote else [])[1]


def _line_alone(prefix: str, suffix: str, below: str) -> Place:
    """A place of which only the lines are known."""
    lexer = Lexer()
    lexer.brackets(prefix)
    following = (below,) if below.strip() else ()
    return Place("", prefix, suffix, "", following, lexer.within, False, "", "", (), False, 0)


def _stopped(text: str, place: Place, max_lines: int, *, looked: bool) -> str:
    """`text` as far as the rules of its place let it go, trailing blanks gone."""
    # what stands right of the cursor belongs after the first line, unless it may be replaced
    joins, tail = not auto_closed(place.suffix), place.suffix.rstrip()
    lines = 1 if joins else max_lines
    rules = replace(rules_at(place, 1), max_lines=lines, balanced=looked)
    kept = text[: Stopper(rules).end(text)]
    if not joins:
        return cut_lines(kept, lines)
    if "\n" in kept:
        return ""  # the base did not mean what follows on the line
    if kept.endswith(tail):
        return kept[: -len(tail)]
    blank = " " if kept[-1:] == " " and not place.suffix[:1].isspace() else ""
    return kept.rstrip() + blank


def _whole(text: str, place: Place, unfinished: bool) -> str:
    """`text` without a last line or word that a limit cut, or that leaves something open."""
    lines = _well_indented(text.split("\n"), place)
    if unfinished and _several(lines):
        lines.pop()
    elif unfinished:
        lines[-1] = _to_boundary(lines[-1])
    while _several(lines) and not _complete("\n".join(lines), place):
        lines.pop()
    if not _several(lines):
        lines[-1] = _closed_line(lines[-1], place)
    return "\n".join(lines).rstrip("\n")


def _well_indented(lines: list[str], place: Place) -> list[str]:
    """`lines` up to one that is not indented as the statement above it asks for.

    Only Python is that strict; a block's opener goes with the body that it lacks, unless it is
    all there is.
    """
    if place.language != "python" or place.within or place.opened:
        return lines
    lexer, opened, last = Lexer("python"), list[str](), place.prefix + lines[0]
    settle(opened, lexer.brackets(last + "\n"))
    statement = columns(last)
    for number, line in enumerate(lines[1:], 1):
        if line.strip() and not (lexer.within or opened or last.endswith("\\")):
            asked = opens_block(last, "python")
            if last.strip() and asked != (columns(line) > statement):
                return lines[: max(1, number - asked)]
            statement = columns(line)
        settle(opened, lexer.brackets(line + "\n"))
        last = line if line.strip() else last
    return lines


def _several(lines: Sequence[str]) -> bool:
    """Whether there is a line to show besides the last."""
    return any(line.strip() for line in lines[:-1])


def _to_boundary(line: str) -> str:
    """`line` without a word that may be half, and what only stands before another."""
    return _DANGLING.sub("", _LAST_WORD.sub("", line))


def _complete(text: str, place: Place) -> bool:
    """Whether a text of several lines can be followed by what stands below the cursor."""
    last = text.rsplit("\n", 1)[-1]
    if opens_block(last, place.language):
        return False
    lexer = Lexer(place.language, place.within)
    return not _left_open(lexer.brackets(text + "\n")) and lexer.within == place.within


def _closed_line(line: str, place: Place) -> str:
    """`line` up to a string or bracket that it opens, and leaves open without a reason.

    A bracket at the end of its line, or a list that goes on, has one.
    """
    lexer = Lexer(place.language, place.within)
    found = lexer.brackets(line)
    if lexer.within and lexer.within in place.suffix:
        return line  # what stands right of the cursor ends it
    if lexer.began >= 0 and lexer.within and lexer.within not in LINE_COMMENTS:
        before = _STRING_PREFIX.sub("", line[: lexer.began])
        return _closed_line(_DANGLING.sub("", before), place)
    opened = _left_open(found)
    if not opened or lexer.within:
        return line
    if not auto_closed(place.suffix):
        closed = not _left_open(found + lexer.brackets(place.suffix))
        return line if closed else _DANGLING.sub("", line[: opened[0]])
    if not place.suffix.strip() and (_DANGLING.search(line) or _OPEN_END.search(line)):
        return line
    return _DANGLING.sub("", line[: opened[0]])


def _left_open(brackets: Sequence[tuple[int, str]]) -> list[int]:
    """Offsets of the opening brackets that nothing among `brackets` closes."""
    opened: list[tuple[int, str]] = []
    for offset, character in brackets:
        if character not in PAIRS:
            opened.append((offset, character))
        elif opened and opened[-1][1] == PAIRS[character]:
            opened.pop()
    return [offset for offset, _ in opened]


def _without_below(text: str, prefix: str, following: Sequence[str]) -> str:
    """`text` without the last lines that stand below the cursor already."""
    lines = text.split("\n")
    whole = [prefix + lines[0], *lines[1:]]
    for count in range(min(len(lines), len(following)), 0, -1):
        pairs = list(zip(whole[-count:], following, strict=False))
        if all(a.strip() == b.strip() for a, b in pairs) and any(substantial(a) for a, _ in pairs):
            return "\n".join(lines[:-count]).rstrip()
    return text


def _aligned(text: str, place: Place) -> str:
    """`text` with its blanks those of the file, at whatever column the cursor is."""
    if place.prefix.strip():
        if place.prefix[-1].isspace():
            text = text.lstrip(" \t")
        return in_unit(text, place.unit, columns(place.prefix))
    first, newline, rest = text.partition("\n")
    if first.strip() and place.levels and not place.within and not _inside(place.opened):
        first = _first_line(first, place)
    base = columns(place.prefix + first)
    return in_unit(first + newline + rest, place.unit, base)


def _inside(opened: str) -> bool:
    """Whether the cursor is within brackets in which lines are indented at will."""
    return opened.endswith(("(", "["))


def _first_line(line: str, place: Place) -> str:
    """The first line of a suggestion on a blank line, so that it begins at a level of the file."""
    body, have = line.lstrip(" \t"), columns(place.prefix + ".")
    wanted = columns(place.prefix + line)
    if wanted in place.levels or (body[0] in PAIRS and wanted >= have):
        return _spelled(line, wanted, have, place.unit)
    reachable = [level for level in place.levels if level >= have]
    nearest = min(reachable, key=lambda level: abs(level - wanted), default=have)
    return _spelled(line, nearest, have, place.unit)


def _spelled(line: str, depth: int, have: int, unit: str) -> str:
    """`line` indented by `depth` columns, of which `have` stand left of the cursor."""
    if not unit:
        return leading(line)[: max(0, depth - have)] + line.lstrip(" \t")
    return blanks(depth, unit)[len(blanks(have, unit)) :] + line.lstrip(" \t")


def _worth_showing(text: str, place: Place) -> bool:
    """Whether `text` says anything that does not stand right there, or right above, already."""
    words, tail = text.strip(), place.suffix.strip()
    if not words or _phrase_begins(tail, words):
        return False
    joins = not auto_closed(place.suffix) and not place.within
    if joins and _ENDS_WORD.search(text) and _BEGINS_WORD.match(place.suffix):
        return False  # two words with nothing between
    if "\n" not in words and same_line(place.prefix + text + place.suffix, place.above):
        return False
    return bool(tail) or not same_line(words, place.below)


def _phrase_begins(text: str, words: str) -> bool:
    """Whether `text` begins with `words`, and not only with the letters of a longer word."""
    rest = text[len(words) :]
    return text.startswith(words) and not (words[-1].isalnum() and rest[:1].isalnum())


def _ends_strings(text: str, rest: str, place: Place) -> bool:
    """Whether the strings of a line end where they should, as far as `text` begins or ends any."""
    if not set(text) & set(_QUOTES):
        return True
    lexer, without = (Lexer(place.language, place.within) for _ in range(2))
    lexer.brackets(text + rest)
    without.brackets(place.suffix)
    if lexer.within in ("'", '"'):
        return False  # those end with their line
    return not lexer.within or lexer.within in LINE_COMMENTS or lexer.within == without.within


def _scan(text: str, opened: list[str]) -> tuple[list[str], str]:
    """What is still open after `text`, and what it closed without having opened it.

    A quote in `opened` at the start was opened before `text`.
    """
    closers, before = "", len(opened)
    for character in text:
        within = opened[-1] if opened and opened[-1] in _QUOTES else ""
        if within and character != within:
            continue
        if within or (opened and opened[-1] == PAIRS.get(character)):
            if len(opened) == before:
                before, closers = 0, closers + character
            opened.pop()
        elif character in _QUOTES or character in PAIRS.values():
            opened.append(character)
        elif character in PAIRS:
            closers += character
    return opened, closers
