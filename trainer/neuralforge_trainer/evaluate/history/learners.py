"""Brings a learner from window to window, each update in a process of its own.

A step's folder holds the learner's home after so many updates. Invariant: a step appears whole,
by one rename, from a copy of the step before, so that a kill at any moment costs one update and
changes nothing; torch is never loaded here. Knows no question.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from neuralforge_adapters.base import Base
from neuralforge_adapters.home import Home, private_dir, read_json, write_json
from neuralforge_adapters.stack import ResolvedAdapter, ResolvedStack
from neuralforge_adapters.store import PERSONAL, AdapterStore
from neuralforge_trainer.errors import ProofError
from neuralforge_trainer.evaluate.history.kept import Cell, Cost, Kept
from neuralforge_trainer.evaluate.history.one_update import COST_FILE
from neuralforge_trainer.evaluate.history.settings import JOINT, ProofSettings
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.settings import JobSettings

COST = "cost"
"""The exam under which an update's cost is kept."""


class Learners:
    """The learners of one repository's run."""

    def __init__(
        self, base: Base, kept: Kept, settings: ProofSettings, windows: Sequence[Sequence[Sample]]
    ) -> None:
        self._base = base
        self._kept = kept
        self._settings = settings
        self._windows = windows
        self._folder = private_dir(kept.folder / "learners")
        for left_over in self._folder.glob(".tmp-*"):
            shutil.rmtree(left_over, ignore_errors=True)

    def stack(self, learner: str, updates: int) -> ResolvedStack:
        """`learner` after so many updates, learnt now where it has to be.

        Raises:
            ProofError: an update failed; its last words are in the message.
        """
        step = self._step(learner, updates)
        if not step.is_dir():
            self._learn(learner, updates, step)
        cell = Cell(learner, updates, COST)
        if cell not in self._kept:
            self._kept.put(cell, [Cost(**(read_json(step / COST_FILE) or {}))])
        version = AdapterStore(Home(step / "home")).get(PERSONAL)
        adapter = ResolvedAdapter(
            f"{learner}-{updates}", version.gguf, 1.0, version.manifest.digest
        )
        return ResolvedStack((adapter,))

    def forget(self, learner: str, updates: int) -> None:
        """Remove a step that no later one needs any more."""
        shutil.rmtree(self._step(learner, updates), ignore_errors=True)

    def forget_all(self) -> None:
        """Remove every step: each is learnt again where it is needed."""
        for step in self._folder.iterdir():
            shutil.rmtree(step, ignore_errors=True)

    def _step(self, learner: str, updates: int) -> Path:
        return self._folder / f"{learner}-{updates}"

    def _learn(self, learner: str, updates: int, step: Path) -> None:
        joint = learner == JOINT
        if updates > 1 and not joint:
            self.stack(learner, updates - 1)
        work = Path(tempfile.mkdtemp(dir=self._folder, prefix=".tmp-"))
        if updates > 1 and not joint:
            shutil.copytree(self._step(learner, updates - 1) / "home", work / "home")
        windows = self._windows[:updates] if joint else self._windows[updates - 1 : updates]
        write_json(
            work / "order.json",
            {
                "base": str(self._base.path),
                "digest": self._base.digest,
                "settings": asdict(self._job(learner)),
                "threads": self._settings.cores,
                "samples": [sample.to_json() for window in windows for sample in window],
            },
        )
        _run(work / "order.json", f"update {updates} of {learner}")
        (work / "order.json").unlink()
        work.rename(step)

    def _job(self, learner: str) -> JobSettings:
        job = self._settings.job
        return replace(job, arm="none" if learner == JOINT else learner)  # type: ignore[arg-type]


def _run(order: Path, what: str) -> None:
    module = "neuralforge_trainer.evaluate.history.one_update"
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, str(order)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        words = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ProofError(
            f"{what} ended with status {done.returncode}; run the same command again to go on "
            f"from there. Its last words: {words}"
        )
