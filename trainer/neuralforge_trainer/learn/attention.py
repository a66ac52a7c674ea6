"""Attention for short rows on a CPU that computes in bfloat16.

torch's fused kernel is made for long rows. Up to a few hundred tokens, plain matrix products with
the query heads of a group folded into rows are three times faster there (docs/lab-log.md).
Invariant: the result is that of causal attention in transformers; whatever comes with a mask goes
to transformers' own function. Knows no model.
"""

from __future__ import annotations

from typing import Any

import torch

FOLDED = "neuralforge_folded"
"""The name under which transformers finds it."""
_LONGEST = 512
"""Tokens in a row beyond which the fused kernel is faster, and its memory does not grow as much."""


def register_folded_attention() -> str:
    """Make it known to transformers; returns its name."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(FOLDED, folded_attention)
    AttentionMaskInterface.register(FOLDED, sdpa_mask)
    return FOLDED


def folded_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention: query (batch, heads, tokens, width), key and value with fewer heads.

    Returns (batch, tokens, heads, width), as transformers' `sdpa_attention_forward` does.
    """
    batch, heads, tokens, width = query.shape
    if attention_mask is not None or dropout or tokens > _LONGEST or key.shape[2] != tokens:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        result: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return result
    groups = key.shape[1]
    folded = query.reshape(batch * groups, -1, width)
    scores = folded @ key.reshape(batch * groups, tokens, width).transpose(1, 2)
    scores = scores.view(-1, tokens, tokens) * (width**-0.5 if scaling is None else scaling)
    shares = (scores + _no_future(scores)).softmax(-1).view(batch * groups, -1, tokens)
    mixed = shares @ value.reshape(batch * groups, tokens, width)
    return mixed.view(batch, heads, tokens, width).transpose(1, 2).contiguous(), None


def _no_future(scores: torch.Tensor) -> torch.Tensor:
    """(tokens, tokens): minus infinity above the diagonal, else 0."""
    return torch.full_like(scores[0], float("-inf")).triu(1)
