"""PEFT to GGUF, and what is refused before llama.cpp sees it."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from lora_maker import random_lora
from neuralforge_adapters.base import Base, embedded_base
from neuralforge_adapters.base_facts import read_facts
from neuralforge_adapters.convert import BASE_DIGEST_KEY, check_adapter, peft_to_gguf
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.gguf_header import read_gguf_header


@pytest.fixture(scope="module")
def lora(shared_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a LoRA in PEFT's format and as `adapter.gguf`."""
    folder = tmp_path_factory.mktemp("lora")
    random_lora(shared_base, folder)
    peft_to_gguf(folder, shared_base.path, shared_base.digest, folder / "adapter.gguf")
    return folder


def embedded_tensors() -> int:
    """Two factors for each of seven modules in every layer."""
    return read_facts(embedded_base()).shape.layers * 7 * 2


def test_every_factor_arrives_in_the_layout_of_llama_cpps_converter(lora: Path) -> None:
    factors = load_file(lora / "adapter_model.safetensors")
    reader = GGUFReader(lora / "adapter.gguf")
    tensors = {t.name: t for t in reader.tensors}
    assert len(tensors) == len(factors) == embedded_tensors()
    a = factors["base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight"]
    b = factors["base_model.model.model.layers.3.mlp.down_proj.lora_B.weight"]
    assert np.array_equal(tensors["blk.3.attn_q.weight.lora_a"].data, a)
    assert np.array_equal(tensors["blk.3.ffn_down.weight.lora_b"].data, b)
    assert a.shape == (16, 320)
    assert b.shape == (320, 16)


def test_metadata_names_kind_alpha_and_base(lora: Path, shared_base: Base) -> None:
    metadata = read_gguf_header(lora / "adapter.gguf").metadata
    assert metadata["general.type"] == "adapter"
    assert metadata["adapter.type"] == "lora"
    assert metadata["adapter.lora.alpha"] == 32.0
    assert metadata["general.architecture"] == "qwen2"
    assert metadata[BASE_DIGEST_KEY] == shared_base.digest


def test_facts_of_a_good_adapter(lora: Path, shared_base: Base) -> None:
    facts = check_adapter(lora / "adapter.gguf", shared_base.digest)
    assert (facts.rank, facts.alpha, facts.architecture) == (16, 32.0, "qwen2")
    assert facts.tensors == embedded_tensors()


def test_the_check_leaves_most_of_a_swaps_twenty_milliseconds(
    lora: Path, shared_base: Base
) -> None:
    times = []
    for _ in range(10):
        start = time.process_time()
        check_adapter(lora / "adapter.gguf", shared_base.digest)
        times.append(time.process_time() - start)
    assert min(times) < 0.010


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_rslora": True}, "use_rslora"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
        ({"alpha_pattern": {"q_proj": 8}}, "alpha_pattern"),
    ],
)
def test_what_gguf_cannot_hold_is_refused_by_name(
    lora: Path, shared_base: Base, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    config = json.loads((lora / "adapter_config.json").read_text("utf-8"))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | change), "utf-8")
    with pytest.raises(AdapterError, match=named):
        peft_to_gguf(tmp_path, shared_base.path, shared_base.digest, tmp_path / "out.gguf")


def test_an_architecture_that_permutes_its_tensors_is_refused(lora: Path, tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "llama.gguf", "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), np.float32))
    for step in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        step()
    with pytest.raises(AdapterError, match=r"'llama'.*supported: qwen2"):
        peft_to_gguf(lora, tmp_path / "llama.gguf", "digest", tmp_path / "out.gguf")


def test_a_diverged_lora_is_not_converted(lora: Path, shared_base: Base, tmp_path: Path) -> None:
    factors = load_file(lora / "adapter_model.safetensors")
    next(iter(factors.values()))[0, 0] = np.nan
    save_file(factors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_bytes((lora / "adapter_config.json").read_bytes())
    with pytest.raises(AdapterError, match="NaN"):
        peft_to_gguf(tmp_path, shared_base.path, shared_base.digest, tmp_path / "out.gguf")


def test_an_adapter_for_another_base_is_refused(lora: Path) -> None:
    with pytest.raises(AdapterError, match="trained for base"):
        check_adapter(lora / "adapter.gguf", "0" * 64)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found_wherever_it_is(
    lora: Path, shared_base: Base, tmp_path: Path, value: float
) -> None:
    content = bytearray((lora / "adapter.gguf").read_bytes())
    place = read_gguf_header(lora / "adapter.gguf").tensors[41]
    content[place.start + place.size - 4 : place.start + place.size] = struct.pack("<f", value)
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(content)
    with pytest.raises(AdapterError, match=f"NaN or infinity in {place.name}"):
        check_adapter(bad, shared_base.digest)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
def test_other_tensor_types_are_checked_too(tmp_path: Path, kind: str) -> None:
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    _write_typed(good, kind, np.ones((4, 32), np.float32))
    values = np.ones((4, 32), np.float32)
    values[2, 7] = np.inf
    _write_typed(bad, kind, values)
    assert check_adapter(good, "any").rank == 4
    with pytest.raises(AdapterError, match="NaN or infinity"):
        check_adapter(bad, "any")


def test_the_base_itself_is_no_adapter(shared_base: Base) -> None:
    with pytest.raises(AdapterError, match="no LoRA adapter"):
        check_adapter(shared_base.path, shared_base.digest)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(AdapterError, match="cannot be used"):
        check_adapter(path, "any")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="cannot be used"):
        check_adapter(tmp_path / "none.gguf", "any")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 0.9999))
def test_an_adapter_cut_off_anywhere_is_refused(
    lora: Path, shared_base: Base, tmp_path: Path, share: float
) -> None:
    content = (lora / "adapter.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(AdapterError):
        check_adapter(path, shared_base.digest)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(position=8, value=2)  # fewer tensors than there are
@given(position=st.integers(0, 6000), value=st.integers(0, 255))
def test_a_damaged_header_never_does_worse_than_an_error(
    lora: Path, shared_base: Base, tmp_path: Path, position: int, value: int
) -> None:
    content = bytearray((lora / "adapter.gguf").read_bytes())
    content[position] = value
    path = tmp_path / "damaged.gguf"
    path.write_bytes(content)
    try:
        facts = check_adapter(path, shared_base.digest)
    except AdapterError:
        return
    assert facts.tensors == embedded_tensors()


def _write_typed(path: Path, kind: str, a: np.ndarray) -> None:
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import quantize

    wanted = GGMLQuantizationType[kind]
    writer = GGUFWriter(path, "qwen2")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    with np.errstate(all="ignore"):
        data = a.astype(np.float16) if kind == "F16" else quantize(a, wanted)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", data, raw_dtype=wanted)
    writer.add_tensor("blk.0.attn_q.weight.lora_b", np.ones((32, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
