"""Reads a file of samples: one JSON object a line (JSONL), plain or gzipped.

Invariant: what can be read is used, and every line that cannot is named by number and reason; a
file that was cut off, or was not written to its end, says so; memory is bounded by the samples,
whatever a line holds. Knows no training and no folder of datasets.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from neuralforge_trainer.errors import DatasetError, SampleFormatError
from neuralforge_trainer.samples.records import samples_of_record
from neuralforge_trainer.samples.sample import Sample, parse_record

LONGEST_LINE = 8_000_000
"""Bytes; a longer line is no sample, and is passed over unread."""

_CHUNK = 1_000_000
_GZIP = b"\x1f\x8b"
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_NAMED = 3


class _Readable(Protocol):
    def readline(self, limit: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class BrokenLine:
    """A line that could not be used; `number` counts from 1."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


@dataclass
class Dataset:
    """What a file holds, in its order."""

    path: Path
    samples: list[Sample] = field(default_factory=list)
    broken: list[BrokenLine] = field(default_factory=list)
    truncated: bool = False
    """Whether the file ends in the middle of a line or of its compressed stream."""
    lines: int = 0
    """How many lines were read, blank ones included."""

    @property
    def complaint(self) -> str:
        """What is wrong with the file, in one line for the user; empty where nothing is."""
        some = "; ".join(map(str, self.broken[:_NAMED]))
        more = len(self.broken) - _NAMED
        if more > 0:
            some += f"; and {more} more"
        cut = "it was cut off, or is still being written" if self.truncated else ""
        return "; ".join(part for part in (cut, some) if part)


def read_dataset(path: Path) -> Dataset:
    """The samples of the file at `path`, with its broken lines.

    Raises:
        DatasetError: it cannot be read, or no line of it can be used.
    """
    dataset = Dataset(path)
    try:
        with path.open("rb") as raw:
            _read(raw, dataset)
    except OSError as error:
        raise DatasetError(
            f"cannot read the dataset {path}: {error.strerror or error}; name a JSONL file"
        ) from error
    if not dataset.samples:
        why = dataset.complaint or "it is empty"
        raise DatasetError(
            f"the dataset {path} holds nothing to learn from: {why}; "
            'write one object a line: {"context": …, "completion": …, "language": …}'
        )
    return dataset


def _read(raw: IO[bytes], dataset: Dataset) -> None:
    head = raw.read(3)
    raw.seek(0)
    if head.startswith(_WIDE):
        raise DatasetError(f"the dataset {dataset.path} is UTF-16; save it as UTF-8")
    if head.startswith(_GZIP):
        with gzip.open(raw) as unpacked:
            _read_lines(unpacked, dataset)
    else:
        _read_lines(raw, dataset)


def _read_lines(file: _Readable, dataset: Dataset) -> None:
    try:
        for content in _lines(file):
            dataset.lines += 1
            _take(content, dataset)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        dataset.truncated = True


def _lines(file: _Readable) -> Iterator[bytes]:
    """Lines with their ends; of one that is too long only its beginning, without an end."""
    while line := file.readline(LONGEST_LINE + 1):
        yield line
        unread = len(line) > LONGEST_LINE
        while unread and line and not line.endswith(b"\n"):
            line = file.readline(_CHUNK)


def _take(content: bytes, dataset: Dataset) -> None:
    number = dataset.lines
    if number == 1:
        content = content.removeprefix(_BOM)
    if not content.strip():
        return
    try:
        dataset.samples += samples_of_record(parse_record(_decoded(content)))
    except SampleFormatError as error:
        dataset.broken.append(BrokenLine(number, str(error)))
        ended = content.endswith(b"\n") or len(content) > LONGEST_LINE
        dataset.truncated |= not ended or b"\0" in content


def _decoded(content: bytes) -> str:
    if len(content) > LONGEST_LINE:
        raise SampleFormatError(f"longer than {LONGEST_LINE:,} bytes; split what it holds")
    if b"\0" in content:
        raise SampleFormatError("holds zero bytes: it was not written to its end")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SampleFormatError(f"not UTF-8 (byte {error.start}); save it as UTF-8") from error
