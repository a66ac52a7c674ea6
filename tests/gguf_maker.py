"""Makes GGUF files for tests: random adapters, and bases of a given shape with random weights."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from neuralforge_adapters.base import embedded_base

_TARGETS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_ROWS = 64
"""Rows of random numbers that a matrix is filled with, over and over."""


def embedded_reader() -> gguf.GGUFReader:
    return gguf.GGUFReader(embedded_base())


def make_adapter(
    path: Path,
    *,
    seed: int = 0,
    rank: int = 8,
    strength: float = 0.02,
    base_digest: str | None = None,
    spoil: float | None = None,
    architecture: str = "qwen2",
) -> Path:
    """A random LoRA for the embedded base; `spoil` replaces one number, for example by NaN."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    if base_digest:
        writer.add_string("neuralforge.base.digest", base_digest)
    for tensor in embedded_reader().tensors:
        if not any(f".{target}.weight" in tensor.name for target in _TARGETS):
            continue
        wide, high = (int(n) for n in tensor.shape)
        a = random.normal(0, strength, (rank, wide)).astype(np.float32)
        b = random.normal(0, strength, (high, rank)).astype(np.float32)
        if spoil is not None and tensor.name == "blk.3.ffn_up.weight":
            b[7, 1] = spoil
        writer.add_tensor(f"{tensor.name}.lora_a", a)
        writer.add_tensor(f"{tensor.name}.lora_b", b)
    return _finish(writer, path)


def make_base(
    path: Path,
    *,
    layers: int,
    width: int,
    heads: int,
    kv_heads: int,
    hidden: int,
    vocabulary: int,
    fim: bool = True,
    words: bool = False,
) -> Path:
    """A qwen2 base of that shape in Q8_0 with random weights and the embedded tokenizer.

    Its vocabulary is filled up with unused tokens, or with made-up `words`, which any of its
    outputs may then be: for cost, not for quality. With `words`, its output has weights of its
    own, which cost the same: a random base that shares them with its input only repeats it.
    """
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("random")
    writer.add_block_count(layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_tokenizer(writer, vocabulary, fim=fim, words=words)
    random = np.random.default_rng(0)
    different = vocabulary if words else _ROWS
    _add_quantised(writer, "token_embd.weight", vocabulary, width, random, different)
    if words:
        _add_quantised(writer, "output.weight", vocabulary, width, random, different)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    kv_width = width // heads * kv_heads
    for layer in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
        for name, high in (("attn_q", width), ("attn_k", kv_width), ("attn_v", kv_width)):
            writer.add_tensor(f"blk.{layer}.{name}.bias", np.zeros(high, np.float32))
            _add_quantised(writer, f"blk.{layer}.{name}.weight", high, width, random)
        _add_quantised(writer, f"blk.{layer}.attn_output.weight", width, width, random)
        _add_quantised(writer, f"blk.{layer}.ffn_gate.weight", hidden, width, random)
        _add_quantised(writer, f"blk.{layer}.ffn_up.weight", hidden, width, random)
        _add_quantised(writer, f"blk.{layer}.ffn_down.weight", width, hidden, random)
    return _finish(writer, path)


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: int, *, fim: bool, words: bool) -> None:
    fields = embedded_reader().fields
    tokens = [str(t) for t in fields["tokenizer.ggml.tokens"].contents()]
    types = list(fields["tokenizer.ggml.token_type"].contents())
    known = len(tokens)
    if not fim:  # llama.cpp also finds these by their texts
        tokens = [t.replace("fim", "void").replace("file_sep", "void_sep") for t in tokens]
    filler, kind = ("\u0120w{}", "NORMAL") if words else ("<|unused_{}|>", "UNUSED")
    tokens += [filler.format(i) for i in range(known, vocabulary)]
    types += [int(gguf.TokenType[kind])] * (vocabulary - known)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([str(m) for m in fields["tokenizer.ggml.merges"].contents()])
    for key in ("bos", "eos", "padding"):
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", _number(fields, f"{key}_token_id"))
    writer.add_add_bos_token(False)
    if fim:
        for key in ("fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep"):
            writer.add_uint32(f"tokenizer.ggml.{key}_token_id", _number(fields, f"{key}_token_id"))


def _number(fields: dict[str, gguf.ReaderField], name: str) -> int:
    return int(fields[f"tokenizer.ggml.{name}"].contents())


def _add_quantised(
    writer: gguf.GGUFWriter,
    name: str,
    high: int,
    wide: int,
    random: np.random.Generator,
    different: int = _ROWS,
) -> None:
    """Random Q8_0 blocks; `different` rows of randomness are repeated, since only cost counts."""
    rows = random.standard_normal((different, wide), np.float32) * np.float32(0.02)
    data = gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0)
    data = np.tile(data, (-(-high // different), 1))[:high]
    writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)


def _finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
