"""What a base's file says of itself: shape, context, tokenizer, FIM, licence.

Invariant: read from the head of the file alone, so that it takes no memory and no model is
loaded. Knows neither llama.cpp nor transformers, and not whether they can read the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from neuralforge_adapters.base_memory import Shape
from neuralforge_adapters.errors import BaseFileError
from neuralforge_adapters.fim import FimOrder, choose_order
from neuralforge_adapters.fim_families import fim_family, named_fim, with_family
from neuralforge_adapters.gguf_header import (
    GgufHeader,
    Scalar,
    read_gguf_header,
    read_gguf_strings,
)
from neuralforge_adapters.presets import ENCODER_DECODER

_ENCODER_DECODERS = ("t5",)
_ENCODERS = ("t5encoder", "bert", "nomic-bert", "jina-bert-v2")
_ENCODER = "is an encoder alone: it reads text and writes none; take a decoder, as the presets are"


@dataclass(frozen=True)
class BaseFacts:
    """One base."""

    name: str
    architecture: str
    licence: str
    tokenizer: str
    context: int
    """Tokens that it was trained on; 0 where the file does not say."""
    fim: str
    """The family whose FIM tokens it has, "by id" for an unknown one, empty for none."""
    order: FimOrder
    shape: Shape

    @property
    def unservable(self) -> str:
        """Why it cannot be served; empty where nothing speaks against it."""
        if self.architecture in _ENCODERS:
            return _ENCODER
        return ENCODER_DECODER if self.architecture in _ENCODER_DECODERS else ""


def read_facts(path: Path) -> BaseFacts:
    """The facts of the GGUF file at `path`.

    Raises:
        BaseFileError: it cannot be read, or is damaged.
    """
    try:
        header = read_gguf_header(path)
        texts = read_gguf_strings(path, "tokenizer.ggml.tokens")
    except (OSError, ValueError) as error:
        raise BaseFileError(f"base {path} cannot be read: {error}; fetch it again") from error
    metadata = header.metadata
    ids = {text: number for number, text in enumerate(texts)}
    fim = with_family(named_fim(metadata), ids.get)
    family = fim_family(ids.get)
    card = metadata.get("neuralforge.fim.orders")
    architecture = str(metadata.get("general.architecture", "unknown"))
    kinds = (metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    return BaseFacts(
        name=str(metadata.get("general.name", path.stem)),
        architecture=architecture,
        licence=str(metadata.get("general.license", "")),
        tokenizer=" ".join(str(kind) for kind in kinds if kind is not None),
        context=_number(metadata, f"{architecture}.context_length"),
        fim=(family.name if family is not None else "by id") if fim.complete else "",
        order=choose_order(fim, card if isinstance(card, str) else None),
        shape=_shape(path, header, architecture, len(texts)),
    )


def _shape(path: Path, header: GgufHeader, architecture: str, vocabulary: int) -> Shape:
    width = _number(header.metadata, f"{architecture}.embedding_length")
    heads = _number(header.metadata, f"{architecture}.attention.head_count")
    kv_heads = _number(header.metadata, f"{architecture}.attention.head_count_kv") or heads
    head = _number(header.metadata, f"{architecture}.attention.key_length")
    head = head or (width // heads if heads else 0)
    return Shape(
        file_bytes=path.stat().st_size,
        parameters=sum(prod(tensor.shape) for tensor in header.tensors),
        layers=_number(header.metadata, f"{architecture}.block_count"),
        width=width,
        kv_width=kv_heads * head,
        hidden=_number(header.metadata, f"{architecture}.feed_forward_length"),
        vocabulary=vocabulary,
    )


def _number(metadata: dict[str, Scalar], key: str) -> int:
    value = metadata.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
