"""What a run knows besides its weights: the optimizer's moments, the schedule, random numbers.

Invariant: tensors are safetensors and all else is JSON; no pickle is written or read, since one
runs whatever it says. Knows no model.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuralforge_adapters.home import read_json, write_atomic

OPTIMIZER_FILE = "optimizer.safetensors"
RUN_FILE = "run_state.json"

Named = dict[str, torch.nn.Parameter]


def save_moments(
    optimizer: Any, parameters: Named, folder: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write what `optimizer` keeps for each of `parameters`, under its name.

    Raises:
        OSError, SafetensorError: the disk refuses.
    """
    from safetensors.torch import save_file

    names = {id(weight): name for name, weight in parameters.items()}
    tensors = {
        f"{names[id(weight)]}/{kind}": value.detach().cpu().contiguous()
        for weight, kinds in optimizer.state.items()
        for kind, value in kinds.items()
        if isinstance(value, torch.Tensor)
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / OPTIMIZER_FILE, metadata=metadata)


def load_moments(optimizer: Any, parameters: Named, folder: Path) -> bool:
    """Give `optimizer` what `save_moments` wrote; False where nothing there fits the parameters."""
    tensors = _tensors(folder / OPTIMIZER_FILE)
    kept = {name: _of(tensors, name) for name in parameters}
    if not _fits(kept, parameters) or sum(map(len, kept.values())) != len(tensors):
        return False
    state = optimizer.state_dict()
    names = {id(weight): name for name, weight in parameters.items()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state["state"] = {i: kept[names[id(weight)]] for i, weight in enumerate(weights)}
    optimizer.load_state_dict(state)  # which moves each tensor to where the optimizer wants it
    return True


def moments_metadata(folder: Path) -> dict[str, str]:
    """What `save_moments` was told to note; empty where there is nothing to read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / OPTIMIZER_FILE, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return {}


def save_run(optimizer: Any, scheduler: Any, scaler: Any | None, folder: Path) -> None:
    """Write the schedule's position, the loss scale of fp16, and the states of random numbers."""
    state = {
        "schedule": {k: v for k, v in scheduler.state_dict().items() if k != "lr_lambdas"},
        "rates": [group["lr"] for group in optimizer.param_groups],
        "scaler": scaler.state_dict() if scaler is not None else None,
        "random": _random_state(),
    }
    write_atomic(folder / RUN_FILE, json.dumps(state))


def load_run(optimizer: Any, scheduler: Any, scaler: Any | None, folder: Path) -> None:
    """Take up what `save_run` wrote."""
    state = read_json(folder / RUN_FILE)
    if not isinstance(state, dict):
        return
    scheduler.load_state_dict(scheduler.state_dict() | state["schedule"])
    for group, rate in zip(optimizer.param_groups, state["rates"], strict=True):
        group["lr"] = rate
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])


def load_random(folder: Path) -> None:
    """Take up the random numbers where `save_run` left them."""
    content = read_json(folder / RUN_FILE)
    if not isinstance(content, dict):
        return
    state = content["random"]
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(torch.tensor(state["cpu"], dtype=torch.uint8))
    accelerator = _accelerator()
    if accelerator is not None and state["accelerator"]:
        accelerator.set_rng_state(torch.tensor(state["accelerator"], dtype=torch.uint8))


def _random_state() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    accelerator = _accelerator()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "cpu": torch.get_rng_state().tolist(),
        "accelerator": accelerator.get_rng_state().tolist() if accelerator is not None else [],
    }


def _accelerator() -> Any | None:
    if torch.cuda.is_available():
        return torch.cuda
    return torch.mps if torch.backends.mps.is_available() else None


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError):
        return {}
    return tensors


def _of(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    start = f"{name}/"
    return {k.removeprefix(start): t for k, t in tensors.items() if k.startswith(start)}


def _fits(kept: dict[str, dict[str, torch.Tensor]], parameters: Named) -> bool:
    """Whether every parameter has its moments, of its shape and finite."""
    return all(
        kinds
        and all(t.shape in (parameters[name].shape, torch.Size([])) for t in kinds.values())
        and all(bool(torch.isfinite(t).all()) for t in kinds.values())
        for name, kinds in kept.items()
    )
