"""Muon for the matrices, AdamW for everything else, as one optimizer whose state is plain tensors.

Invariant: the state can be written to safetensors and read back exactly. Method: Jordan 2024
(Muon), as torch ships it; the embedding, which is the head too, belongs to AdamW.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuralforge_trainer.pretrain.config import TrainConfig

_BETAS = (0.9, 0.95)


class Optimizers:
    """Both optimizers over one model's parameters."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        matrices: dict[str, nn.Parameter] = {}
        embeddings: dict[str, nn.Parameter] = {}
        vectors: dict[str, nn.Parameter] = {}
        for name, parameter in model.named_parameters():
            group = vectors if parameter.ndim < 2 else matrices
            (embeddings if "embed_tokens" in name else group)[name] = parameter
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._muon = torch.optim.Muon(
            list(matrices.values()),
            lr=config.matrix_rate,
            weight_decay=config.weight_decay,
            momentum=0.95,
        )
        self._adam = torch.optim.AdamW(
            [
                {"params": list(embeddings.values()), "weight_decay": config.weight_decay},
                {"params": list(vectors.values()), "weight_decay": 0.0},
            ],
            lr=config.vector_rate,
            betas=_BETAS,
            eps=1e-10,
        )
        self._rates = (config.matrix_rate, config.vector_rate)

    def step(self, scale: float) -> None:
        """Update the parameters at `scale` times the configured rates, and clear the gradients."""
        for optimizer, rate in zip(self._both, self._rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state, named by parameter and kind."""
        return {
            f"{self._names[id(parameter)]}|{kind}": value
            for optimizer in self._both
            for parameter, values in optimizer.state.items()
            for kind, value in values.items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` returned."""
        for optimizer in self._both:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    prefix = f"{self._names[id(parameter)]}|"
                    kinds = {k: v for k, v in state.items() if k.startswith(prefix)}
                    optimizer.state[parameter] = {
                        k.removeprefix(prefix): v.clone() for k, v in kinds.items()
                    }

    @property
    def _both(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        return self._muon, self._adam
