"""Makes small LoRAs for tests, in PEFT's format, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from neuralforge_adapters.base import Base
from neuralforge_trainer.learn.lora import attach_lora, load_base, lora_parameters, save_lora


def random_lora(base: Base, folder: Path, scale: float = 0.01, seed: int = 0) -> Any:
    """A model with a LoRA whose B is drawn at random, saved in `folder`."""
    model = attach_lora(load_base(base), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in lora_parameters(model).items():
            if ".lora_B." in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    save_lora(model, folder)
    return model.eval()
