"""A run's state on disk: weights, optimizer, place in the data, and the loss curve.

Invariant: a checkpoint is whole or it is not seen; the loss log never holds a step that the
checkpoint resumed from has not reached. safetensors and JSON only.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import private_dir, read_json, sync_dir, write_atomic, write_json
from neuralforge_trainer.errors import PretrainError
from neuralforge_trainer.learn.checkpoints import latest_complete, mark_complete

_KEPT = 2
_PART = ".part"
"""A checkpoint that is being written."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    step: int = 0
    tokens: int = 0
    shard: int = 0
    batch: int = 0
    """Batches of the shard that were trained on."""
    before: int = 0
    """Tokens that the base which the run began with had seen; `tokens` counts them too."""
    tokenizer: str = ""
    """Digest of the one that its ids are of; empty in checkpoints of before this was noted."""
    model: dict[str, Any] = field(default_factory=dict)
    """The run file's `model`; likewise."""


@dataclass(frozen=True)
class Point:
    """One line of the loss log; losses are nats per token."""

    step: int
    tokens: int
    loss: float
    scale: float
    validation: float | None = None


def save(folder: Path, progress: Progress, tensors: Mapping[str, Any]) -> None:
    """Write a checkpoint, then remove all but the newest few.

    Raises:
        PretrainError: the disk refuses; the older checkpoints stand.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target, part = folder / f"checkpoint-{progress.step}", folder / _PART
    try:
        shutil.rmtree(part, ignore_errors=True)
        private_dir(part)
        save_file({k: v.contiguous() for k, v in tensors.items()}, part / "state.safetensors")
        write_json(part / "progress.json", dataclasses.asdict(progress))
        mark_complete(part)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)  # now others see it, whole
        sync_dir(folder)
    except (OSError, SafetensorError, HomeError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise PretrainError(
            f"checkpoint {target} cannot be written: {error}; free some room and start again"
        ) from error
    for old in sorted(folder.glob("checkpoint-*"), key=_step)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> tuple[Progress, dict[str, Any]] | None:
    """The newest whole checkpoint; None where there is none."""
    from safetensors.torch import load_file

    found = latest_complete(folder)
    if found is None:
        return None
    return _progress(found), load_file(found / "state.safetensors")


def load_progress(folder: Path) -> Progress:
    """Where the newest whole checkpoint stands; the beginning where there is none."""
    found = latest_complete(folder)
    return Progress() if found is None else _progress(found)


def _progress(checkpoint: Path) -> Progress:
    return Progress(**read_json(checkpoint / "progress.json"))  # type: ignore[arg-type]


def append_point(log: Path, point: Point) -> None:
    """Add a line to the loss log.

    Raises:
        PretrainError: the disk refuses; the last checkpoint stands.
    """
    private_dir(log.parent)
    try:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(point)) + "\n")
    except OSError as error:
        raise PretrainError(
            f"{log} cannot be written: {error}; free some room and start again: the run goes on "
            "from its last checkpoint"
        ) from error


def read_points(log: Path) -> list[Point]:
    """The loss log, oldest first; empty where there is none. A line cut off is left out."""
    if not log.is_file():
        return []
    found = map(_point, log.read_text("utf-8", "replace").splitlines())
    return [point for point in found if point is not None]


def _point(line: str) -> Point | None:
    try:
        return Point(**json.loads(line))
    except (ValueError, TypeError):
        return None


def rewind_points(log: Path, step: int) -> None:
    """Forget what the log says after `step`."""
    points = [point for point in read_points(log) if point.step <= step]
    lines = "".join(json.dumps(dataclasses.asdict(point)) + "\n" for point in points)
    write_atomic(log, lines)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
