"""Slow weights: a new version goes only part of the way from the one before to the trained one.

The update of a module is the product s·B·A of its LoRA's factors, and it is these products that
are averaged: factors averaged apart give (B + B')(A + A'), which is neither update nor their mean.
The average is joined exactly (`cat`: twice the rank) and cut back to the rank by its singular
values, found through QR of the factors, so that no matrix of the module's own size is made
(compare PEFT's `combination_type="svd"`, which makes one). Starting every update from the slow
weights again is what Lookahead does (Zhang, Lucas, Hinton and Ba 2019).

Invariant: the factors written compute the best approximation of that rank to the averaged update
(Eckart and Young 1936), in the Frobenius norm. Knows no samples and no EWC: after it the factors
are others, so that a Fisher of the factors before no longer fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neuralforge_trainer.learn.lora import lora_parameters

if TYPE_CHECKING:
    import torch

    Factors = tuple[torch.Tensor, torch.Tensor]
    """(A: rank x in, B: out x rank) of one module."""

_A, _B = ".lora_A.", ".lora_B."


def snapshot(model: Any) -> dict[str, torch.Tensor]:
    """Copies of the LoRA's weights on the CPU, by name."""
    return {name: w.detach().cpu().clone() for name, w in lora_parameters(model).items()}


def slow_down(model: Any, before: Mapping[str, torch.Tensor], share: float) -> None:
    """Set `model`'s LoRA to `share` of itself and the rest of what `snapshot` kept `before`.

    Both updates have the module's own scale, so it leaves the average alone.
    """
    import torch

    weights = lora_parameters(model)
    with torch.no_grad():
        for name in [name for name in weights if _A in name]:
            pair = weights[name], weights[name.replace(_A, _B)]
            past = before[name], before[name.replace(_A, _B)]
            a, b = average([(past, 1 - share), (pair, share)], rank=len(weights[name]))
            pair[0].copy_(a)
            pair[1].copy_(b)


def average(parts: Sequence[tuple[Factors, float]], rank: int) -> Factors:
    """Factors of that rank nearest to the sum of weight times B·A over `parts`.

    Computed in float64, of which the singular values of small updates have need. Each factor takes
    the root of a singular value, so that both are of one size.
    """
    import torch

    tall = torch.cat([a.detach().double().cpu() for (a, _), _ in parts]).T
    wide = torch.cat([w * b.detach().double().cpu() for (_, b), w in parts], dim=1)
    out_basis, out_part = torch.linalg.qr(wide)
    in_basis, in_part = torch.linalg.qr(tall)
    left, values, right = torch.linalg.svd(out_part @ in_part.T, full_matrices=False)
    roots = values[:rank].sqrt()
    b = out_basis @ (left[:, :rank] * roots)
    a = (roots[:, None] * right[:rank]) @ in_basis.T
    return _padded(a, rank, 0).float(), _padded(b, rank, 1).float()


def _padded(factor: torch.Tensor, rank: int, dimension: int) -> torch.Tensor:
    """With zeros up to the rank: a module may be smaller than it."""
    import torch

    missing = rank - factor.shape[dimension]
    if missing <= 0:
        return factor
    shape = list(factor.shape)
    shape[dimension] = missing
    return torch.cat([factor, factor.new_zeros(shape)], dim=dimension)
