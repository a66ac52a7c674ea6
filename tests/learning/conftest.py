"""The training libraries are tamed before any test module imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import TrainerState
from neuralforge_trainer.job import run_job
from neuralforge_trainer.learn.libraries import tame_libraries
from neuralforge_trainer.learn.vocabulary import Vocabulary, load_vocabulary
from neuralforge_trainer.settings import Job, JobSettings
from trained import Trained

tame_libraries()


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home for what many tests only read."""
    return Home(tmp_path_factory.mktemp("shared-home"))


@pytest.fixture(scope="session")
def shared_base(shared_home: Home) -> Base:
    return open_base(None, shared_home)


@pytest.fixture(scope="session")
def vocabulary(shared_base: Base, shared_home: Home) -> Vocabulary:
    return load_vocabulary(shared_base, shared_home)


@pytest.fixture(scope="session")
def house_repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A generated repository with a house style, made without the machine's git settings."""
    from neuralforge_trainer.house_style import make_repository

    root = tmp_path_factory.mktemp("house")
    (root / "no-gitconfig").touch()
    kept = dict(os.environ)
    os.environ |= {
        "GIT_CONFIG_GLOBAL": str(root / "no-gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    try:
        make_repository(root / "repository", commits=60)
        yield root / "repository"
    finally:
        os.environ.clear()
        os.environ.update(kept)


@pytest.fixture(scope="session")
def trained(house_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The first job of a fresh home, with what the defaults leave to take less time."""
    settings = JobSettings(max_samples=300, heldout_items=60, general_items=40, fisher_samples=16)
    home = Home(tmp_path_factory.mktemp("trained"))
    job = Job(repository=house_repository, foreground=True, settings=settings)
    states: list[TrainerState] = []
    outcome = run_job(home, job, states.append)
    return Trained(home, job, outcome, states)
