"""A folded stack computes what its adapters compute one by one, by llama.cpp's own numbers."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest

from gguf_maker import make_adapter
from neuralforge_adapters.base import Base
from neuralforge_adapters.convert import check_adapter
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.fold import fold

PROMPT = list(range(40, 90))


class Plain:
    """llama.cpp itself, with any adapters."""

    def __init__(self, base: Base) -> None:
        self.model = llama_cpp.llama_model_load_from_file(
            str(base.path).encode(), llama_cpp.llama_model_default_params()
        )
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = 256
        parameters.n_threads = parameters.n_threads_batch = 1
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)

    def logits(self, *adapters: tuple[Path, float]) -> np.ndarray[Any, np.dtype[np.float32]]:
        loaded = [
            llama_cpp.llama_adapter_lora_init(self.model, str(p).encode()) for p, _ in adapters
        ]
        assert all(loaded), "llama.cpp refuses an adapter"
        handles = (llama_cpp.llama_adapter_lora_p_ctypes * len(loaded))(*loaded)
        scales = (ctypes.c_float * len(loaded))(*[scale for _, scale in adapters])
        assert llama_cpp.llama_set_adapters_lora(self.context, handles, len(loaded), scales) == 0
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        tokens = (llama_cpp.llama_token * len(PROMPT))(*PROMPT)
        batch = llama_cpp.llama_batch_get_one(tokens, len(PROMPT))
        assert llama_cpp.llama_decode(self.context, batch) == 0
        size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        row = llama_cpp.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(row, shape=(size,)).copy()


@pytest.fixture
def plain(base: Base) -> Plain:
    return Plain(base)


def strong(tmp_path: Path, count: int, **options: Any) -> list[tuple[Path, float]]:
    scales = (1.0, 0.5, -0.7, 1.3)
    return [
        (make_adapter(tmp_path / f"{n}.gguf", seed=n, strength=0.15, **options), scales[n])
        for n in range(count)
    ]


def folded(adapters: list[tuple[Path, float]]) -> Path:
    out = adapters[0][0].with_name("folded.gguf")
    fold(adapters, out)
    return out


def test_four_folded_adapters_give_the_logits_of_all_four(plain: Plain, tmp_path: Path) -> None:
    adapters = strong(tmp_path, 4)
    wanted, without = plain.logits(*adapters), plain.logits()
    got = plain.logits((folded(adapters), 1.0))
    assert np.abs(wanted - without).max() > 1, "the adapters change nothing: this proves nothing"
    assert np.abs(got - wanted).max() < 0.02 * np.abs(wanted - without).max()
    assert got.argmax() == wanted.argmax()


def test_ranks_and_alphas_may_differ(plain: Plain, tmp_path: Path) -> None:
    small = make_adapter(tmp_path / "small.gguf", seed=1, rank=2, strength=0.3)
    large = make_adapter(tmp_path / "large.gguf", seed=2, rank=24, strength=0.1)
    adapters = [(small, 0.5), (rewritten(large, tmp_path / "alpha.gguf", alpha=6.0), 2.0)]
    wanted = plain.logits(*adapters)
    assert np.abs(plain.logits((folded(adapters), 1.0)) - wanted).max() < 0.02 * np.ptp(wanted)


def test_modules_that_one_adapter_lacks_are_the_others_alone(plain: Plain, tmp_path: Path) -> None:
    (whole, _), (other, _) = strong(tmp_path, 2)
    part = rewritten(other, tmp_path / "part.gguf", keep="attn_q")
    adapters = [(part, 1.0), (whole, 0.5)]
    wanted = plain.logits(*adapters)
    assert np.abs(plain.logits((folded(adapters), 1.0)) - wanted).max() < 0.02 * np.ptp(wanted)


@pytest.mark.parametrize("kind", [np.float16, gguf.GGMLQuantizationType.Q8_0])
def test_adapters_in_other_number_formats_are_read(plain: Plain, tmp_path: Path, kind: Any) -> None:
    """Compared with the same numbers in float32: llama.cpp quantises what it multiplies by Q8_0."""
    one, two = (path for path, _ in strong(tmp_path, 2, rank=32))
    small = rewritten(one, tmp_path / "small.gguf", kind=kind)
    wanted = plain.logits((rewritten(small, tmp_path / "plain.gguf"), 1.0), (two, 1.0))
    found = plain.logits((folded([(small, 1.0), (two, 1.0)]), 1.0))
    assert np.abs(found - wanted).max() < 0.03 * np.ptp(wanted)
    assert np.abs(plain.logits((two, 1.0)) - wanted).max() > 0.1 * np.ptp(wanted)


def test_a_folded_file_is_an_adapter_like_any_other(base: Base, tmp_path: Path) -> None:
    facts = check_adapter(folded(strong(tmp_path, 3)), base.digest)
    assert (facts.rank, facts.architecture) == (24, "qwen2")


def test_adapters_of_different_bases_are_refused_by_name(tmp_path: Path) -> None:
    one = make_adapter(tmp_path / "one.gguf")
    two = make_adapter(tmp_path / "two.gguf", architecture="llama")
    with pytest.raises(AdapterError, match=r"one\.gguf, two\.gguf.*llama and qwen2"):
        fold([(one, 1.0), (two, 1.0)], tmp_path / "out.gguf")


def test_modules_of_different_shapes_are_refused_by_name(tmp_path: Path) -> None:
    one = make_adapter(tmp_path / "one.gguf")
    two = rewritten(one, tmp_path / "two.gguf", narrower=True)
    with pytest.raises(AdapterError, match="differ in the shape of blk"):
        fold([(one, 1.0), (two, 1.0)], tmp_path / "out.gguf")


def rewritten(
    source: Path,
    out: Path,
    *,
    alpha: float | None = None,
    keep: str = "",
    kind: Any = None,
    narrower: bool = False,
) -> Path:
    """`source` with another alpha, fewer modules, another number format, or other shapes."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, "qwen2")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    known = reader.fields["adapter.lora.alpha"].contents()
    writer.add_float32("adapter.lora.alpha", known if alpha is None else alpha)
    for tensor in reader.tensors:
        if keep not in tensor.name:
            continue
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        data = numbers.reshape(*reversed(tensor.shape))
        if narrower and tensor.name.endswith("lora_a"):
            data = np.ascontiguousarray(data[:, :-32])
        if isinstance(kind, gguf.GGMLQuantizationType):
            writer.add_tensor(tensor.name, gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, data.astype(kind) if kind else data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
