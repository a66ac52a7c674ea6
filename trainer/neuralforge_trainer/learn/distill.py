"""Distillation on replayed samples: the adapter is to say of them what it said once it knew them.

Beside the loss on a replayed sample's own tokens stands the divergence from what the version
before said there, as in dark experience replay with both terms (DER++, Buzzega et al. 2020): in
the space of functions, so that it does not matter which factors of a LoRA compute them. Kept are
the 32 likeliest tokens of each target token with their log likelihoods; all others are one outcome
more, so that the divergence is a lower bound of that over the whole vocabulary.

What is kept of a sample is what was said when it was first replayed, by the version that the
update began with. Invariant: it lies in the replay buffer beside its sample, goes with it, and
counts for one base only. Knows no schedule.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from neuralforge_trainer.learn.encode import Encoded

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from neuralforge_trainer.learn.replay import ReplayBuffer

KEPT = 32
"""Tokens of each distribution; 6 bytes each."""

_HEADER = struct.Struct("<BHI")
"""Format, tokens kept at a position, positions."""
_FORMAT = 1


def with_teachings(
    model: Any,
    buffer: ReplayBuffer,
    base: str,
    replayed: Sequence[tuple[int, Encoded]],
    pace: Callable[[], None] = lambda: None,
) -> list[Encoded]:
    """The replayed samples, by their identifiers in `buffer`, with what is to be said of them.

    What the buffer lacks for `base` (a digest), `model` says now, and the buffer keeps it.
    """
    known = buffer.teachings(base)
    taught = [replace(encoded, teaching=known.get(number, b"")) for number, encoded in replayed]
    missing = [i for i, encoded in enumerate(taught) if not _fits(encoded)]
    new = dict(zip(missing, say(model, [taught[i] for i in missing], pace), strict=True))
    if new:
        buffer.teach(base, {replayed[i][0]: teaching for i, teaching in new.items()})
    return [replace(e, teaching=new.get(i, e.teaching)) for i, e in enumerate(taught)]


def say(
    model: Any, examples: Iterable[Encoded], pace: Callable[[], None] = lambda: None
) -> list[bytes]:
    """What `model` says at every target token of the examples, in evaluation mode."""
    import torch

    was_training = model.training
    model.eval()
    said = []
    for example in examples:
        pace()
        columns = torch.tensor(targets(example), device=model.device) - 1
        ids = torch.tensor([example.ids], device=model.device)
        with torch.no_grad():
            output = model(input_ids=ids, logits_to_keep=columns, use_cache=False)
        logs = output.logits[0].float().log_softmax(-1)
        best = logs.topk(KEPT)
        said.append(pack(best.indices.cpu().numpy(), best.values.cpu().numpy()))
    model.train(was_training)
    return said


def divergence(logits: torch.Tensor, ids: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """The Kullback-Leibler divergence of what was said from `logits`, at each position (nats).

    Args:
        logits: (positions, vocabulary)
        ids: the tokens kept, (positions, kept)
        logs: their log likelihoods, (positions, kept)
    """
    import torch

    now = logits.log_softmax(-1).gather(-1, ids)
    now, then = (torch.cat([part, _rest(part)], dim=-1) for part in (now, logs))
    return (then.exp() * (then - now)).sum(-1)


def taught_divergence(
    logits: torch.Tensor, batch: Mapping[str, torch.Tensor], wanted: torch.Tensor
) -> torch.Tensor:
    """The sum of `divergence` over the taught tokens of a batch.

    Args:
        logits: at the wanted tokens in their order, (wanted, vocabulary)
        wanted: which tokens but the first of each row carry loss, (rows, longest - 1)
    """
    taught = batch["taught"][:, 1:][wanted]
    ids, logs = (batch[name][:, 1:][wanted][taught] for name in ("taught_ids", "taught_logs"))
    return divergence(logits[taught], ids, logs).sum()


def collate_teachings(examples: Sequence[Encoded], longest: int) -> dict[str, torch.Tensor]:
    """`taught`, (rows, longest), and what is to be said there, (rows, longest, kept) each.

    Empty where nothing is to be said of any example.
    """
    import torch

    if not any(example.teaching for example in examples):
        return {}
    shape = (len(examples), longest, KEPT)
    taught = torch.zeros(shape[:2], dtype=torch.bool)
    ids, logs = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
    for row, example in enumerate(examples):
        said, likelihoods = unpack(example.teaching)
        if len(said):
            places = targets(example)
            taught[row, places] = True
            ids[row, places] = torch.from_numpy(said)
            logs[row, places] = torch.from_numpy(likelihoods)
    return {"taught": taught, "taught_ids": ids, "taught_logs": logs}


def targets(example: Encoded) -> list[int]:
    """The positions of `example` that are asked for whole: the healed text, middle and end."""
    return [i for i, weight in enumerate(example.weights) if weight >= 1 and i > 0]


def pack(ids: NDArray[np.integer[Any]], logs: NDArray[np.floating[Any]]) -> bytes:
    """(positions, kept) token ids and log likelihoods as bytes."""
    head = _HEADER.pack(_FORMAT, ids.shape[1], ids.shape[0])
    return head + ids.astype("<u4").tobytes() + logs.astype("<f2").tobytes()


def unpack(teaching: bytes) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What `pack` was given, the likelihoods rounded; empty arrays for bytes of another format."""
    if len(teaching) < _HEADER.size:
        return np.zeros((0, 0), np.int64), np.zeros((0, 0), np.float32)
    form, kept, count = _HEADER.unpack_from(teaching)
    total = kept * count
    if (form, kept) != (_FORMAT, KEPT) or len(teaching) != _HEADER.size + 6 * total:
        return np.zeros((0, 0), np.int64), np.zeros((0, 0), np.float32)
    ids = np.frombuffer(teaching, "<u4", total, _HEADER.size)
    logs = np.frombuffer(teaching, "<f2", total, _HEADER.size + 4 * total)
    shape = (count, kept)
    return ids.astype(np.int64).reshape(shape), logs.astype(np.float32).reshape(shape)


def _fits(example: Encoded) -> bool:
    return len(unpack(example.teaching)[0]) == len(targets(example)) > 0


def _rest(logs: torch.Tensor) -> torch.Tensor:
    """The log likelihood of all tokens but those."""
    import torch

    mass = logs.exp().sum(-1, keepdim=True).clamp(max=1 - _LEAST)
    return torch.log1p(-mass)


_LEAST = 1e-4
"""Likelihood that the other tokens have at least: half precision tells no less apart."""
