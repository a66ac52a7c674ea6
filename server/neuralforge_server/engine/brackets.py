"""The brackets of a text outside of its strings and comments, found without a grammar.

Invariant: text given in pieces that end with their lines gives the same brackets as the whole.
Cheap enough to run after every token; where a language's strings are stranger than those known
here (heredocs, `${}` in templates) a bracket is missed rather than invented.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PAIRS = {")": "(", "]": "[", "}": "{"}
"""Closing bracket to its opening one."""

_BRACKETS = frozenset("()[]{}")
_HASH = frozenset(
    [
        "python",
        "ruby",
        "shellscript",
        "yaml",
        "toml",
        "perl",
        "r",
        "elixir",
        "julia",
        "dockerfile",
        "makefile",
        "cmake",
        "nix",
        "powershell",
        "terraform",
        "coffeescript",
    ]
)
_DASH = frozenset(["sql", "lua", "haskell", "ada"])
_SLASH = frozenset(
    [
        "c",
        "cpp",
        "csharp",
        "dart",
        "fsharp",
        "go",
        "java",
        "javascript",
        "javascriptreact",
        "typescript",
        "typescriptreact",
        "kotlin",
        "objective-c",
        "php",
        "rust",
        "scala",
        "scss",
        "less",
        "swift",
        "zig",
        "vue",
        "svelte",
        "jsonc",
    ]
)
_TEMPLATES = frozenset(
    ["go", "javascript", "javascriptreact", "typescript", "typescriptreact", "vue", "svelte"]
)
_PROSE = frozenset(["markdown", "plaintext", "html", "latex", "restructuredtext", "xml"])
# An apostrophe within a word opens nothing, unless the word is a string's prefix as in Python.
_APOSTROPHE = r"(?:(?<!\w)|(?<=\b[bBfFrRuU])|(?<=\b[bBfFrR]{2}))'"
_CHARACTER = r"'(?:\\[^']{1,8}|[^'\\])'"
_REGEX = (
    r"(?:(?<=[(,=:!&|?;])|(?<=[(,=:!&|?;] )|(?<=return ))"
    r"/(?![/*])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/"
)
_ENDS = {
    '"': re.compile(r'(?:[^"\\\r\n]|\\[\s\S])*+(?:"|(?=[\r\n]))'),
    "'": re.compile(r"(?:[^'\\\r\n]|\\[\s\S])*+(?:'|(?=[\r\n]))"),
    "`": re.compile(r"(?:[^`\\]|\\[\s\S])*+`"),
    '"""': re.compile(r'[\s\S]*?"""'),
    "'''": re.compile(r"[\s\S]*?'''"),
    "#": re.compile(r"[^\r\n]*(?=[\r\n])"),
    "//": re.compile(r"[^\r\n]*(?=[\r\n])"),
    "--": re.compile(r"[^\r\n]*(?=[\r\n])"),
    "/*": re.compile(r"[\s\S]*?\*/"),
}
LINE_COMMENTS = frozenset(["#", "//", "--"])
"""The marks that a comment to the end of its line begins with."""


class Lexer:
    """Reads a text piece by piece; `within` is the string or comment that its end is in."""

    def __init__(self, language: str = "", within: str = "") -> None:
        self.within = within
        self.began = -1
        """Offset in the newest piece where `within` began; -1 where it did before."""
        self._token = _token(language)

    def brackets(self, text: str) -> list[tuple[int, str]]:
        """The brackets of the next piece, with their offsets in it."""
        found, position, self.began = [], 0, -1
        while position < len(text):
            if self.within:
                end = _ENDS[self.within].match(text, position)
                if end is None:
                    break
                position, self.within = end.end(), ""
                continue
            match = self._token.search(text, position)
            if match is None:
                break
            position = match.end()
            if match.group() in _BRACKETS:
                found.append((match.start(), match.group()))
            elif match.group() in _ENDS:
                self.within, self.began = match.group(), match.start()
        return found


def settle(opened: list[str], brackets: Iterable[tuple[int, str]]) -> int | None:
    """Take `brackets` into `opened` (innermost last).

    Returns the offset of the first that closes what is not open; those after it are not taken.
    """
    for offset, character in brackets:
        if character not in PAIRS:
            opened.append(character)
        elif opened and opened[-1] == PAIRS[character]:
            opened.pop()
        else:
            return offset
    return None


def several_lines(language: str) -> list[tuple[str, str]]:
    """How strings and comments over several lines begin and end in a language."""
    if language == "python":
        return [('"""', '"""'), ("'''", "'''")]
    comments = [("/*", "*/")] if language in _SLASH or language == "css" else []
    return comments + ([("`", "`")] if language in _TEMPLATES else [])


_TOKENS: dict[str, re.Pattern[str]] = {}


def _token(language: str) -> re.Pattern[str]:
    if language not in _TOKENS:
        _TOKENS[language] = re.compile("|".join(_alternatives(language)))
    return _TOKENS[language]


def _alternatives(language: str) -> Iterable[str]:
    """Patterns of what may begin at a place outside of strings and comments."""
    yield r"[()\[\]{}]"
    if language in _PROSE:
        return
    if language == "rust":
        yield _CHARACTER
    else:
        yield from ("'''", _APOSTROPHE)
    yield from ('"""', '"')
    if language in _TEMPLATES:
        yield "`"
        yield _REGEX
    if language in _HASH:
        yield "#"
    if language in _DASH:
        yield "--"
    if language in _SLASH:
        yield from ("//", r"/\*")
    if language == "css":
        yield r"/\*"
