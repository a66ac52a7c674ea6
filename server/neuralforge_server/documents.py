r"""Open documents: their lines, edits in any position encoding, and what an edit changed.

Invariant: `lines` is the client's text, split as LSP counts lines (\n, \r\n and \r end a line,
nothing else does), and the text is kept nowhere else. Lone surrogates, which no encoding can
write, are held as U+FFFD. Knows no protocol types, no engine and no disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from pygls.uris import to_fs_path

from neuralforge_adapters.fim import split_lines

Encoding = Literal["utf-8", "utf-16", "utf-32"]
"""The unit of `Position.character` that client and server agreed on."""

MAX_CHARACTERS = 5_000_000
"""A longer document is not kept; its completions are empty."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_LEFT_ALONE = {"git", "gitfs", "gitlens", "diff", "output", "vscode-scm", "fugitive", "diffview"}


@dataclass(frozen=True, order=True)
class Position:
    """A place in a document; `character` counts code points unless said otherwise."""

    line: int
    character: int


@dataclass(frozen=True)
class Edit:
    """A change as the client sends it, in client units; no `start` replaces the whole text."""

    text: str
    start: Position | None = None
    end: Position | None = None


@dataclass(frozen=True)
class Change:
    """What an edit did: `removed` code points at `start` gave way to `inserted`."""

    start: int
    removed: int
    inserted: str
    line: int = 0
    """The line that `start` lies in."""


def sound(text: str) -> str:
    """`text` with lone surrogates replaced; as many units in UTF-8, UTF-16 and UTF-32."""
    if text.isascii():
        return text
    return _LONE_SURROGATE.sub("\ufffd", text)


def code_points(line: str, units: int, encoding: Encoding) -> int:
    """How many code points of `line` lie before `units`; within a character, those before it."""
    units = max(0, units)
    if encoding == "utf-32" or line.isascii():
        return min(units, len(line))
    head = line[:units]
    if encoding == "utf-8":
        return len(head.encode()[:units].decode(errors="ignore"))
    return len(head.encode("utf-16-le")[: 2 * units].decode("utf-16-le", errors="ignore"))


def client_units(line: str, characters: int, encoding: Encoding) -> int:
    """`code_points` the other way round."""
    head = line[: max(0, characters)]
    if encoding == "utf-32" or head.isascii():
        return len(head)
    return len(head.encode()) if encoding == "utf-8" else len(head.encode("utf-16-le")) // 2


@dataclass
class Document:
    """One open document. A document that is `too_large` holds no text at all."""

    uri: str
    language: str
    version: int
    encoding: Encoding
    lines: list[str] = field(default_factory=list)
    too_large: bool = False
    _length: int = 0
    _anchor: tuple[int, int] = (0, 0)
    """A line and the offset at which it begins: edits are local, so offsets are counted on
    from here and not from the beginning."""

    @classmethod
    def open(
        cls, uri: str, language: str, version: int, text: str, encoding: Encoding = "utf-16"
    ) -> Document:
        """A document with its first text."""
        document = cls(uri, language, version, encoding)
        document._set(sound(text))
        return document

    @property
    def text(self) -> str:
        """The whole text, made anew."""
        return "".join(self.lines)

    @property
    def length(self) -> int:
        """Code points in the text."""
        return self._length

    @property
    def path(self) -> str | None:
        """The file's path for a `file:` URI, None for any other."""
        return uri_path(self.uri)

    @property
    def left_alone(self) -> bool:
        """Whether it is one side of a comparison or a tool's output, where nobody types."""
        return urlsplit(self.uri).scheme.lower() in _LEFT_ALONE

    def apply(self, edit: Edit) -> Change | None:
        """Edit the text; returns what changed, None where the text is not kept."""
        if edit.start is None or edit.end is None:
            return self._replace(edit.text)
        if self.too_large:
            return None
        start, end = self.position(edit.start), self.position(edit.end)
        change = self._splice(start, max(start, end), sound(edit.text))
        if self._length > MAX_CHARACTERS:
            self._forget()
        return change

    def position(self, position: Position) -> Position:
        """A client's position in code points, clamped to the line and to the document."""
        if position.line < 0:
            return Position(0, 0)
        if position.line >= len(self.lines):
            return self._end()
        content = self.lines[position.line].rstrip("\r\n")
        return Position(position.line, code_points(content, position.character, self.encoding))

    def to_client(self, position: Position) -> Position:
        """A position in the client's units."""
        line = self.lines[position.line] if position.line < len(self.lines) else ""
        units = client_units(line, position.character, self.encoding)
        return Position(position.line, units)

    def offset(self, position: Position) -> int:
        """Code points before a (code point) position."""
        return self._line_offset(position.line) + position.character

    def between(self, start: Position, end: Position) -> str:
        """The text from `start` to `end`; empty where `end` does not come later."""
        if end <= start:
            return ""
        if start.line == end.line:
            return self._line(start.line)[start.character : end.character]
        parts = [self._line(start.line)[start.character :], *self.lines[start.line + 1 : end.line]]
        return "".join(parts) + self._line(end.line)[: end.character]

    def _line(self, number: int) -> str:
        return self.lines[number] if number < len(self.lines) else ""

    def _end(self) -> Position:
        """After the last character: on the empty line after a final line end, if there is one."""
        if not self.lines:
            return Position(0, 0)
        last = self.lines[-1]
        if last.endswith(("\n", "\r")):
            return Position(len(self.lines), 0)
        return Position(len(self.lines) - 1, len(last))

    def _replace(self, text: str) -> Change | None:
        old = self.text
        self._set(sound(text))
        if self.too_large:
            return None
        head = _common(old, text)
        tail = _common(old[head:][::-1], text[head:][::-1])
        inserted, line = self.text[head : len(text) - tail], len(split_lines(old[:head] + ".")) - 1
        return Change(head, len(old) - head - tail, inserted, line)

    def _set(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            self._forget()
            return
        self.lines, self._length, self._anchor = split_lines(text), len(text), (0, 0)
        self.too_large = False

    def _forget(self) -> None:
        self.lines, self._length, self._anchor = [], 0, (0, 0)
        self.too_large = True

    def _splice(self, start: Position, end: Position, text: str) -> Change:
        """Only the lines touched are made anew, however long the document is."""
        offset = self._line_offset(start.line)
        removed = len(self.between(start, end))
        change = Change(offset + start.character, removed, text, start.line)
        head = self._line(start.line)[: start.character]
        new = _joined(head, split_lines(text), self._line(end.line)[end.character :])
        first = start.line
        if new and new[0] == "\n" and first and self.lines[first - 1].endswith("\r"):
            first -= 1  # the edit completes a CRLF that was a CR until now
            offset -= len(self.lines[first])
            new[0] = self.lines[first] + "\n"
        self.lines[first : end.line + 1] = new
        self._anchor = (first, offset)
        self._length += len(text) - change.removed
        return change

    def _line_offset(self, line: int) -> int:
        known, offset = self._anchor
        if line >= known:
            offset += sum(map(len, self.lines[known:line]))
        elif line < known // 2:
            offset = sum(map(len, self.lines[:line]))
        else:
            offset -= sum(map(len, self.lines[line:known]))
        self._anchor = (min(line, len(self.lines)), offset)
        return offset


def uri_path(uri: str) -> str | None:
    """The path that a `file:` URI names, None for any other URI."""
    return to_fs_path(uri) if urlsplit(uri).scheme.lower() == "file" else None


def _joined(head: str, pieces: list[str], tail: str) -> list[str]:
    """`head`, `pieces` and `tail` as lines; only `pieces` and the end of `tail` hold line ends.

    A long line is copied here, but never searched.
    """
    if not pieces:
        return [head + tail] if head or tail else []
    pieces[0] = head + pieces[0]
    if not tail:
        return pieces
    if not pieces[-1].endswith(("\n", "\r")) or (pieces[-1].endswith("\r") and tail == "\n"):
        pieces[-1] += tail
    else:
        pieces.append(tail)
    return pieces


def _common(one: str, other: str) -> int:
    """Length of the common beginning, by bisection: comparing slices is fast, characters slow."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
