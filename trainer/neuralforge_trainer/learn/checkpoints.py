"""Checkpoints of an unfinished run: which one is whole, and which run it belongs to.

Invariant: a checkpoint is resumed only if it was written to its end and made durable; a run's
folder is named by everything that determines its course, so that only the same run goes on from
it. Knows no tensor.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from neuralforge_adapters.home import read_json, sync_dir, write_json

_COMPLETE = "complete.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def mark_complete(checkpoint: Path) -> None:
    """Make a checkpoint's files durable, and say that they are all there.

    Raises:
        HomeError: the disk refuses; the checkpoint stays without its mark.
    """
    files = sorted(path for path in checkpoint.iterdir() if path.is_file())
    for path in files:
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    sync_dir(checkpoint)
    write_json(checkpoint / _COMPLETE, {path.name: path.stat().st_size for path in files})


def latest_complete(run: Path) -> Path | None:
    """The newest whole checkpoint of a run; what is not whole is removed."""
    if not run.is_dir():
        return None
    found = [(int(m[1]), p) for p in run.iterdir() if (m := _NAME.fullmatch(p.name))]
    for _, checkpoint in sorted(found, reverse=True):
        if _is_complete(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def keep_only(checkpoints: Path, run: Path) -> None:
    """Remove the other runs' folders: their samples or settings are no longer the present ones."""
    if checkpoints.is_dir():
        for folder in checkpoints.iterdir():
            if folder != run:
                shutil.rmtree(folder, ignore_errors=True)


def _is_complete(checkpoint: Path) -> bool:
    listed = read_json(checkpoint / _COMPLETE)
    if not isinstance(listed, dict) or not listed:
        return False
    return all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size
        for name, size in listed.items()
    )
