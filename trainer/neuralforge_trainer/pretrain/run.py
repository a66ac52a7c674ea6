"""Puts the parts of a run together: trunk, decayed branches, and exports of either.

Invariant: the trunk is never changed by a branch or an export. Everything of a run lies in its
folder: `trunk/`, `branch-STEP/`, `exports/`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from neuralforge_adapters.base import file_digest
from neuralforge_adapters.home import locked
from neuralforge_trainer.errors import ExportError, PretrainError
from neuralforge_trainer.pretrain import export, state
from neuralforge_trainer.pretrain.config import RunConfig
from neuralforge_trainer.pretrain.loop import Loop, weights_of
from neuralforge_trainer.pretrain.model import Model, ModelConfig
from neuralforge_trainer.pretrain.pack import Packer
from neuralforge_trainer.pretrain.schedule import Schedule, branch, whole_run
from neuralforge_trainer.pretrain.state import Progress
from neuralforge_trainer.pretrain.tokenizer import load_tokenizer, tokenizer_file

Report = Callable[[str], None]


def train(config: RunConfig, steps: int | None, start_from: Path | None, report: Report) -> bool:
    """Train the trunk on, from its newest checkpoint; whether it has reached its end.

    A run without a checkpoint begins with random weights, or with the weights, the tokenizer and
    the place in the corpus of the GGUF `start_from`.

    Raises:
        PretrainError: an earlier stage is missing, its checkpoint is of another tokenizer or
            shape, or the disk refuses a checkpoint.
        ExportError: `start_from` is no base of this run file, or has another tokenizer.
        TrainingDivergedError: the loss is no finite number.
        HomeError: another process trains this run.
    """
    with _alone(trunk(config)):
        found = state.load(trunk(config))
        progress = Progress() if found is None else found[0]
        if found is None and start_from is not None:
            _adopt_tokenizer(config, start_from)
            progress = export.read_progress(start_from)
        progress = _of_this_run(config, progress, trunk(config))
        total = -(-max(0, config.train.tokens - progress.before) // config.train.batch_tokens)
        schedule = whole_run(total, config.train.warmup_steps, config.train.decay_share)
        loop = _loop(config, schedule, trunk(config), report)
        loop.progress = progress
        if found is not None:
            loop.resume(found[1], progress)
            report(f"going on from step {progress.step}")
        elif start_from is not None:
            loop.model.load_state_dict(export.read_weights(start_from, loop.model))
            report(
                f"beginning with {start_from.name} after {progress.before / 1e6:.1f} M tokens, "
                "optimizers fresh"
            )
        return loop.run(steps)


def decay(config: RunConfig, steps: int, report: Report) -> tuple[Path, bool]:
    """Branch off the trunk's newest checkpoint and let the rates fall to zero.

    Returns the branch's folder, and whether it has reached its end; older ones go when it has.

    Raises:
        PretrainError: the trunk has no checkpoint yet, or it is of another tokenizer or shape.
    """
    progress, tensors = _newest(trunk(config))
    folder = config.folder / f"branch-{progress.step}"
    with _alone(folder):
        schedule = branch(progress.step, config.train.warmup_steps, steps)
        own, source = state.load(folder), trunk(config)
        if own is not None and own[0].step <= schedule.end:
            (progress, tensors), source = own, folder
        progress = _of_this_run(config, progress, source)
        loop = _loop(config, schedule, folder, report)
        loop.resume(tensors, progress)
        finished = loop.run()
        if finished:
            discard_branches(config, keep=folder)
    return folder, finished


def export_run(
    config: RunConfig,
    precision: export.Precision,
    output: Path | None,
    check: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Write the newest weights (a decayed branch of the newest step counts as newer) to GGUF.

    `check` sees the file before it takes the place of an older one, and raises where it must not.

    Raises:
        PretrainError: there is no checkpoint yet, or it is of another tokenizer or shape.
        ExportError: the file cannot be written.
    """
    folder = newest_folder(config)
    progress, tensors = _newest(folder)
    path = output or config.folder / "exports" / f"{config.name}-{progress.step}-{precision}.gguf"
    _of_this_run(config, progress, folder)
    tokenizer = load_tokenizer(tokenizer_file(config))
    shape, weights = model_config(config), weights_of(tensors)
    export.export(path, config.name, precision, shape, weights, tokenizer, progress, check)
    return path


def trunk(config: RunConfig) -> Path:
    """The folder of the run's main line."""
    return config.folder / "trunk"


def newest_folder(config: RunConfig) -> Path:
    """The trunk, or the branch that has gone further.

    Raises:
        PretrainError: there is no checkpoint yet.
    """
    folders = [trunk(config), *config.folder.glob("branch-*")]
    newest = max(folders, key=lambda folder: state.load_progress(folder).step)
    if not state.load_progress(newest).step:
        raise PretrainError("there is no checkpoint yet; run the stage `train` first")
    return newest


def discard_branches(config: RunConfig, keep: Path | None = None) -> None:
    """Remove decayed branches but `keep`: each is as large as the trunk."""
    for folder in config.folder.glob("branch-*"):
        if folder != keep:
            shutil.rmtree(folder, ignore_errors=True)


def model_config(config: RunConfig) -> ModelConfig:
    """The model's shape as the run file says."""
    return ModelConfig(**dataclasses.asdict(config.model))


def device() -> torch.device:
    """The accelerator where there is one that computes in bf16."""
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported():
        return torch.device("cuda")
    return torch.device("cpu")


def _loop(config: RunConfig, schedule: Schedule, folder: Path, report: Report) -> Loop:
    torch.manual_seed(config.seed)
    tokenizer = load_tokenizer(tokenizer_file(config))
    packer = Packer(config, tokenizer)
    packer.forget_others()
    model = Model(model_config(config))
    return Loop(
        model, packer, config.train, schedule, folder, tokenizer.pad, report, device=device()
    )


def _alone(folder: Path) -> AbstractContextManager[None]:
    """Holds a trunk or branch against a second process that would write checkpoints into it."""
    return locked(folder / ".lock", timeout=1)


def _adopt_tokenizer(config: RunConfig, base: Path) -> None:
    """Take the base's tokenizer; ids that mean something else would make its weights worthless."""
    theirs = export.read_tokenizer(base)
    file = tokenizer_file(config)
    if not file.is_file():
        theirs.save(file)
        return
    ours = load_tokenizer(file)
    if (ours.tokens(), ours.merges()) != (theirs.tokens(), theirs.merges()):
        raise ExportError(
            f"{base} has another tokenizer than {file}; delete that file to take the base's"
        )


def _of_this_run(config: RunConfig, progress: Progress, folder: Path) -> Progress:
    """`progress` of the checkpoint in `folder`, with the tokenizer and the shape noted that its
    weights are of.

    Raises:
        PretrainError: they are of another tokenizer, or of another shape than the run file's.
    """
    file = tokenizer_file(config)
    load_tokenizer(file)
    digest, model = file_digest(file), dataclasses.asdict(config.model)
    wanted = "put that back, or delete the folder to begin anew"
    if progress.tokenizer not in ("", digest):
        raise PretrainError(
            f"the checkpoint in {folder} was trained with another tokenizer than {file}; {wanted}"
        )
    if progress.model not in ({}, model):
        changed = sorted(k for k, v in model.items() if progress.model.get(k) != v)
        raise PretrainError(
            f"the checkpoint in {folder} was trained with another {', '.join(changed)} than the "
            f"run file's `model` has; {wanted}"
        )
    return replace(progress, tokenizer=digest, model=model)


def _newest(folder: Path) -> tuple[Progress, dict[str, Tensor]]:
    found = state.load(folder)
    if found is None:
        raise PretrainError(f"{folder} has no checkpoint yet; run the stage `train` first")
    return found
