"""Learning from preferences: what was written is to become likelier beside what was suggested.

Direct preference optimisation (Rafailov et al. 2023), with the adapter as it was before as its
reference: -log σ(β·((log p(chosen) - log p(rejected)) - the same of the reference)), of sums over
tokens as published. Both texts are compared without an end token, since where a suggestion ended
was the server's decision, not the adapter's. It is written here because trl, which has it, brings
`datasets` with pyarrow and pandas and a data format of its own for what are twenty lines.

Invariant: chosen and rejected stand behind the same tokens, cut for the longer of the two. The
reference's part is computed once, before the first step, so that no second model is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from neuralforge_server.session.preferences import Preference
from neuralforge_trainer.learn.batch import Batch, collate
from neuralforge_trainer.learn.encode import Encoded, Encoder
from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings
from neuralforge_trainer.samples.sample import Sample

DEFAULT_BETA = 0.1


@dataclass(frozen=True)
class Pair:
    """Two encoded texts behind the same prompt; `reference` is log p(chosen) - log p(rejected)."""

    chosen: Encoded
    rejected: Encoded
    reference: float = 0.0

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))


class PreferenceTrainer(PersonalTrainer):
    """Trains the LoRA of `model` on `pairs`, in their order, once."""

    def __init__(
        self,
        model: Any,
        pairs: Sequence[Pair],
        folder: Path,
        settings: RunSettings,
        *,
        beta: float = DEFAULT_BETA,
        pace: Callable[[], None] = lambda: None,
        progress: Callable[[int, int], None] = lambda step, steps: None,
    ) -> None:
        """The reference is `model` as it is now."""
        self._beta = beta
        judged = [
            replace(pair, reference=m)
            for pair, m in zip(pairs, margins(model, pairs, pace), strict=True)
        ]
        super().__init__(model, judged, folder, settings, pace=pace, progress=progress)
        self.data_collator = collate_pairs

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The mean loss of the pairs, by the share that the piece has of its micro-batch."""
        gain = _margin(model, inputs) - inputs["reference"]
        return -torch.nn.functional.logsigmoid(self._beta * gain).mean() * self._share


def encode_pairs(encoder: Encoder, preferences: Iterable[Preference]) -> list[Pair]:
    """The preferences that can be encoded and differ in tokens, in order."""
    plain = replace(encoder, prefix_weight=0.0)
    pairs = (_encode(plain, preference) for preference in preferences)
    return [pair for pair in pairs if pair is not None]


def margins(
    model: Any, pairs: Sequence[Pair], pace: Callable[[], None] = lambda: None
) -> list[float]:
    """log p(chosen) - log p(rejected) of every pair under `model` (nats), in evaluation mode."""
    was_training = model.training
    model.eval()
    found = []
    for pair in pairs:
        pace()
        with torch.no_grad():
            batch = {name: t.to(model.device) for name, t in collate_pairs([pair]).items()}
            found.append(float(_margin(model, batch)[0]))
    model.train(was_training)
    return found


def collate_pairs(pairs: Sequence[Pair]) -> Batch:
    """A pair a row, chosen and then rejected: (pairs, 2 x longest), and `reference`: (pairs,)."""
    both = collate([side for pair in pairs for side in (pair.chosen, pair.rejected)])
    rows = {name: tensor.reshape(len(pairs), -1) for name, tensor in both.items()}
    return {**rows, "reference": torch.tensor([pair.reference for pair in pairs])}


def _margin(model: Any, batch: Batch) -> torch.Tensor:
    """log p(chosen) - log p(rejected) of each pair."""
    count = len(batch["reference"])
    ids = batch["input_ids"].reshape(2 * count, -1)
    wanted = batch["weights"].reshape(2 * count, -1)[:, 1:] > 0
    columns = wanted.any(0).nonzero()[:, 0]
    output = model(input_ids=ids, logits_to_keep=columns, use_cache=False)
    where = wanted[:, columns]
    losses = torch.nn.functional.cross_entropy(
        output.logits[where].float(), ids[:, 1:][wanted], reduction="none"
    )
    rows = where.nonzero()[:, 0]
    sums = losses.new_zeros(2 * count).index_add(0, rows, losses).reshape(count, 2)
    return sums[:, 1] - sums[:, 0]


def _encode(encoder: Encoder, preference: Preference) -> Pair | None:
    sides = [
        encoder.encode(_sample(preference, text))
        for text in (preference.chosen, preference.rejected)
    ]
    if sides[0] is None or sides[1] is None:
        return None
    parts = [_parts(side) for side in sides if side is not None]
    prompt = min((prompt for prompt, _ in parts), key=len)
    chosen, rejected = (_joined(prompt, target[:-1]) for _, target in parts)
    return None if chosen == rejected else Pair(chosen, rejected)


def _parts(encoded: Encoded) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(prompt, target with the end token)."""
    start = next(i for i, weight in enumerate(encoded.weights) if weight)
    return encoded.ids[:start], encoded.ids[start:]


def _joined(prompt: tuple[int, ...], target: tuple[int, ...]) -> Encoded:
    return Encoded(prompt + target, (0.0,) * len(prompt) + (1.0,) * len(target))


def _sample(preference: Preference, middle: str) -> Sample:
    return Sample(
        prefix=preference.prefix,
        middle=middle,
        suffix=preference.suffix,
        language=preference.language,
        path=preference.path or "",
        repository=preference.repository or "",
        time=preference.created,
        source="session",
    )
