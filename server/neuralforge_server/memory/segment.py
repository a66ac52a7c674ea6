"""One immutable file of the fast memory: tokens of some documents, sorted by what precedes them.

The documents lie back to front, each after a sentinel, so that the text to the left of a cursor
is a prefix of one of the text's suffixes: one search in the suffix array finds the places with
the longest match to the left, and those with any shorter one stand around them. Beside each
place stands the token that came next there.

Invariant: no match crosses a document's boundary; nothing read from a damaged file raises
anything but `SegmentDamagedError`, and that only on opening. Byte order is fixed: tokens are
big-endian, so that comparing bytes compares tokens. Knows no repository and no other segment.
"""

from __future__ import annotations

import bisect
import json
import mmap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuralforge_adapters.home import write_atomic
from neuralforge_server.errors import SegmentDamagedError
from neuralforge_server.memory.suffixes import sorted_suffixes

DEPTH = 32
"""Tokens to the left of a place that the order takes into account: the longest match."""

_MAGIC = b"NFMEM001"
_ALIGNMENT = 16
_REMEMBERED = 20_000
"""Matches whose rows are kept in memory: about 3 MB."""

Tokens = npt.NDArray[np.uint32]
Rows = tuple[int, int]
"""Half-open range of rows of the suffix array."""


@dataclass(frozen=True)
class Document:
    """A file's tokens in their order; `digest` tells one content from another."""

    path: str
    digest: str
    tokens: Tokens


def write_segment(path: Path, documents: Sequence[Document]) -> None:
    """Write `documents` as a segment file, in one step.

    Raises:
        HomeError: the file cannot be written; there is none then.
    """
    width = _width(documents)
    sentinel = (1 << (8 * width)) - 1
    pieces: list[npt.NDArray[np.uint32]] = [np.array([sentinel], np.uint32)]
    for document in documents:
        pieces += [document.tokens[::-1], pieces[0]]
    text = np.concatenate(pieces)
    order = sorted_suffixes(text, DEPTH)
    later = np.roll(text, 1)
    rows = order[(text[order] != sentinel) & (later[order] != sentinel)]
    body = b"".join(
        _aligned(part.tobytes())
        for part in (
            text.astype(f">u{width}"),
            rows.astype("<u4"),
            later[rows].astype(f">u{width}"),
        )
    )
    header = {
        "width": width,
        "tokens": len(text),
        "rows": len(rows),
        "documents": [[d.path, d.digest, len(d.tokens)] for d in documents],
        "crc": zlib.crc32(body),
    }
    write_atomic(path, _head(header) + body)


class Segment:
    """An opened segment file. Any number of processes may read it at once."""

    def __init__(self, path: Path) -> None:
        """Map the file.

        Raises:
            SegmentDamagedError: it is missing, cut off or altered in its header.
        """
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            header, start = _read_head(self._map)
            self._lay_out(header, start)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SegmentDamagedError(
                f"the memory's file {path} is missing or damaged ({error}); "
                "it is left out, and made again when its files are next indexed"
            ) from error
        self.path = path

    def _lay_out(self, header: dict[str, Any], start: int) -> None:
        self.width: int = header["width"]
        self.sentinel = (1 << (8 * self.width)) - 1
        self._crc: int = header["crc"]
        self._body = start
        self.documents: list[tuple[str, str, int]] = [
            (str(path), str(digest), int(length)) for path, digest, length in header["documents"]
        ]
        self.tokens: int = header["tokens"]
        """Entries of the text, sentinels included."""
        self._ranges: dict[bytes, Rows] = {}
        rows_at = start + _padded(self.tokens * self.width)
        next_at = rows_at + _padded(header["rows"] * 4)
        if next_at + _padded(header["rows"] * self.width) != len(self._map):
            raise ValueError("its length is not what its header says")
        self._rows = np.frombuffer(self._map, "<u4", header["rows"], rows_at)
        self._next = np.frombuffer(self._map, f">u{self.width}", header["rows"], next_at)
        self._text = np.frombuffer(self._map, f">u{self.width}", self.tokens, start)
        lengths = [length + 1 for _, _, length in self.documents]
        self._starts = np.cumsum([1, *lengths])[:-1]

    def verify(self) -> None:
        """Read everything once.

        Raises:
            SegmentDamagedError: the content is not what was written.
        """
        if zlib.crc32(memoryview(self._map)[self._body :]) != self._crc:
            raise SegmentDamagedError(
                f"the memory's file {self.path} is damaged; its files are indexed again"
            )

    def document(self, number: int) -> Document:
        """One of the documents, read back."""
        path, digest, length = self.documents[number]
        start = int(self._starts[number])
        return Document(path, digest, self._text[start : start + length][::-1].astype(np.uint32))

    def key(self, context: Sequence[int]) -> bytes:
        """What to search for to find the places whose left side ends as `context` does."""
        left: list[int] = []
        for token in reversed(context[-DEPTH:]):
            if not 0 <= token < self.sentinel:
                break
            left.append(token)
        return np.array(left, dtype=f">u{self.width}").tobytes()

    def longest(self, key: bytes) -> tuple[int, int]:
        """(row of a longest match of `key`'s beginning, its length in tokens); (0, 0) for none."""
        if not key:
            return 0, 0
        low, high = self._beginning(key[: self.width])
        row = bisect.bisect_left(range(high), key, lo=low, key=self._reader(len(key)))
        here = [(r, self._matched(r, key)) for r in (row - 1, row) if low <= r < high]
        return max(here, key=lambda found: found[1], default=(0, 0))

    def widen(self, key: bytes, length: int, inner: Rows) -> Rows:
        """The rows that match `length` tokens of `key`, given some (not none) that do."""
        wanted = key[: length * self.width]
        if wanted not in self._ranges:
            self._remember(wanted, self._widened(wanted, inner))
        return self._ranges[wanted]

    def _widened(self, wanted: bytes, inner: Rows) -> Rows:
        """Steps of growing size to either side, then bisection within the last one."""
        read = self._reader(len(wanted))
        low, high = inner
        step = 1
        while low >= step and read(low - step) == wanted:
            step *= 2
        if step > 1:
            low = bisect.bisect_left(range(low), wanted, lo=max(0, low - step), key=read)
        step = 1
        while high + step <= len(self) and read(high + step - 1) == wanted:
            step *= 2
        if step > 1:
            end = min(len(self), high + step)
            high = bisect.bisect_right(range(end), wanted, lo=high, key=read)
        return low, high

    def _beginning(self, token: bytes) -> Rows:
        """The rows that match one token."""
        if token not in self._ranges:
            rows, read = range(len(self)), self._reader(len(token))
            low = bisect.bisect_left(rows, token, key=read)
            self._remember(token, (low, bisect.bisect_right(rows, token, lo=low, key=read)))
        return self._ranges[token]

    def _remember(self, wanted: bytes, rows: Rows) -> None:
        """The same contexts come again with every key that is typed."""
        if len(self._ranges) >= _REMEMBERED:
            self._ranges.clear()
        self._ranges[wanted] = rows

    def following(self, rows: npt.NDArray[np.intp] | slice) -> npt.NDArray[np.intp]:
        """The tokens that came next at `rows`."""
        return self._next[rows].astype(np.intp)

    def documents_of(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Numbers of the documents that `rows` lie in."""
        return np.searchsorted(self._starts, self._rows[rows], side="right") - 1

    def ahead(self, row: int, count: int) -> list[int]:
        """Up to `count` tokens that came after the match at `row`, to the document's end."""
        place = int(self._rows[row])
        later: list[int] = self._text[max(0, place - count) : place][::-1].tolist()
        return later[: later.index(self.sentinel)] if self.sentinel in later else later

    def __len__(self) -> int:
        """Rows: places with something before and after them."""
        return len(self._rows)

    def _reader(self, length: int) -> Any:
        data, place, width, base = self._map, self._rows.item, self.width, self._body

        def read(row: int) -> bytes:
            start = base + place(row) * width
            return data[start : start + length]

        return read

    def _matched(self, row: int, key: bytes) -> int:
        found = self._reader(len(key))(row)
        key = key[: len(found)]
        different = int.from_bytes(found, "big") ^ int.from_bytes(key, "big")
        return (len(key) - (different.bit_length() + 7) // 8) // self.width


def _width(documents: Sequence[Document]) -> int:
    largest = max((int(d.tokens.max(initial=0)) for d in documents), default=0)
    return 2 if largest < 0xFFFF else 4


def _head(header: dict[str, Any]) -> bytes:
    data = json.dumps(header).encode()
    sizes = len(data).to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big")
    return _aligned(_MAGIC + sizes + data)


def _read_head(data: mmap.mmap) -> tuple[dict[str, Any], int]:
    if data[:8] != _MAGIC:
        raise ValueError("it does not begin as such a file does")
    end = 16 + int.from_bytes(data[8:12], "big")
    if zlib.crc32(data[16:end]) != int.from_bytes(data[12:16], "big"):
        raise ValueError("its header's checksum is wrong")
    header: dict[str, Any] = json.loads(data[16:end])
    return header, _padded(end)


def _padded(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT


def _aligned(data: bytes) -> bytes:
    return data + b"\0" * (_padded(len(data)) - len(data))
