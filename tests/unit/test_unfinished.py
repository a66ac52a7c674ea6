"""An interrupted training goes on with what it had, and only that one does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from neuralforge_adapters.allowance import Limits
from neuralforge_adapters.home import Home
from neuralforge_trainer.settings import Job, JobSettings
from neuralforge_trainer.unfinished import clear, continued, note

JOB = Job(repository=Path("/src/one"), settings=JobSettings(arm="replay"))


@pytest.mark.parametrize(
    "same", [JOB, replace(JOB, foreground=True), replace(JOB, limits=Limits(minutes_per_day=3))]
)
def test_it_looks_no_further_than_before_whoever_starts_it(home: Home, same: Job) -> None:
    assert continued(home, same) == same
    note(home, JOB, 99.5)
    assert continued(home, same) == replace(same, until=99.5)
    clear(home)
    assert continued(home, same) == same


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, repository=Path("/src/two")),
        replace(JOB, everything=True),
        replace(JOB, settings=JobSettings(arm="none")),
        replace(JOB, until=5.0),
    ],
)
def test_another_training_sees_all_that_there_is(home: Home, other: Job) -> None:
    note(home, JOB, 99.5)
    assert continued(home, other) == other


def test_a_source_that_does_not_grow_leaves_no_note_of_the_one_before(home: Home) -> None:
    note(home, JOB, 99.5)
    note(home, Job(datasets=(Path("d.jsonl"),)), None)
    assert continued(home, JOB) == JOB


@pytest.mark.parametrize("damaged", ["", "[]", '{"job": 3}', "not json"])
def test_a_damaged_note_is_none(home: Home, damaged: str) -> None:
    note(home, JOB, 99.5)
    home.unfinished_training.write_text(damaged)
    assert continued(home, JOB) == JOB
