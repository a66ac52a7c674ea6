"""`python -P -m neuralforge_trainer.forget`: takes the user's code out of what the trainer keeps.

Purges the replay buffer and, since they hold what is being learnt, unfinished runs. A training
at work is cancelled first, or it would remember its samples again at its end. Invariant: what the
answer counts is gone from the disk. Knows no session log; versions already published stay.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import Home, private_dir
from neuralforge_adapters.trainer_files import is_running, lock_file, request
from neuralforge_trainer.errors import TrainerBusyError
from neuralforge_trainer.learn.replay import ReplayBuffer

_PATIENCE = 60.0
"""Seconds for a cancelled training to end."""


@dataclass(frozen=True)
class Forgotten:
    """What was deleted."""

    replayed: int
    """Samples of the replay buffer."""
    runs: int
    """Unfinished training runs."""


def forget(
    home: Home, repository: str | None = None, older_than_days: float | None = None
) -> Forgotten:
    """Delete what came from `repository`, or is older, or (with neither) everything.

    Raises:
        TrainerBusyError: a training does not end; nothing was deleted.
        ReplayError: the buffer cannot be changed.
    """
    if is_running(home):
        request(home, "cancel")
    private_dir(home.trainer_dir)
    try:
        with FileLock(lock_file(home), mode=0o600, timeout=_PATIENCE):
            before = None if older_than_days is None else time.time() - older_than_days * 86_400
            return Forgotten(_purge_replay(home, repository, before), _remove_runs(home))
    except Timeout as error:
        raise TrainerBusyError(
            "the training at work does not end, so nothing was deleted; end its process and "
            "purge again"
        ) from error


def _purge_replay(home: Home, repository: str | None, before: float | None) -> int:
    if not home.replay_buffer.exists():
        return 0
    with ReplayBuffer(home.replay_buffer) as buffer:
        return buffer.purge(repository, before)


def _remove_runs(home: Home) -> int:
    runs = list(home.checkpoints.iterdir()) if home.checkpoints.is_dir() else []
    for run in runs:
        shutil.rmtree(run)
    return len(runs)


def main() -> int:
    """Forget as the flags say; prints what went, as JSON."""
    parser = argparse.ArgumentParser(prog="python -P -m neuralforge_trainer.forget")
    parser.add_argument("--repository", type=Path)
    parser.add_argument("--older-than-days", type=float)
    options = parser.parse_args()
    repository = None if options.repository is None else str(options.repository.absolute())
    try:
        gone = forget(Home.find(), repository, options.older_than_days)
    except NeuralForgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(gone)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
