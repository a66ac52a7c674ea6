"""The qwen2 architecture in plain torch, small enough to read and to compile.

Invariant: parameter names and shapes are those of transformers' `Qwen2ForCausalLM` with tied
embeddings, so that weights map one to one. Knows no data, no optimizer and no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

_CHUNK = 512
"""Tokens whose logits are held at once."""
_BLOCK = 128
"""Queries whose scores are held at once, on the CPU."""


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model; `head` channels per head, `kv_heads` shared key-value heads."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    context: int
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-6

    @property
    def head(self) -> int:
        """Channels per attention head."""
        return self.width // self.heads


class RMSNorm(nn.Module):  # type: ignore[misc]
    """Root mean square norm (Zhang and Sennrich 2019), computed in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """`x` (..., width), normalised over the last axis."""
        normed = functional.rms_norm(x.float(), self.weight.shape, self.weight, self.epsilon)
        return normed.to(x.dtype)


class Attention(nn.Module):  # type: ignore[misc]
    """Causal self-attention with grouped key-value heads and rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        kv_width = config.kv_heads * config.head
        self.q_proj = nn.Linear(config.width, config.width)
        self.k_proj = nn.Linear(config.width, kv_width)
        self.v_proj = nn.Linear(config.width, kv_width)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """`x` (batch, length, width) after attention to itself and what comes before."""
        batch, length, width = x.shape
        query = self._split(self.q_proj(x))
        key = self._split(self.k_proj(x))
        value = self._split(self.v_proj(x))
        attended = attend(rotate(query, cosine, sine), rotate(key, cosine, sine), value)
        merged: Tensor = self.o_proj(attended.transpose(1, 2).reshape(batch, length, width))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.config.head).transpose(1, 2)


class FeedForward(nn.Module):  # type: ignore[misc]
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.hidden, bias=False)
        self.up_proj = nn.Linear(config.width, config.hidden, bias=False)
        self.down_proj = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (..., width) through the gated hidden layer."""
        result: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return result


class Block(nn.Module):  # type: ignore[misc]
    """One layer: attention and feed-forward, each behind its norm and beside a residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """`x` (batch, length, width) after this layer."""
        x = x + self.self_attn(self.input_layernorm(x), cosine, sine)
        result: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return result


class Decoder(nn.Module):  # type: ignore[misc]
    """Everything but the head: token ids to hidden states."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_epsilon)

    def forward(self, ids: Tensor) -> Tensor:
        """Hidden states (batch, length, width) of `ids` (batch, length)."""
        x = self.embed_tokens(ids)
        cosine, sine = rotary_tables(self.config, ids.shape[1], x.device)
        for layer in self.layers:
            x = layer(x, cosine, sine)
        result: Tensor = self.norm(x)
        return result


class Model(nn.Module):  # type: ignore[misc]
    """The decoder under the names that transformers uses; the head is the embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.reset()

    @property
    def head(self) -> Tensor:
        """The output matrix (vocabulary, width), tied to the embedding."""
        return self.model.embed_tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Hidden states (batch, length, width) of `ids` (batch, length)."""
        result: Tensor = self.model(ids)
        return result

    def reset(self) -> None:
        """Random weights: normal at 0.02, residual outputs smaller by depth (GPT-2)."""
        residual = 0.02 / (2 * self.config.layers) ** 0.5
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                inner = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=residual if inner else 0.02)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention: `query` (batch, heads, length, head), the others with shared heads.

    torch's kernel on an accelerator. On the CPU that one takes 2 to 3 times as long as plain
    products: query heads that share a key head are stacked into one matrix, and the queries go in
    blocks, each against the keys up to its end, so that the scores of a block stay in the cache.
    """
    if query.device.type != "cpu":
        return functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=key.shape[1] != query.shape[1]
        )
    batch, heads, length, head = query.shape
    shared = key.shape[1]
    stacked = (query * head**-0.5).reshape(batch * shared, heads // shared, length, head)
    keys, values = (x.reshape(batch * shared, length, head) for x in (key, value))
    places = torch.arange(length)
    blocks = []
    for start in range(0, length, _BLOCK):
        end = min(start + _BLOCK, length)
        block = stacked[:, :, start:end]
        scores = block.flatten(1, 2) @ keys[:, :end].transpose(1, 2)
        scores = scores.unflatten(1, block.shape[1:3]).float()
        hidden = places[:end] > places[start:end, None]
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1).to(value.dtype)
        blocks.append((weights.flatten(1, 2) @ values[:, :end]).unflatten(1, block.shape[1:3]))
    return torch.cat(blocks, dim=2).reshape(batch, heads, length, head)


def rotary_tables(config: ModelConfig, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, head) of the rotary embedding (Su et al. 2021)."""
    half = torch.arange(0, config.head, 2, device=device, dtype=torch.float32) / config.head
    positions = torch.arange(length, device=device, dtype=torch.float32)
    angles = torch.outer(positions, config.rope_base**-half)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """`x` (batch, heads, length, head) turned by its positions, halves paired as in NeoX."""
    low, high = x.chunk(2, dim=-1)
    turned = torch.cat((-high, low), dim=-1)
    return (x * cosine + turned * sine).to(x.dtype)


class LossFunction:
    """Summed cross-entropy of a model on a batch, in bf16, compiled on request."""

    def __init__(self, model: Model, *, compiled: bool) -> None:
        self._model = model
        self._hidden = torch.compile(model, dynamic=False) if compiled else model
        self._chunk = torch.compile(chunk_loss, dynamic=False) if compiled else chunk_loss

    def __call__(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Nats, summed over the `targets` (batch, length) that are not negative."""
        with torch.autocast(ids.device.type, torch.bfloat16):
            hidden = self._hidden(ids)
        flat = hidden.to(torch.bfloat16).flatten(0, 1)
        loss: Tensor = _ChunkedLoss.apply(flat, self._model.head, targets.flatten(), self._chunk)
        return loss


class _ChunkedLoss(torch.autograd.Function):  # type: ignore[misc]
    """Cross-entropy that never holds all logits: gradients are made chunk by chunk on the way.

    After Hsu et al. 2024, «Liger Kernel».
    """

    @staticmethod
    def forward(context: Any, hidden: Tensor, head: Tensor, targets: Tensor, chunk: Any) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        for_hidden = torch.empty_like(hidden)
        for_head = torch.zeros_like(head, dtype=torch.float32)
        low = head.to(hidden.dtype)
        for start in range(0, len(targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            loss, d_hidden, d_head = chunk(hidden[part], low, targets[part])
            total += loss
            for_hidden[part] = d_hidden
            for_head += d_head
        context.save_for_backward(for_hidden, for_head)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        for_hidden, for_head = context.saved_tensors
        return for_hidden * gradients[0], for_head * gradients[0], None, None


def chunk_loss(hidden: Tensor, head: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Summed loss of one chunk, and its gradients by `hidden` and `head`.

    Targets below zero are left out.
    """
    logits = (hidden @ head.T).float()
    counted = targets >= 0
    index = targets.clamp(min=0)[:, None]
    logarithm = logits.logsumexp(dim=-1, keepdim=True)
    loss = ((logarithm - logits.gather(1, index)).squeeze(1) * counted).sum()
    gradient = (logits - logarithm).exp()
    own = torch.arange(head.shape[0], device=head.device) == index
    gradient = torch.where(own, gradient - 1, gradient)
    gradient = (gradient * counted[:, None]).to(hidden.dtype)
    return loss, gradient @ head, gradient.T @ hidden
