"""Weights and tokenizer to GGUF, and back again.

Invariant: a file appears under its name only when it is whole. Names and metadata are those that
llama.cpp and transformers know for qwen2; `neuralforge.fim.orders` says what order the base knows.
Knows no training.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from neuralforge_adapters.gguf_header import read_gguf_header, read_gguf_strings
from neuralforge_adapters.home import private_dir
from neuralforge_trainer.errors import ExportError
from neuralforge_trainer.pretrain.state import Progress
from neuralforge_trainer.pretrain.tokenizer import SPECIAL, Tokenizer, make_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from neuralforge_trainer.pretrain.model import Model, ModelConfig

Precision = Literal["q8_0", "f16"]
FIM_ORDERS = "suffix-first,prefix-first"
_TOKENS, _SHARDS = "neuralforge.pretrain.tokens", "neuralforge.pretrain.shards"

_LAYER = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
_WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
}


def export(
    path: Path,
    name: str,
    precision: Precision,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    progress: Progress,
    check: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write a GGUF to `path` in one step, once `check` has let it pass.

    Raises:
        ExportError: the disk refuses; what was at `path` stands.
    """

    def write(part: Path) -> None:
        _write(part, name, precision, config, weights, tokenizer, progress)

    _replace(path, write, check)


def read_weights(path: Path, model: Model) -> dict[str, Tensor]:
    """The weights in a GGUF, dequantised, under the names of `model`: to go on from a file alone.

    Raises:
        ExportError: the file does not hold exactly the weights of `model`.
    """
    import torch
    from gguf import GGUFReader, dequantize

    found = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}
    weights = {}
    for name, gguf_name in gguf_names(model.config).items():
        values = found.pop(gguf_name, None)
        wanted = tuple(model.state_dict()[name].shape)
        if values is None or values.shape != wanted:
            shape = "no" if values is None else f"a {values.shape}"
            raise ExportError(
                f"{path} has {shape} {gguf_name}, the run file one of {wanted}; name a base made "
                "by this run file"
            )
        weights[name] = torch.from_numpy(np.array(values, np.float32))
    if found:
        raise ExportError(
            f"{path} has {min(found)} too, which the run file does not know; name a base made by "
            "this run file"
        )
    return weights


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a GGUF that `export` wrote.

    Raises:
        ExportError: `path` is no GGUF, or its special tokens are not those of a base made here.
    """
    try:
        tokens = read_gguf_strings(path, "tokenizer.ggml.tokens")
        merges = read_gguf_strings(path, "tokenizer.ggml.merges")
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}; name a GGUF made here") from error
    if tuple(tokens[-len(SPECIAL) :]) != SPECIAL:
        raise ExportError(
            f"the tokenizer of {path} was not made by `neuralforge pretrain`; name a base that was"
        )
    pairs = [merge.partition(" ") for merge in merges]
    return make_tokenizer(tokens, [(first, second) for first, _, second in pairs])


def read_progress(path: Path) -> Progress:
    """Where a run stands that begins with this base: at the text that it has not seen yet."""
    fields = read_gguf_header(path).metadata
    seen = int(fields.get(_TOKENS, 0))
    return Progress(tokens=seen, before=seen, shard=int(fields.get(_SHARDS, 0)))


def gguf_names(config: ModelConfig) -> dict[str, str]:
    """The GGUF name of each parameter."""
    names = dict(_WHOLE)
    for layer in range(config.layers):
        names |= {f"model.layers.{layer}.{k}": f"blk.{layer}.{v}" for k, v in _LAYER.items()}
    return names


def _replace(path: Path, write: Callable[[Path], None], check: Callable[[Path], None]) -> None:
    private_dir(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    part = Path(name)
    try:
        with _explained(path):
            write(part)
        check(part)
        with _explained(path):
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"cannot write {path}: {error.strerror or error}; free some room and export again"
        ) from error


def _write(
    path: Path,
    name: str,
    precision: Precision,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    progress: Progress,
) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, "qwen2")
    _add_metadata(writer, name, precision, config)
    writer.add_uint64(_TOKENS, progress.tokens)
    writer.add_uint64(_SHARDS, progress.shard + 1)
    _add_tokenizer(writer, tokenizer)
    for source, target in gguf_names(config).items():
        _add_tensor(writer, target, weights[source].float().cpu().numpy(), precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_metadata(writer: Any, name: str, precision: Precision, config: ModelConfig) -> None:
    import gguf

    types = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "f16": gguf.LlamaFileType.MOSTLY_F16}
    writer.add_name(name)
    writer.add_string("neuralforge.fim.orders", FIM_ORDERS)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_file_type(types[precision])


def _add_tokenizer(writer: Any, tokenizer: Tokenizer) -> None:
    import gguf

    control, normal = int(gguf.TokenType.CONTROL), int(gguf.TokenType.NORMAL)
    tokens = tokenizer.tokens()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in SPECIAL else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges()])
    writer.add_eos_token_id(tokenizer.end)
    writer.add_bos_token_id(tokenizer.end)
    writer.add_pad_token_id(tokenizer.end)
    writer.add_add_bos_token(False)
    fim = {
        "fim_pre": tokenizer.prefix,
        "fim_suf": tokenizer.suffix,
        "fim_mid": tokenizer.middle,
        "fim_pad": tokenizer.pad,
        "fim_rep": tokenizer.repository,
        "fim_sep": tokenizer.file,
    }
    for kind, token in fim.items():
        writer.add_uint32(f"tokenizer.ggml.{kind}_token_id", token)


def _add_tensor(
    writer: Any, name: str, values: npt.NDArray[np.float32], precision: Precision
) -> None:
    import gguf

    if values.ndim < 2:
        writer.add_tensor(name, values)
    elif precision == "f16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
