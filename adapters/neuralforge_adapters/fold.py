"""Folds a stack into one LoRA that computes exactly the same sum of updates.

The sum of s·(α/r)·B·A over the adapters is one product: the A's stacked along the rank, times the
B's side by side, each B times its own s·α/r (what PEFT calls `cat`; here with nothing rounded).
llama.cpp computes one adapter of the summed rank far faster than several. Invariant: the folded
file says alpha 0, which llama.cpp takes as "scale as it is", so modules may differ in rank.
Knows no engine, and trusts its input: `convert.check_adapter` has read it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gguf.constants import GGMLQuantizationType as Kind

from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.gguf_header import TensorPlace, read_gguf_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

_ALIGNMENT = 32
_VERSION = 3
_FLOAT32, _STRING = 6, 8


@dataclass(frozen=True)
class _Factors:
    """One module's factors in one adapter, and what their product is multiplied by."""

    a: Matrix
    """rank x in"""
    b: Matrix
    """out x rank"""
    scale: float


@dataclass(frozen=True)
class _Tensor:
    """A matrix to be written, in parts that follow each other in memory order."""

    name: str
    shape: tuple[int, int]
    parts: list[Matrix]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.nbytes for part in self.parts)


def fold(adapters: Sequence[tuple[Path, float]], out: Path) -> None:
    """Write the sum of `adapters` (file, scale) to `out` as one GGUF adapter.

    The order of `adapters` decides the order of the ranks, and so the last bits of the sums.

    Raises:
        AdapterError: they are for different architectures, or differ in a module's shape, or a
            file cannot be read or written.
    """
    try:
        architecture, modules = _collect(adapters)
        tensors = [t for name, factors in modules.items() for t in _joined(name, factors)]
        _write(out, architecture, tensors)
    except (OSError, ValueError) as error:
        names = ", ".join(path.name for path, _ in adapters)
        raise AdapterError(
            f"the adapters {names} cannot be combined: {error}; take one out of the stack"
        ) from error


def _collect(adapters: Sequence[tuple[Path, float]]) -> tuple[str, dict[str, list[_Factors]]]:
    """What all of them are made for, and every module's factors."""
    architectures: set[str] = set()
    modules: dict[str, list[_Factors]] = {}
    for path, scale in adapters:
        architecture, factors = _read(path, scale)
        architectures.add(architecture)
        for name, factor in factors.items():
            modules.setdefault(name, []).append(factor)
    if len(architectures) != 1:
        raise ValueError(f"they are made for {' and '.join(sorted(architectures)) or 'nothing'}")
    return architectures.pop(), modules


def _read(path: Path, scale: float) -> tuple[str, dict[str, _Factors]]:
    """The architecture that an adapter is made for, and its modules."""
    header = read_gguf_header(path)
    data = np.memmap(path, np.uint8, "r")
    places = {place.name: place for place in header.tensors}
    alpha = float(header.metadata["adapter.lora.alpha"])
    modules = {}
    for name in places:
        module, _, side = name.rpartition(".lora_")
        if side == "a":
            a, b = _matrix(data, places[name]), _matrix(data, places[f"{module}.lora_b"])
            modules[module] = _Factors(a, b, scale * (alpha / len(a) if alpha else 1.0))
    return str(header.metadata["general.architecture"]), modules


def _matrix(data: NDArray[np.uint8], place: TensorPlace) -> Matrix:
    """A tensor as rows of float32, whatever it is stored as."""
    raw = data[place.start : place.start + place.size]
    rows, columns = place.shape[1], place.shape[0]
    kind = Kind(place.type)
    if kind == Kind.F32:
        return raw.view(np.float32).reshape(rows, columns)
    if kind == Kind.F16:
        return raw.view(np.float16).reshape(rows, columns).astype(np.float32)
    from gguf.quants import dequantize

    return np.asarray(dequantize(raw.reshape(rows, -1), kind), np.float32)


def _joined(name: str, factors: list[_Factors]) -> Iterator[_Tensor]:
    """One A and one B for all of a module's factors."""
    wide, high = factors[0].a.shape[1], factors[0].b.shape[0]
    if any((f.a.shape[1], f.b.shape[0]) != (wide, high) for f in factors):
        raise ValueError(f"they differ in the shape of {name}")
    rank = sum(len(f.a) for f in factors)
    yield _Tensor(f"{name}.lora_a", (rank, wide), [f.a for f in factors])
    b = np.empty((high, rank), np.float32)
    start = 0
    for factor in factors:
        end = start + len(factor.a)
        np.multiply(factor.b, np.float32(factor.scale), out=b[:, start:end])
        start = end
    yield _Tensor(f"{name}.lora_b", (high, rank), [b])


def _write(out: Path, architecture: str, tensors: Sequence[_Tensor]) -> None:
    """A GGUF adapter of F32 tensors. gguf's own writer takes longer than a swap may."""
    metadata = [
        _string("general.architecture") + struct.pack("<I", _STRING) + _string(architecture),
        _string("general.type") + struct.pack("<I", _STRING) + _string("adapter"),
        _string("adapter.type") + struct.pack("<I", _STRING) + _string("lora"),
        _string("adapter.lora.alpha") + struct.pack("<If", _FLOAT32, 0.0),
    ]
    head = b"GGUF" + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))
    head += b"".join(metadata) + b"".join(_infos(tensors))
    with out.open("wb") as file:
        file.write(head + _padding(len(head)))
        for tensor in tensors:
            file.writelines(part.data for part in tensor.parts)
            file.write(_padding(tensor.size))


def _infos(tensors: Iterable[_Tensor]) -> Iterator[bytes]:
    """Name, shape (contiguous dimension first), type and place of every tensor."""
    offset = 0
    for tensor in tensors:
        rows, columns = tensor.shape
        yield _string(tensor.name) + struct.pack("<IQQIQ", 2, columns, rows, Kind.F32, offset)
        offset += tensor.size + len(_padding(tensor.size))


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padding(size: int) -> bytes:
    return b"\0" * (-size % _ALIGNMENT)
