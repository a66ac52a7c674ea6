"""What a finished job leaves for tests to look at."""

from __future__ import annotations

from dataclasses import dataclass

from neuralforge_adapters.home import Home
from neuralforge_adapters.store import AdapterStore, AdapterVersion
from neuralforge_adapters.trainer_files import TrainerState
from neuralforge_trainer.job import Outcome
from neuralforge_trainer.settings import Job


@dataclass(frozen=True)
class Trained:
    """A job that was done on the house-style repository."""

    home: Home
    job: Job
    outcome: Outcome
    states: list[TrainerState]

    @property
    def version(self) -> AdapterVersion:
        assert self.outcome.version is not None, self.outcome.message
        return AdapterStore(self.home).get(self.outcome.version)
