"""What is wrong with a suggestion where it stands: an outside view, for evaluations and tests.

Invariant: judged only by the document before and after accepting, with the parsers of tree-sitter
where there is one; nothing of the filter's own way of looking is used, so that it can fail it.
Too slow for a request. Knows no engine.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from neuralforge_adapters.grammar import parser

Defect = Literal["suffix", "brackets", "indentation", "special", "loop", "blank"]

_PAIRS = {")": "(", "]": "[", "}": "{"}
_MARKS = frozenset("()[]{}")
_QUOTES = frozenset("\"'`")
_SPECIAL = re.compile(r"<\|[^|>\s]+\|?>?|<\|\Z|<(?:fim|file|repo)_\w+>?|[\ufffd\r]")
_LOOP = re.compile(r"(?P<unit>[^\n]{2,40}?)(?P=unit){3,}")
_GOES_ON = re.compile(r"(?:[{(\[,=+*/|&<>?:.\\-]|=>|\b(?:and|or|not|in|is|if|else|return))\s*\Z")
_LEADS_ON = re.compile(r"\s*(?:[.)\]}|&?:+*/=,<>-]|and\b|or\b|if\b|else\b|in\b|for\b)")


def defects(before: str, text: str, after: str, language: str) -> set[Defect]:
    """What accepting `text` between `before` and `after` does that no one would write.

    Args:
        before: the document left of the cursor.
        text: what is inserted.
        after: the document right of the cursor, without what the suggestion replaces.
        language: LSP's id.
    """
    before, after = (part.replace("\r\n", "\n").replace("\r", "\n") for part in (before, after))
    checks: dict[Defect, bool] = {
        "suffix": _repeats_suffix(before, text, after),
        "brackets": _breaks_brackets(before, text, after, language),
        "indentation": _breaks_indentation(before, text, after, language),
        "special": _SPECIAL.search(text) is not None,
        "loop": _repeats_words(text) or _repeats_lines(text),
        "blank": not text.strip(),
    }
    return {name for name, found in checks.items() if found}


def _repeats_suffix(before: str, text: str, after: str) -> bool:
    """Whether the end of `text` stands right of the cursor, or its last line right below."""
    tail, _, below = after.partition("\n")
    words = tail.strip()
    if len(words) > 2 and re.search(r"\w", words) and text.rstrip().endswith(words):
        return True
    following = [line.strip() for line in below.split("\n") if line.strip()]
    lines = (before[before.rfind("\n") + 1 :] + text).split("\n")
    own = [line.strip() for line in lines if line.strip()]
    if tail.strip() or not own or not following:
        return False
    if not re.search(r"[A-Za-z]", own[-1]):
        return False
    return own[-1].rstrip(";,") == following[0].rstrip(";,")


def _repeats_words(text: str) -> bool:
    return any(re.search(r"[A-Za-z]", match["unit"]) for match in _LOOP.finditer(text))


def _repeats_lines(text: str) -> bool:
    lines = [line.strip() for line in text.split("\n") if re.search(r"[A-Za-z]", line)]
    return any(a == b for a, b in itertools.pairwise(lines))


def _breaks_brackets(before: str, text: str, after: str, language: str) -> bool:
    """Whether more brackets stand alone with `text` than without it.

    Those that its last line ends on, with nothing after them, are to be closed in what follows.
    """
    if not set(text) & (_MARKS | _QUOTES):
        return False
    alone = _alone(before + after, language)
    if "\n" not in text.strip() and not after.split("\n", 1)[0].strip() and _GOES_ON.search(text):
        closed = text + _closing(text, language)
        if _alone(before + closed + after, language) <= alone:
            return False
    return _alone(before + text + after, language) > alone


def _closing(text: str, language: str) -> str:
    opened: list[str] = []
    for mark in _marks(text, language):
        if mark not in _PAIRS:
            opened.append(mark)
        elif opened:
            opened.pop()
    return "".join(")]}"["([{".index(mark)] for mark in reversed(opened))


def _alone(source: str, language: str) -> int:
    """How many brackets of `source` have no partner.

    A closing bracket belongs to the innermost open one of its kind; those within it are alone.
    """
    opened: list[str] = []
    alone = 0
    for mark in _marks(source, language):
        if mark not in _PAIRS:
            opened.append(mark)
        elif _PAIRS[mark] not in opened:
            alone += 1
        else:
            while opened.pop() != _PAIRS[mark]:
                alone += 1
    return alone + len(opened)


def _marks(source: str, language: str) -> Iterator[str]:
    """The brackets that the language's parser takes for such, in order."""
    known = parser(language)
    if known is None:
        yield from (character for character in source if character in _MARKS)
        return
    cursor = known.parse(source.encode("utf-8", "replace")).walk()
    while True:
        if not cursor.goto_first_child():
            kind = cursor.node.type if cursor.node else ""
            yield from (character for character in kind if character in _MARKS and len(kind) < 3)
            while not cursor.goto_next_sibling():
                if not cursor.goto_parent():
                    return


def _breaks_indentation(before: str, text: str, after: str, language: str) -> bool:
    """Whether a line of `text` stands at a depth that nothing above asks for."""
    lines = (before + text).split("\n")
    first = before.count("\n") if not before[before.rfind("\n") + 1 :].strip() else None
    start = before.count("\n") + 1 if first is None else first
    inside = _free_lines(before + text + after, language)
    for number in range(start, len(lines)):
        line, above = lines[number], [x for x in lines[:number] if x.strip()]
        if not line.strip() or number in inside or not above:
            continue
        if _mixed(line, above) or _misplaced(line, above, language):
            return True
    return False


def _free_lines(source: str, language: str) -> set[int]:
    """Lines that begin within brackets or a string, where indentation is free."""
    known = parser(language)
    free: set[int] = set()
    if known is None:
        return free
    stack = [known.parse(source.encode("utf-8", "replace")).root_node]
    while stack:
        node = stack.pop()
        if node.end_point[0] == node.start_point[0]:
            continue
        if re.search(
            r"string|comment|argument|parameter|list|tuple|array|paren|jsx|set|dict", node.type
        ):
            free.update(range(node.start_point[0] + 1, node.end_point[0] + 1))
        stack.extend(node.children)
    return free


def _mixed(line: str, above: Sequence[str]) -> bool:
    """Whether a line is indented by another character than those above."""
    blank = line[: len(line) - len(line.lstrip())]
    indented = [x for x in above if x[0] in " \t"]
    if not blank or not indented:
        return False
    tabs = sum(x[0] == "\t" for x in indented)
    return "\t" in blank if tabs == 0 else blank[0] == " " and tabs == len(indented)


def _misplaced(line: str, above: Sequence[str], language: str) -> bool:
    depth, last = _depth(line), above[-1]
    code = re.sub(r"\s+(#|//).*", "", last)
    if depth > _depth(last):
        return not (_GOES_ON.search(code) or _LEADS_ON.match(line) or _ends_on_word(code))
    if language == "python" and code.endswith(":") and not re.search(r"[{\[]", code):
        return True
    if depth == _depth(last):
        return False
    return depth not in {_depth(x) for x in above} and not _LEADS_ON.match(line)


def _ends_on_word(code: str) -> bool:
    """Whether a line without any mark at its end may be the first of several."""
    return not re.search(r"[;)\]}\"'\w]\s*\Z", code)


def _depth(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())
