"""Whole training jobs that are killed at planned moments. Run as a program, POSIX only.

Imports torch once, then forks a child for each job, which is what makes fifty kills affordable.
Arguments: a JSON object {home, repository, base, plan}. Each entry of `plan` is the count of
steps (file operations in the home, and micro-batches) at which to die, 0 for never, or "rename"
for the first rename to a name at which none has died yet. Ends with the first job that gets
through; prints a JSON line for every job: {"killed", "steps", "renames", "result"}.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from neuralforge_trainer.learn.libraries import tame_libraries

tame_libraries()

import torch  # noqa: E402

import neuralforge_trainer.learn.replay  # noqa: E402
import neuralforge_trainer.update  # noqa: E402, F401
from neuralforge_adapters.home import Home  # noqa: E402
from neuralforge_trainer.control import Pace  # noqa: E402
from neuralforge_trainer.job import run_job  # noqa: E402
from neuralforge_trainer.settings import Job, JobSettings  # noqa: E402

_CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}

SETTINGS = JobSettings(
    max_samples=24,
    micro_batch=2,
    accumulation=2,
    checkpoint_steps=2,
    heldout_items=10,
    general_items=4,
    sequence_tokens=64,
    fisher_samples=4,
    threads=1,
)


class Fuse:
    """Counts the steps of a job and ends the process at the planned one, as SIGKILL does."""

    def __init__(self, home: Path, plan: int | str, seen: set[str], report: int) -> None:
        self.steps = 0
        self.renames: list[str] = []
        self._home = str(home)
        self._plan = plan
        self._seen = seen
        self._report = report

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _CHANGES or not str(arguments[0]).startswith(self._home):
            return
        if event == "os.rename":
            name = kind_of(str(arguments[1]))
            self.renames.append(name)
            if self._plan == "rename" and name not in self._seen:
                self.die(name)
        self.step()

    def step(self) -> None:
        self.steps += 1
        if self.steps == self._plan:
            self.die("")

    def die(self, at: str) -> None:
        os.write(self._report, json.dumps(self.summary(at=at, killed=True)).encode())
        os.kill(os.getpid(), 9)

    def summary(self, **more: Any) -> dict[str, Any]:
        return {"steps": self.steps, "renames": sorted(set(self.renames)), **more}


def kind_of(path: str) -> str:
    """What a rename is for, whatever random part its name has."""
    return re.sub(r"\d+", "N", Path(path).name)


def run_one(home: Home, job: Job, plan: int | str, seen: set[str]) -> dict[str, Any]:
    """One job in a child of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        torch.set_num_threads(1)
        fuse = Fuse(home.root, plan, seen, writing)
        wait = Pace.wait

        def counted_wait(self: Pace) -> None:
            fuse.step()
            wait(self)

        Pace.wait = counted_wait  # type: ignore[method-assign]
        sys.addaudithook(fuse.audit)
        try:
            outcome = run_job(home, job)
        except BaseException as error:  # noqa: BLE001 - the test is told
            summary = fuse.summary(killed=False, at="", result=f"{type(error).__name__}: {error}")
        else:
            summary = fuse.summary(killed=False, at="", result=outcome.result)
        os.write(writing, json.dumps(summary).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as report:
        summary = json.loads(report.read())
    os.waitpid(child, 0)
    return dict(summary)


def main(arguments: str) -> None:
    given = json.loads(arguments)
    home = Home(Path(given["home"]))
    base = Path(given["base"])
    job = Job(repository=Path(given["repository"]), base=base, foreground=True, settings=SETTINGS)
    seen: set[str] = set()
    for plan in given["plan"]:
        summary = run_one(home, job, plan, seen)
        print(json.dumps(summary), flush=True)
        seen.add(summary["at"])
        if not summary["killed"]:
            return


if __name__ == "__main__":
    main(sys.argv[1])
