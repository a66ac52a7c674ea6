"""The training loop: batches in, checkpoints and a loss curve out.

Invariant: interrupted and resumed, a run takes the same steps on the same data as one that was
not; nothing depends on the clock, so a stopped process simply goes on. Runs on the CPU and on
CUDA in bf16. Knows no file format but the checkpoint's.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from torch import Tensor

from neuralforge_trainer.errors import TrainingDivergedError
from neuralforge_trainer.pretrain import state
from neuralforge_trainer.pretrain.config import TrainConfig
from neuralforge_trainer.pretrain.model import LossFunction, Model
from neuralforge_trainer.pretrain.optimizers import Optimizers
from neuralforge_trainer.pretrain.pack import Batch, Packer
from neuralforge_trainer.pretrain.schedule import Schedule
from neuralforge_trainer.pretrain.state import Point, Progress

_CLIP = 1.0
_LOG_STEPS = 10
_WEIGHT, _OPTIMIZER = "weight:", "optimizer:"

Report = Callable[[str], None]


class Interruption:
    """Turns a request to end (SIGTERM, Ctrl-C) into a flag that the loop looks at between steps."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interruption:
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


@dataclass
class Loop:
    """One run or branch; `folder` holds its checkpoints and its loss log."""

    model: Model
    packer: Packer
    config: TrainConfig
    schedule: Schedule
    folder: Path
    pad: int
    report: Report
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.model.to(self.device)
        self._optimizers = Optimizers(self.model, self.config)
        self._loss = LossFunction(self.model, compiled=self.config.compiled)
        self._validation = self.packer.validation()

    @property
    def log(self) -> Path:
        """The loss log."""
        return self.folder / "loss.jsonl"

    def resume(self, tensors: dict[str, Tensor], progress: Progress) -> None:
        """Go on from a checkpoint's tensors."""
        self.model.load_state_dict(_under(_WEIGHT, tensors))
        self._optimizers.load(_under(_OPTIMIZER, tensors))
        self.progress = progress
        state.rewind_points(self.log, progress.step)

    def run(self, steps: int | None = None) -> bool:
        """Train to the schedule's end, or for `steps` steps; whether the end was reached.

        Raises:
            TrainingDivergedError: the loss is no finite number; the last checkpoint stands.
        """
        last = self.schedule.end if steps is None else self.progress.step + steps
        last = min(last, self.schedule.end)
        batches = self._batches()
        losses: list[float] = []
        with Interruption() as interruption:
            while self.progress.step < last and not interruption.asked:
                losses.append(self._step(batches))
                self._after_step(losses)
        self.save()
        return self.progress.step >= self.schedule.end

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        tensors = {_WEIGHT + k: v for k, v in self.model.state_dict().items()}
        tensors |= {_OPTIMIZER + k: v for k, v in self._optimizers.state().items()}
        state.save(self.folder, self.progress, tensors)

    def validate(self) -> float:
        """Nats per token on documents that are never trained on.

        Gradients stay on: without them every length would be compiled a second time.
        """
        total, count = 0.0, 0
        for batch in self._validation:
            ids, targets = self._tensors(batch)
            total += self._loss(ids, targets).item()
            count += int((targets >= 0).sum())
        return total / max(1, count)

    def _step(self, batches: Iterator[tuple[Batch, Progress]]) -> float:
        """One optimizer step; nats per token over its batches."""
        micro = max(1, self.config.batch_tokens // self.config.micro_tokens)
        total, count, progress = 0.0, 0, self.progress
        for _ in range(micro):
            batch, progress = next(batches)
            ids, targets = self._tensors(batch)
            loss = self._loss(ids, targets)
            loss.backward()
            total, count = total + loss.item(), count + int((targets >= 0).sum())
        if not np.isfinite(total):
            raise TrainingDivergedError(
                f"loss {total} at step {self.progress.step}; lower the rates in the run file and "
                f"start again: it goes on from the last checkpoint in {self.folder}"
            )
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad /= count
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        self._optimizers.step(self.schedule.scale(self.progress.step))
        self.progress = replace(
            self.progress,
            step=self.progress.step + 1,
            tokens=self.progress.tokens + count,
            shard=progress.shard,
            batch=progress.batch,
        )
        return total / count

    def _after_step(self, losses: list[float]) -> None:
        step = self.progress.step
        if step % _LOG_STEPS == 0 or step == self.schedule.end:
            due = step % self.config.validate_steps == 0 or step == self.schedule.end
            point = Point(
                step,
                self.progress.tokens,
                float(np.mean(losses)),
                self.schedule.scale(step - 1),
                self.validate() if due else None,
            )
            losses.clear()
            state.append_point(self.log, point)
            self.report(_line(point, self.schedule.end))
        if step % self.config.checkpoint_steps == 0:
            self.save()

    def _batches(self) -> Iterator[tuple[Batch, Progress]]:
        """Batches from where the run stands on, each with the place after it."""
        shard, start = self.progress.shard, self.progress.batch
        while True:
            batches = self.packer.shard(shard)
            for index in range(start, len(batches)):
                yield batches[index], Progress(shard=shard, batch=index + 1)
            if shard > 0:  # the one before is no longer needed, whatever is resumed
                self.packer.forget(shard - 1)
            shard, start = shard + 1, 0

    def _tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Ids and their successors (-1 where nothing is to be predicted)."""
        ids = torch.from_numpy(batch.astype(np.int64)).to(self.device)
        targets = torch.full_like(ids, -1)
        targets[:, :-1] = ids[:, 1:]
        targets[targets == self.pad] = -1
        return ids, targets


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def weights_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's weights in a checkpoint's tensors."""
    return _under(_WEIGHT, tensors)


def _line(point: Point, end: int) -> str:
    checked = "" if point.validation is None else f", validation {point.validation:.4f}"
    return (
        f"step {point.step}/{end}, {point.tokens / 1e6:.1f} M tokens, "
        f"loss {point.loss:.4f}{checked}, rate × {point.scale:.2f}"
    )
