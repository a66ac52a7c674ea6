"""Online elastic weight consolidation on the LoRA's own weights.

Kirkpatrick et al. 2017 (EWC); Schwarz et al. 2018 (online: one anchor, one decayed Fisher). The
Fisher is the diagonal of the true one: squared gradients of single samples whose labels are drawn
from the model's own predictions, for each predicted token (Kunstner et al. 2019 on why not the
empirical one). A weight that was never moved off B = 0 has none in its A: known, and harmless.

Invariant: the strength `rho` means the same on every base. With F' a tensor's Fisher divided by
its mean, the pull on a weight is rho * sqrt(mean F) * F' * (w - anchor) / reach: one of average
importance, moved by `reach`, is pulled back with rho times the root mean square of its tensor's
gradient. Nothing is known here of samples but their tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralforge_trainer.errors import ConsolidationError
from neuralforge_trainer.learn.encode import Encoded
from neuralforge_trainer.learn.lora import lora_parameters

if TYPE_CHECKING:
    import torch

EWC_FILE = "ewc.safetensors"
_BASE = "neuralforge.base.digest"
DEFAULT_DECAY = 0.9
_CLIP = 0.999  # quantile of a tensor's Fisher: a few weights would otherwise carry all of it

Tensors = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class Consolidation:
    """What was learnt so far: the weights to stay near, and how much each matters (raw Fisher)."""

    anchor: Tensors
    fisher: Tensors

    def save(self, folder: Path, base: str) -> None:
        """Write both into `folder`, as `ewc.safetensors`, for the base of that digest."""
        from safetensors.torch import save_file

        tensors = {f"anchor.{name}": t.contiguous() for name, t in self.anchor.items()}
        tensors |= {f"fisher.{name}": t.contiguous() for name, t in self.fisher.items()}
        save_file(tensors, folder / EWC_FILE, metadata={_BASE: base})

    @classmethod
    def load(cls, folder: Path, base: str, model: Any) -> Consolidation | None:
        """What `save` wrote, None where the version was trained without.

        Raises:
            ConsolidationError: it is damaged, not finite, for another base, or for a LoRA of
                other modules or another rank than that of `model`.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / EWC_FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                made_for = (file.metadata() or {}).get(_BASE, base)  # the first ones said nothing
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise _unusable(path, f"is damaged ({error})") from error
        if made_for != base:
            raise _unusable(path, f"is of base {made_for[:12]}, not of {base[:12]}")
        past = cls(_part(tensors, "anchor."), _part(tensors, "fisher."))
        past._check(path, model)
        return past

    def _check(self, path: Path, model: Any) -> None:
        import torch

        wanted = {name: p.shape for name, p in lora_parameters(model).items()}
        for kind, tensors in (("anchor", self.anchor), ("Fisher", self.fisher)):
            if {name: t.shape for name, t in tensors.items()} != wanted:
                raise _unusable(path, f"holds the {kind} of a LoRA of another shape")
            if not all(torch.isfinite(t).all() for t in tensors.values()):
                raise _unusable(path, f"holds a {kind} that is not finite")


class EwcPenalty:
    """The quadratic penalty for leaving an anchor."""

    def __init__(self, past: Consolidation, rho: float, reach: float) -> None:
        """`reach`: how far one weight may move in the run, learning rate times steps."""
        self._anchor = past.anchor
        self._strength = {
            name: rho / reach * fisher.mean().sqrt() * _normalised(fisher)
            for name, fisher in past.fisher.items()
        }

    def __call__(self, model: Any) -> torch.Tensor:
        """The penalty at `model`'s weights (a scalar with gradient)."""
        import torch

        terms = [
            0.5 * (self._strength[name] * (weight - self._anchor[name]).square()).sum()
            for name, weight in lora_parameters(model).items()
        ]
        return torch.stack(terms).sum()

    def to(self, device: torch.device) -> EwcPenalty:
        """Move everything to `device`; returns itself."""
        self._anchor = {name: t.to(device) for name, t in self._anchor.items()}
        self._strength = {name: t.to(device) for name, t in self._strength.items()}
        return self


def consolidate(
    model: Any,
    samples: Sequence[Encoded],
    past: Consolidation | None,
    *,
    decay: float = DEFAULT_DECAY,
    seed: int = 0,
    pace: Callable[[], None] = lambda: None,
) -> Consolidation:
    """The present weights as the new anchor, the Fisher of `samples` added to the decayed old one.

    `pace` is called before each sample, and may wait or raise.
    """
    new = estimate_fisher(model, samples, seed=seed, pace=pace)
    if past is not None:
        new = {name: decay * past.fisher[name] + fisher for name, fisher in new.items()}
    anchor = {name: w.detach().cpu().clone() for name, w in lora_parameters(model).items()}
    return Consolidation(anchor, new)


def estimate_fisher(
    model: Any,
    samples: Sequence[Encoded],
    *,
    seed: int = 0,
    pace: Callable[[], None] = lambda: None,
) -> Tensors:
    """The diagonal Fisher of the LoRA's weights, for each predicted token, on the CPU.

    Squares and sums are in float32; matrix products as the caller's autocast has them, in an
    update bfloat16 where that is native (`placement.half_products`). Labels are drawn from the
    model's own predictions at the positions that carry loss; gradients are those of single
    samples, in evaluation mode. Samples that give no finite gradient are left out.
    """
    import torch

    parameters = lora_parameters(model)
    squares = {name: torch.zeros_like(p, device="cpu") for name, p in parameters.items()}
    generator = torch.Generator().manual_seed(seed)
    was_training = model.training
    model.eval()
    tokens = 0
    for sample in samples:
        pace()
        loss, predicted = _own_loss(model, sample, generator)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        if all(torch.isfinite(g).all() for g in gradients):
            tokens += predicted
            for total, gradient in zip(squares.values(), gradients, strict=True):
                total += gradient.detach().cpu().float().square()
    model.train(was_training)
    return {name: total / max(1, tokens) for name, total in squares.items()}


def _own_loss(model: Any, sample: Encoded, generator: torch.Generator) -> tuple[torch.Tensor, int]:
    """The summed negative log likelihood of labels drawn from the model, and their number."""
    import torch

    positions = [i - 1 for i, weight in enumerate(sample.weights) if weight > 0 and i > 0]
    ids = torch.tensor([sample.ids], device=model.device)
    kept = torch.tensor(positions, device=model.device)
    logits = model(input_ids=ids, logits_to_keep=kept, use_cache=False).logits[0].float()
    drawn = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=generator)[:, 0]
    loss = torch.nn.functional.cross_entropy(logits, drawn.to(logits.device), reduction="sum")
    return loss, len(positions)


def _normalised(fisher: torch.Tensor) -> torch.Tensor:
    """Divided by its mean and without outliers; zeros stay zeros."""
    import torch

    mean = fisher.mean()
    if not mean > 0:
        return torch.zeros_like(fisher)
    limit = torch.quantile(fisher.flatten(), _CLIP)
    return fisher.clamp(max=limit) / mean


def _unusable(path: Path, what: str) -> ConsolidationError:
    return ConsolidationError(
        f"EWC's memory {path} {what}; roll back to an older version, or train with the arm "
        "'replay', which does not read it"
    )


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
