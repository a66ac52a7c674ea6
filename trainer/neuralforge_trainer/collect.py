"""Gathers what a job learns from and is measured on, from the source that the job names.

Invariant: of every source comes the same `Material`. Knows no source from inside.
"""

from __future__ import annotations

from neuralforge_adapters.home import Home
from neuralforge_trainer.collecting.from_files import from_files
from neuralforge_trainer.collecting.from_git import from_git
from neuralforge_trainer.collecting.from_past import from_past
from neuralforge_trainer.collecting.from_session import from_session
from neuralforge_trainer.collecting.material import Material
from neuralforge_trainer.settings import Job


def collect(home: Home, job: Job) -> Material:
    """What is new for `job`.

    Raises:
        NothingToLearnError: too little is new.
        RepositoryError, SessionLogError, DatasetError, ReplayError: the source cannot be read.
    """
    if job.again:
        return from_past(home, job)
    if job.datasets:
        return from_files(home, job)
    if job.repository is not None:
        return from_git(home, job.repository, job)
    return from_session(home, job)
