"""A `transformers.Trainer` that learns one user: weighted tokens, replay, EWC, and a pace.

Invariant: the run's course is fixed by its examples, their order and the seed: stopped at any
moment, even by a kill, it goes on from its last whole checkpoint to the same weights. Before
each micro-batch it asks its pace, which waits while the user types and raises when the run is to
end. A batch that is not finite changes no weight; one that does not fit into memory is computed
in pieces. No pickle is written or read. Knows no repository and no store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from neuralforge_adapters.errors import HomeError
from neuralforge_trainer.errors import TrainingDivergedError
from neuralforge_trainer.learn.batch import Batch, collate, pieces, token_loss
from neuralforge_trainer.learn.checkpoints import latest_complete, mark_complete
from neuralforge_trainer.learn.ewc import EwcPenalty
from neuralforge_trainer.learn.lora import lora_parameters, save_lora
from neuralforge_trainer.learn.out_of_memory import (
    is_out_of_memory,
    kept_gradients,
    restore_gradients,
    too_large,
)
from neuralforge_trainer.learn.placement import Precision
from neuralforge_trainer.learn.run_state import (
    load_moments,
    load_random,
    load_run,
    save_moments,
    save_run,
)

_MOST_BAD_BATCHES = 3
"""Batches in a row without a finite loss or gradient, after which the run ends."""


@dataclass(frozen=True)
class RunSettings:
    """How one run trains."""

    learning_rate: float
    micro_batch: int
    accumulation: int
    warm_up: float
    """Share of the steps over which the learning rate rises."""
    seed: int
    checkpoint_steps: int
    time_budget: float
    """Seconds after which the run ends early; 0 for none."""
    precision: Precision = "float32"
    """Of the products; the LoRA's weights stay float32."""
    tensorboard: bool = False


class PersonalTrainer(Trainer):  # type: ignore[misc]
    """Trains the LoRA of `model` on `examples`, in their order, once."""

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Any,
        examples: Sequence[Sized],
        folder: Path,
        settings: RunSettings,
        *,
        parent: Path | None = None,
        ewc: EwcPenalty | None = None,
        distillation: float = 0.0,
        pace: Callable[[], None] = lambda: None,
        progress: Callable[[int, int], None] = lambda step, steps: None,
    ) -> None:
        """`parent`: the version folder whose optimizer's moments this run goes on with."""
        self._ewc = ewc.to(model.device) if ewc is not None else None
        self._distillation = distillation
        self._parent = parent
        self._pace = pace
        self._bad_batches = 0
        self.rows = settings.micro_batch
        """Examples computed at once; halved when memory runs out."""
        self._share = 1.0
        super().__init__(
            model=model,
            args=_arguments(folder, settings, model.device),
            train_dataset=list(examples),
            data_collator=collate,
            callbacks=[_Guard(self, settings.time_budget, progress)],
        )
        self.remove_callback(PrinterCallback)

    def run(self) -> int:
        """Train, from the last whole checkpoint if there is one; returns the steps done in all.

        Raises:
            TrainingDivergedError: loss or gradients stayed NaN or infinite.
            TrainingStoppedError: raised by the pace.
        """
        start = latest_complete(Path(self.args.output_dir))
        result = self.train(resume_from_checkpoint=str(start) if start else None)
        weights = [p for p in self.model.parameters() if p.requires_grad]
        if not all(torch.isfinite(w).all() for w in weights):
            raise TrainingDivergedError("weights became NaN or infinite; nothing was published")
        return int(result.global_step)

    def training_step(
        self, model: Any, inputs: Batch, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One micro-batch, when the pace allows it, in as many pieces as memory asks for.

        Raises:
            TrainingMemoryError: a single example does not fit.
        """
        kept = kept_gradients(model)
        while (loss := self._attempt(model, inputs)) is None:
            if self.rows == 1:
                raise too_large(f"one example of {inputs['input_ids'].shape[1]} tokens")
            self.rows = -(-self.rows // 2)
            restore_gradients(model, kept)
        return loss

    def _attempt(self, model: Any, inputs: Batch) -> torch.Tensor | None:
        """The micro-batch's loss, its gradients added; None where memory ran out."""
        total = torch.zeros((), device=self.args.device)
        try:
            for piece, share in pieces(inputs, self.rows):
                self._pace()
                self._share = share
                total += super().training_step(model, piece)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return total

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The weighted mean of the tokens' negative log likelihoods, plus EWC's penalty.

        Of a piece of a micro-batch, both by its share of the whole.
        """
        loss = token_loss(model, inputs, self._distillation)
        if self._ewc is not None:
            loss = loss + self._ewc(self.accelerator.unwrap_model(model))
        return loss * self._share

    def save_moments(self, folder: Path, metadata: dict[str, str]) -> None:
        """Write the optimizer's moments into `folder`, for the run that goes on from this one.

        Raises:
            HomeError: the disk refuses.
        """
        try:
            save_moments(self.optimizer, lora_parameters(self.model), folder, metadata)
        except (OSError, SafetensorError) as error:
            raise HomeError(
                f"cannot write the optimizer's state to {folder}: {error}; free some room and "
                "train again: it goes on from the last checkpoint"
            ) from error

    def check_gradients(self) -> None:
        """Skip the coming step if a gradient is not finite.

        Raises:
            TrainingDivergedError: that has happened too often in a row.
        """
        weights = [p for p in self.model.parameters() if p.grad is not None]
        if all(torch.isfinite(p.grad).all() for p in weights):
            self._bad_batches = 0
            return
        for weight in weights:
            weight.grad = None  # AdamW passes over a weight without a gradient
        self._bad_batches += 1
        if self._bad_batches >= _MOST_BAD_BATCHES:
            raise TrainingDivergedError(
                f"{_MOST_BAD_BATCHES} batches in a row had no finite gradient; the current "
                "version stays in force; train with a lower learning rate"
            )

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimizer, with the parent's moments where there are any that fit."""
        optimizer = super().create_optimizer(model)
        if self._parent is not None:
            load_moments(optimizer, lora_parameters(self.model), self._parent)
        return optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_lora(self.model, Path(output_dir or self.args.output_dir))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        save_moments(self.optimizer, lora_parameters(self.model), Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_moments(self.optimizer, lora_parameters(self.model), Path(checkpoint))
            scaler = self.accelerator.scaler
            load_run(self.optimizer, self.lr_scheduler, scaler, Path(checkpoint))

    def _save_scaler(self, output_dir: str) -> None:
        """Written by `_save_rng_state`, which comes next."""

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Read by `_load_optimizer_and_scheduler`."""

    def _save_rng_state(self, output_dir: str) -> None:
        scaler = self.accelerator.scaler
        save_run(self.optimizer, self.lr_scheduler, scaler, Path(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_random(Path(checkpoint))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            mark_complete(folder)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch raises the second
            raise HomeError(
                f"cannot write the checkpoint {folder}: {error}; free some room and train again: "
                "it goes on from the one before"
            ) from error


class _Guard(TrainerCallback):  # type: ignore[misc]
    """Watches gradients, progress and the time budget."""

    def __init__(
        self, trainer: PersonalTrainer, budget: float, progress: Callable[[int, int], None]
    ) -> None:
        self._trainer = trainer
        self._end = time.monotonic() + budget if budget else float("inf")
        self._progress = progress

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.check_gradients()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._progress(state.global_step, state.max_steps)
        if time.monotonic() > self._end:
            control.should_training_stop = True


def _arguments(folder: Path, settings: RunSettings, device: torch.device) -> Any:
    return TrainingArguments(
        output_dir=str(folder),
        use_cpu=device.type == "cpu",
        bf16=settings.precision == "bfloat16",
        fp16=settings.precision == "float16",
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warm_up,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=settings.seed,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,  # the older one stands until the newer one is marked complete
        logging_steps=10,
        report_to=["tensorboard"] if settings.tensorboard else "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
