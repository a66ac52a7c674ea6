r"""Cutting a byte stream into LSP messages, and finding the next one after nonsense.

Invariant: a frame that is broken (garbage, a `Content-Length` too short, too long or absurd) costs
at most itself. It rests on this: a header line ends in a raw CR LF right after its number, which
valid JSON can hold neither within a string nor outside. Knows no JSON and no transport.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_BODY = 1 << 29
"""Bytes: a header that announces more is taken for garbage."""

_MARK = b"Content-Length:"
_HEADER = re.compile(rb"Content-Length:[ \t]*(\d{1,12})[ \t]*\r\n(?:[^\r\n]+\r\n)*\r\n", re.I)
_MAX_HEADER = 4096


class FrameReader:
    """Feed it bytes, get bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._length: int | None = None
        """Bytes of the body that is being read; None while looking for a header."""
        self._scanned = 0

    def feed(self, data: bytes) -> Iterator[bytes | bytearray]:
        """The bodies that `data` completes. Take each before asking for the next."""
        self.push(data)
        while (body := self.take()) is not None:
            yield body

    def push(self, data: bytes) -> None:
        """Add bytes."""
        self._buffer += data

    def take(self) -> bytes | bytearray | None:
        """The next body, None until more bytes have come."""
        while self._length is not None or self._find_header():
            if self._broken():
                continue
            assert self._length is not None
            return None if len(self._buffer) < self._length else self._cut(self._length)
        return None

    def reject(self, body: bytes | bytearray) -> None:
        """Say that the last body was no JSON: it may have swallowed the next header's beginning."""
        self._buffer[:0] = body[-_MAX_HEADER:]

    def _find_header(self) -> bool:
        while header := _HEADER.search(self._buffer):
            length = int(header[1])
            del self._buffer[: header.end()]
            if length <= MAX_BODY:
                self._length, self._scanned = length, 0
                return True
        del self._buffer[:-_MAX_HEADER]
        return False

    def _broken(self) -> bool:
        """Whether another header stands where the body should be; if so, start over there."""
        assert self._length is not None
        end = min(self._length, len(self._buffer))
        while (at := self._buffer.find(_MARK, self._scanned, end)) >= 0:
            if _HEADER.match(self._buffer, at):
                del self._buffer[:at]
                self._length = None
                return True
            if len(self._buffer) - at < _MAX_HEADER:
                return False  # perhaps a header that has not arrived whole
            self._scanned = at + 1
        self._scanned = max(self._scanned, end - len(_MARK))
        return False

    def _cut(self, length: int) -> bytes | bytearray:
        self._length = None
        if len(self._buffer) == length:  # the usual case, and no copy of a large document
            body, self._buffer = self._buffer, bytearray()
            return body
        body = self._buffer[:length]
        del self._buffer[:length]
        return body
