"""Turns a PEFT LoRA into the GGUF adapter that llama.cpp loads, and checks one before it is loaded.

Invariant: what `check_adapter` lets through is whole, finite and a LoRA, and where it names the
base that it was trained for, that is the base in use. A GGUF adapter holds for each module
`<tensor>.lora_a` (rank x in) and `<tensor>.lora_b` (out x rank), as llama.cpp's
`convert_lora_to_gguf.py` writes them; its scale at run time is alpha / rank. Knows no engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gguf.constants import GGMLQuantizationType as Kind

from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.gguf_header import GgufHeader, TensorPlace, read_gguf_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

BASE_DIGEST_KEY = "neuralforge.base.digest"
PEFT_CONFIG = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
CONVERTIBLE = ("qwen2",)
"""Architectures whose tensors are the same in PEFT and GGUF; llama's q and k are permuted."""

_FACTOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_UNSUPPORTED = ("use_rslora", "use_dora", "modules_to_save", "alpha_pattern", "rank_pattern")
_FRESH = "fetch or train the adapter again"

Pair = dict[str, "NDArray[np.float32]"]
"""A module's two factors by side, "A" (rank x in) and "B" (out x rank)."""


@dataclass(frozen=True)
class AdapterFacts:
    """What a GGUF adapter says of itself."""

    rank: int
    """The largest of its modules' ranks."""
    alpha: float
    architecture: str
    tensors: int


def peft_to_gguf(peft_dir: Path, base_gguf: Path, base_digest: str, out: Path) -> None:
    """Write the LoRA in `peft_dir` to `out` as a GGUF adapter (F32) for the base `base_gguf`.

    Raises:
        AdapterError: the architecture or a feature of the LoRA cannot be converted, a file is
            missing or malformed, or the disk refuses.
    """
    try:
        base = read_gguf_header(base_gguf).metadata
        config = json.loads((peft_dir / PEFT_CONFIG).read_text("utf-8"))
        _refuse_unsupported(base, config, peft_dir)
        pairs = _named_pairs(_read_factors(peft_dir / PEFT_WEIGHTS), base)
        _write(out, base, base_digest, float(config["lora_alpha"]), pairs)
    except (OSError, ValueError, KeyError) as error:
        raise AdapterError(f"cannot convert the adapter in {peft_dir}: {error}") from error


def check_adapter(path: Path, base_digest: str) -> AdapterFacts:
    """Read a GGUF adapter through before llama.cpp does.

    Raises:
        AdapterError: it is missing, cut off, no LoRA, for another base, or not finite.
    """
    try:
        header = read_gguf_header(path)
        facts = _facts(header)
        _refuse_other_base(path, header, base_digest)
        data = np.memmap(path, np.uint8, "r")
        bad = next((t.name for t in header.tensors if not _finite(data, t)), None)
    except (OSError, ValueError, NotImplementedError) as error:
        raise AdapterError(f"adapter {path} cannot be used: {error}; {_FRESH}") from error
    if bad is not None:
        raise AdapterError(
            f"adapter {path} holds NaN or infinity in {bad}: its training diverged; "
            "roll back to an older version, or train it again"
        )
    return facts


def _refuse_unsupported(base: dict[str, Any], config: dict[str, Any], peft_dir: Path) -> None:
    architecture = base.get("general.architecture")
    if architecture not in CONVERTIBLE:
        raise AdapterError(
            f"adapters for the architecture {architecture!r} cannot be converted to GGUF; "
            f"supported: {', '.join(CONVERTIBLE)}"
        )
    used = [name for name in _UNSUPPORTED if config.get(name)]
    if config.get("peft_type") != "LORA" or used:
        raise AdapterError(
            f"the adapter in {peft_dir} uses {', '.join(used) or config.get('peft_type')}, which "
            "GGUF cannot hold; train a plain LoRA"
        )


def _read_factors(path: Path) -> dict[str, Pair]:
    """Every module's factors, in the order of the file."""
    from safetensors.numpy import load_file

    modules: dict[str, Pair] = {}
    for name, tensor in load_file(path).items():
        match = _FACTOR.fullmatch(name)
        if match is None or tensor.ndim != 2:
            raise ValueError(f"the tensor {name!r} in {path.name} is no factor of a LoRA")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name!r} holds NaN or infinity: its training diverged")
        modules.setdefault(match["module"], {})[match["side"]] = tensor.astype(np.float32)
    return modules


def _named_pairs(modules: dict[str, Pair], base: dict[str, Any]) -> Iterator[tuple[str, Pair]]:
    """The factors under the names of the base's tensors, by gguf's own map of names."""
    from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES
    from gguf.tensor_mapping import get_tensor_name_map

    architecture = base["general.architecture"]
    known = {name: arch for arch, name in MODEL_ARCH_NAMES.items()}
    names = get_tensor_name_map(
        MODEL_ARCH(known[architecture]), int(base[f"{architecture}.block_count"])
    )
    for module, pair in modules.items():
        name = names.get_name(f"{module}.weight", try_suffixes=(".weight",))
        if name is None or set(pair) != {"A", "B"} or len(pair["A"]) != pair["B"].shape[1]:
            raise ValueError(f"the module {module!r} is not one of the base, or misses a factor")
        yield name, pair


def _write(
    out: Path, base: dict[str, Any], digest: str, alpha: float, pairs: Iterator[tuple[str, Pair]]
) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(out, str(base["general.architecture"]))
    try:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)
        writer.add_string(BASE_DIGEST_KEY, digest)
        for name, pair in pairs:
            writer.add_tensor(f"{name}.lora_a", pair["A"])
            writer.add_tensor(f"{name}.lora_b", pair["B"])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _facts(header: GgufHeader) -> AdapterFacts:
    meta = header.metadata
    kind, method = meta.get("general.type"), meta.get("adapter.type")
    if (kind, method) != ("adapter", "lora"):
        raise ValueError(f"it is no LoRA adapter, but {kind or 'a model'} {method or ''}".rstrip())
    alpha, architecture = meta.get("adapter.lora.alpha"), meta.get("general.architecture")
    if not isinstance(alpha, float) or not np.isfinite(alpha) or not isinstance(architecture, str):
        raise ValueError("its alpha or its architecture is missing or unusable")
    ranks = _ranks(header.tensors)
    return AdapterFacts(max(ranks), alpha, architecture, len(header.tensors))


def _ranks(tensors: tuple[TensorPlace, ...]) -> list[int]:
    shapes = {t.name: t.shape for t in tensors}
    modules = {name.rpartition(".lora_")[0] for name in shapes if ".lora_" in name}
    if not modules or len(shapes) != len(tensors) or len(shapes) != 2 * len(modules):
        raise ValueError("its tensors are not pairs of lora_a and lora_b")
    ranks = []
    for module in modules:
        a, b = shapes.get(f"{module}.lora_a", ()), shapes.get(f"{module}.lora_b", ())
        if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
            raise ValueError(f"the factors of {module} do not fit together")
        ranks.append(a[1])
    return ranks


def _refuse_other_base(path: Path, header: GgufHeader, base_digest: str) -> None:
    trained_for = header.metadata.get(BASE_DIGEST_KEY)
    if trained_for is not None and trained_for != base_digest:
        raise AdapterError(
            f"adapter {path} was trained for base {str(trained_for)[:12]}, the base in use is "
            f"{base_digest[:12]}; choose that base, or train the adapter anew"
        )


def _finite(data: NDArray[np.uint8], tensor: TensorPlace) -> bool:
    """Whether every value is finite. An exponent of ones alone means NaN or infinity."""
    kind = Kind(tensor.type)
    raw = data[tensor.start : tensor.start + tensor.size]
    if kind == Kind.BF16:
        return not ((raw.view(np.uint16) & 0x7F80) == 0x7F80).any()
    if kind in (Kind.F32, Kind.F16):
        return bool(np.isfinite(raw.view(np.float32 if kind == Kind.F32 else np.float16)).all())
    from gguf.quants import dequantize

    rows = raw.reshape(-1, tensor.size // (int(np.prod(tensor.shape)) // tensor.shape[0]))
    with np.errstate(all="ignore"):
        return bool(np.isfinite(dequantize(rows, kind)).all())
