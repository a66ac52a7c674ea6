"""How much memory a base of a given shape takes, served and trained, before anyone waits for it.

Invariant: estimates from the shape alone, on the high side, in bytes; the formulas are those of
`docs/bases.md`, which a test holds to this module. Knows no file and measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

BATCH = 256
"""Tokens that llama.cpp evaluates in one call, and that its compute buffers are made for."""
MOST_SEQUENCES = 4
SEQUENCE_BYTES = 512 << 20
"""The engine keeps the keys and values of up to four prompts, while they take no more than that
together; of one in any case."""
RANK = 16
_SAMPLE_TOKENS = 256
TRAINED_TOKENS = 4 * _SAMPLE_TOKENS
"""Of one micro-batch: four samples of 256 tokens."""
_F16, _F32 = 2, 4
_ENGINE = 60 << 20
_TORCH = 700 << 20


@dataclass(frozen=True)
class Shape:
    """What memory depends on."""

    file_bytes: int
    parameters: int
    layers: int
    width: int
    kv_width: int
    """Of one token's keys in one layer: heads for keys and values, times a head's width."""
    hidden: int
    """Of the feed-forward network."""
    vocabulary: int


def serving_bytes(shape: Shape, context: int) -> int:
    """The file (mapped), keys and values of `n` prompts of `context` tokens in F16, buffers.

    File + n·2·layers·kv_width·context·2 + 256·(vocabulary + 2·hidden + 6·width)·4 + 60 MiB.
    """
    one = 2 * shape.layers * shape.kv_width * context * _F16
    cache = one * max(1, min(MOST_SEQUENCES, SEQUENCE_BYTES // max(1, one)))
    buffers = BATCH * (shape.vocabulary + 2 * shape.hidden + 6 * shape.width) * _F32
    return shape.file_bytes + cache + buffers + _ENGINE


def training_bytes(shape: Shape) -> int:
    """Dequantised weights, the LoRA with its optimizer and EWC, activations, logits, torch.

    As it trains where memory is not short; `least_training_bytes` is what it can do with.

    4·parameters + 24·LoRA + 1024·layers·(16·width + 6·hidden)·4 + 1024·vocabulary·4·3 + 700 MiB,
    where LoRA = 16·layers·(7·width + 2·kv_width + 3·hidden) and 24 bytes are weight, gradient, two
    moments, Fisher and anchor.
    """
    activations = TRAINED_TOKENS * shape.layers * (16 * shape.width + 6 * shape.hidden) * _F32
    logits = 3 * TRAINED_TOKENS * shape.vocabulary * _F32
    return _weights(shape) + activations + logits + _TORCH


def least_training_bytes(shape: Shape) -> int:
    """With activations computed again in the backward pass, and one sample at a time.

    4·parameters + 24·LoRA + 256·((layers + 16)·width + 6·hidden)·4 + 256·vocabulary·4·3 + 700 MiB.
    """
    inputs = _SAMPLE_TOKENS * (shape.layers + 16) * shape.width * _F32
    one_layer = _SAMPLE_TOKENS * 6 * shape.hidden * _F32
    logits = 3 * _SAMPLE_TOKENS * shape.vocabulary * _F32
    return _weights(shape) + inputs + one_layer + logits + _TORCH


def _weights(shape: Shape) -> int:
    lora = RANK * shape.layers * (7 * shape.width + 2 * shape.kv_width + 3 * shape.hidden)
    return _F32 * shape.parameters + 6 * _F32 * lora
