"""Examples as one batch, and the loss on it.

Rows are padded on their right, so that causal attention needs no mask: a token sees nothing of
what follows it. Several samples in one row with a block-diagonal mask were measured and are
slower (docs/lab-log.md): four samples in five fill their row, and the mask is computed in full.
Invariant: the loss is the weighted mean over tokens, whatever the padding. Knows no model's parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from neuralforge_trainer.learn.distill import collate_teachings, taught_divergence
from neuralforge_trainer.learn.encode import Encoded

Batch = dict[str, torch.Tensor]


def collate(examples: Sequence[Encoded]) -> Batch:
    """`input_ids` and `weights`, (examples, longest) each; padding has weight 0."""
    longest = max(map(len, examples))
    return collate_teachings(examples, longest) | {
        "input_ids": torch.tensor([e.ids + (0,) * (longest - len(e)) for e in examples]),
        "weights": torch.tensor([e.weights + (0.0,) * (longest - len(e)) for e in examples]),
    }


def token_loss(model: Any, batch: Batch, distillation: float = 0.0) -> torch.Tensor:
    """The mean negative log likelihood of `input_ids` under `model`, weighted by `weights`.

    At taught tokens their divergence from what was said counts as well, times `distillation`.
    """
    wanted = batch["weights"][:, 1:] != 0  # nothing predicts the first token; NaN counts as wanted
    logits = _logits(model, batch["input_ids"], wanted)
    losses = torch.nn.functional.cross_entropy(
        logits, batch["input_ids"][:, 1:][wanted], reduction="none"
    )
    kept = batch["weights"][:, 1:][wanted]
    total = (losses * kept).sum()
    if distillation and "taught" in batch:
        total = total + distillation * taught_divergence(logits, batch, wanted)
    return total / kept.sum()


def _logits(model: Any, ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """(wanted, vocabulary), computed at the columns where some row is wanted, and only there."""
    columns = wanted.any(0).nonzero()[:, 0]
    output = model(input_ids=ids, logits_to_keep=columns, use_cache=False)
    kept: torch.Tensor = output.logits[wanted[:, columns]]
    return kept.float()


def pieces(batch: Batch, rows: int) -> list[tuple[Batch, float]]:
    """`batch` in pieces of at most `rows` rows, each with its share of the loss's weight.

    The sum of the pieces' losses, each times its share, is the loss of the whole.
    """
    count = len(batch["weights"])
    if count <= rows:
        return [(batch, 1.0)]
    mass = batch["weights"][:, 1:].sum(1)
    parts = [slice(start, start + rows) for start in range(0, count, rows)]
    return [
        ({name: t[part] for name, t in batch.items()}, float(mass[part].sum() / mass.sum()))
        for part in parts
    ]
