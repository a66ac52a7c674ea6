"""Reads the head of a GGUF file: metadata and where each tensor lies, nothing of the tensors.

Invariant: a damaged or hostile file costs no more memory or time than its own size allows, and
ends in a ValueError, never in a crash; every tensor that is returned lies wholly in the file.
Arrays (a vocabulary is one of 150,000 strings) are passed over unless one is asked for. Knows no
model and no adapter.
Layout: the GGUF specification, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4
_MAX_NESTED_ARRAYS = 4
Scalar = int | float | bool | str


@dataclass(frozen=True)
class TensorPlace:
    """One tensor: its ggml type and, in the file, `size` bytes from `start`."""

    name: str
    shape: tuple[int, ...]
    """ggml's order: the contiguous dimension first."""
    type: int
    start: int
    size: int


@dataclass(frozen=True)
class GgufHeader:
    """Metadata without its arrays, and all tensors."""

    metadata: dict[str, Scalar]
    tensors: tuple[TensorPlace, ...]


def read_gguf_header(path: Path) -> GgufHeader:
    """The head of the GGUF file at `path`.

    Raises:
        OSError: the file cannot be opened or read.
        ValueError: it is empty, not GGUF of version 2 or 3, damaged or cut off.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Reader(data).header()


def read_gguf_strings(path: Path, key: str) -> list[str]:
    """The array of strings that the metadata of `path` holds under `key`; empty without one.

    Raises:
        OSError, ValueError: as `read_gguf_header`.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Reader(data, key)
        reader.header()
        return reader.kept


class _Reader:
    """A position that moves through the mapped file; every read is checked against its end."""

    def __init__(self, data: mmap.mmap, keep: str = "") -> None:
        """`keep`: the key of an array of strings that is to be kept."""
        self._data = data
        self._keep = keep
        self.kept: list[str] = []
        self._at = 0
        self._end = len(data)

    def header(self) -> GgufHeader:
        if self._take(4) != b"GGUF":
            raise ValueError("it is not a GGUF file")
        version = int(self._scalar("<I"))
        if version not in (2, 3):
            raise ValueError(f"its GGUF version is {version}; versions 2 and 3 can be read")
        tensors, keys = self._count(), self._count()
        metadata = {}
        for _ in range(keys):
            name = self._string()
            kind = int(self._scalar("<I"))
            if name == self._keep and kind == _ARRAY:
                self.kept = self._strings()
                continue
            value = self._value(kind)
            if name in metadata:
                raise ValueError(f"it has the metadata key {name!r} twice")
            if value is not None:
                metadata[name] = value
        rows = [self._tensor() for _ in range(tensors)]
        return GgufHeader(metadata, self._placed(rows, metadata))

    def _placed(
        self, rows: list[tuple[str, tuple[int, ...], int, int]], metadata: dict[str, Scalar]
    ) -> tuple[TensorPlace, ...]:
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"its alignment {alignment!r} is not usable")
        origin = -(-self._at // alignment) * alignment
        places = tuple(
            TensorPlace(name, shape, kind, origin + offset, _size(name, shape, kind))
            for name, shape, kind, offset in rows
        )
        for place in places:
            if place.start + place.size > self._end:
                raise ValueError(f"it ends within the tensor {place.name!r}")
        last = max((place.start + place.size for place in places), default=origin)
        if self._end - last >= alignment:  # less is padding
            raise ValueError(f"it has {self._end - last} bytes that belong to none of its tensors")
        return places

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        dimensions = int(self._scalar("<I"))
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise ValueError(f"the tensor {name!r} has {dimensions} dimensions")
        shape = tuple(int(self._scalar("<Q")) for _ in range(dimensions))
        return name, shape, int(self._scalar("<I")), int(self._scalar("<Q"))

    def _value(self, kind: int, depth: int = 0) -> Scalar | None:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            self._skip_array(depth)
            return None
        if kind not in _SCALARS:
            raise ValueError(f"it has a metadata value of the unknown type {kind}")
        return self._scalar(_SCALARS[kind])

    def _skip_array(self, depth: int) -> None:
        if depth == _MAX_NESTED_ARRAYS:
            raise ValueError("its metadata nests arrays too deeply")
        kind, count = int(self._scalar("<I")), self._count()
        if kind in _SCALARS:
            self._skip(count * struct.calcsize(_SCALARS[kind]))
            return
        for _ in range(count):
            if kind == _STRING:
                self._skip(int(self._scalar("<Q")))
            else:
                self._value(kind, depth + 1)

    def _strings(self) -> list[str]:
        kind, count = int(self._scalar("<I")), self._count()
        if kind != _STRING:
            raise ValueError(f"its {self._keep} is no array of strings")
        return [self._string() for _ in range(count)]

    def _count(self) -> int:
        count = int(self._scalar("<Q"))
        if count > self._end:  # each counted thing takes a byte at least
            raise ValueError(f"it claims {count} entries, more than it has bytes")
        return count

    def _string(self) -> str:
        return self._take(int(self._scalar("<Q"))).decode("utf-8")

    def _scalar(self, form: str) -> int | float | bool:
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return value  # type: ignore[no-any-return]

    def _take(self, count: int) -> bytes:
        start = self._at
        self._skip(count)
        return self._data[start : self._at]

    def _skip(self, count: int) -> None:
        if count > self._end - self._at:
            raise ValueError("it is cut off")
        self._at += count


def _size(name: str, shape: tuple[int, ...], kind: int) -> int:
    try:
        values, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (KeyError, ValueError):
        raise ValueError(f"the tensor {name!r} has the unknown type {kind}") from None
    if shape[0] % values or not all(shape):
        raise ValueError(f"the tensor {name!r} has the impossible shape {list(shape)}")
    return int(prod(shape) // values * size)
