"""Starting the trainer: a process of its own, at low priority, which outlives the editor.

Invariant: torch is looked for, never imported. The process shares neither the server's streams
nor its terminal; it talks through the files of the home alone, and whether one runs already is
its own affair (one per user, by a lock). Knows no training.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import psutil

from neuralforge_adapters.home import HOME_VARIABLE, PROFILE_VARIABLE, Home, private_dir
from neuralforge_server.errors import TrainerStartError
from neuralforge_server.learning.trigger import Job
from neuralforge_server.settings import LearningSettings

_NEEDED = ("torch", "transformers", "peft", "accelerate")
LOG_FILE = "trainer.log"
"""In the trainer's folder: what the last one printed."""


HOW_TO_ADD = (
    "add the extra `train` the way NeuralForge was installed, in its checkout by "
    "`pip install --editable '.[train]'`"
)
"""What training needs; never a bare name, which on the public index is another project's."""


def missing_packages() -> list[str]:
    """What the trainer needs and this environment lacks."""
    return [name for name in _NEEDED if find_spec(name) is None]


def require_packages() -> None:
    """Make sure that a trainer can run here.

    Raises:
        TrainerStartError: its packages are not installed.
    """
    if missing := missing_packages():
        raise TrainerStartError(
            f"training needs {', '.join(missing)}, which {sys.executable} lacks; {HOW_TO_ADD}"
        )


def arguments(
    job: Job,
    settings: LearningSettings,
    base: Path | None,
    *,
    asked: bool = True,
    exclude: Sequence[str] = (),
) -> list[str]:
    """The trainer's command line for a job; the user's limits hold where nobody asked for it.

    `exclude`: patterns of files that are never learnt from. The log holds none of them, so that
    they matter to histories alone.
    """
    base = job.base or base
    quiet = ["--quiet-seconds", f"{settings.quiet_seconds:g}", "--arm", settings.arm]
    limits = [] if asked else ["--limits", json.dumps(asdict(settings.limits))]
    share = ["--nice", str(settings.nice)]
    share += ["--threads", str(settings.threads)] if settings.threads else []
    named = ["--base", str(base)] if base else []
    memory = ["--set", json.dumps(settings.memory)]
    return [*_source(job, settings, exclude), *quiet, *share, *memory, *limits, *named]


def _source(job: Job, settings: LearningSettings, exclude: Sequence[str]) -> list[str]:
    history = ["--own-only", *(f"--exclude={pattern}" for pattern in exclude)]
    history += [f"--author={settings.author}"] if settings.author else []
    if job.base is not None:
        return ["--again", *history]
    if job.dataset is not None:
        return ["--dataset", str(job.dataset)]
    if job.repository is None:
        return ["--session"]
    return ["--from-git", str(job.repository), *history]


def start_trainer(home: Home, args: Sequence[str]) -> psutil.Popen:
    """Start `python -m neuralforge_trainer ARGS` in the background; `poll` it to reap it.

    Raises:
        TrainerStartError: its packages are not installed, or no process can be started.
        HomeError: its folder cannot be made.
    """
    require_packages()
    log = private_dir(home.trainer_dir) / LOG_FILE
    try:
        with open(log, "wb", opener=_private) as output:
            return psutil.Popen(
                [sys.executable, "-P", "-m", "neuralforge_trainer", *args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(home),
                start_new_session=os.name != "nt",
                creationflags=getattr(subprocess, "DETACHED_PROCESS", 0),
            )
    except OSError as error:
        raise TrainerStartError(f"the trainer cannot be started: {error}; try again") from error


def forget(
    home: Home, repository: Path | str | None = None, older_than_days: float | None = None
) -> dict[str, int]:
    """Let the trainer forget what came from `repository`, or is older, or all; returns counts.

    Blocks until it is done; a training at work is cancelled for it.

    Raises:
        TrainerStartError: it could not be done; the message says why.
    """
    if not home.replay_buffer.exists() and not home.checkpoints.exists():
        return {"replayed": 0, "runs": 0}
    flags = [] if repository is None else ["--repository", str(repository)]
    flags += [] if older_than_days is None else ["--older-than-days", f"{older_than_days:g}"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "neuralforge_trainer.forget", *flags],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=_environment(home),
    )
    if done.returncode != 0:
        raise TrainerStartError(f"the replay buffer was not purged: {done.stderr.strip()}")
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def _environment(home: Home) -> dict[str, str]:
    return os.environ | {HOME_VARIABLE: str(home.root), PROFILE_VARIABLE: home.profile}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
