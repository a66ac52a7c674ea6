"""What to do when memory runs out in the middle of a step.

Invariant: nothing is lost: the gradients gathered before the failed micro-batch are restored, and
the same examples are computed again in smaller pieces, so that the steps stay the same. Run for
real on a CPU under a limit of address space; CUDA's and MPS's errors are told by their types and
messages alone.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from neuralforge_trainer.errors import TrainingMemoryError

_ONEDNN = ("could not create a memory", "could not create a primitive", "could not execute")
"""How the CPU's matrix library says that it got no memory."""

Gradients = list[torch.Tensor | None]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that CPU, CUDA or MPS ran out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if not isinstance(error, Exception):
        return False
    known = should_reduce_batch_size(error)
    return known or (isinstance(error, RuntimeError) and any(m in str(error) for m in _ONEDNN))


def too_large(what: str) -> TrainingMemoryError:
    """The error that says that `what` does not fit at all."""
    return TrainingMemoryError(
        f"out of memory: {what} does not fit; the current version stays in force; close other "
        "programs, set a smaller sequence_tokens, or take a smaller base with "
        "`neuralforge bases use`"
    )


def kept_gradients(model: Any) -> Gradients:
    """Copies of the gradients gathered so far."""
    return [None if p.grad is None else p.grad.clone() for p in _trained(model)]


def restore_gradients(model: Any, kept: Gradients) -> None:
    """Take the gradients back to `kept`, and give unused memory back."""
    for parameter, gradient in zip(_trained(model), kept, strict=True):
        parameter.grad = gradient
    clear_device_cache(garbage_collection=True)


def _trained(model: Any) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]
