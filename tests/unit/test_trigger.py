"""When a training starts by itself: facts in, a job out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from neuralforge_server.learning.trigger import Facts, Job, commits_since, decide
from neuralforge_server.settings import LearningSettings

SETTINGS = LearningSettings(idle_seconds=60, min_new_samples=10, min_new_commits=2)
IDLE = Facts(idle_seconds=61)
ONE, TWO = Path("one"), Path("two")


@pytest.mark.parametrize(
    ("facts", "job"),
    [
        (IDLE, None),
        (replace(IDLE, new_samples=9), None),
        (replace(IDLE, new_samples=10), Job()),
        (replace(IDLE, new_commits={ONE: 1}), None),
        (replace(IDLE, new_commits={ONE: 2, TWO: 3}), Job(TWO)),
        (replace(IDLE, new_commits={ONE: None, TWO: 3}), Job(ONE)),
        (replace(IDLE, new_samples=10, new_commits={ONE: 2}), Job()),
    ],
)
def test_what_is_worth_a_training(facts: Facts, job: Job | None) -> None:
    assert decide(SETTINGS, facts) == job


@pytest.mark.parametrize(
    "hindrance",
    [{"idle_seconds": 59.0}, {"running": True}, {"paused": True}],
)
def test_nothing_starts_at_a_bad_moment(hindrance: dict[str, float | bool]) -> None:
    facts = replace(IDLE, new_samples=100)
    assert decide(SETTINGS, facts) == Job()
    assert decide(SETTINGS, replace(facts, **hindrance)) is None  # type: ignore[arg-type]


def test_nothing_starts_where_learning_is_off() -> None:
    assert decide(replace(SETTINGS, enabled=False), replace(IDLE, new_samples=100)) is None


def test_commits_are_counted_from_the_reflog_by_time() -> None:
    who = "Ann Lee <ann@example.org>"
    reflog = (
        f"0000 aaaa {who} 100 +0000\tclone: from somewhere\n"
        f"aaaa bbbb {who} 200 +0000\tcommit: first\n"
        f"bbbb cccc {who} 300 -0130\tcommit (amend): first, better\n"
        f"cccc dddd {who} 400 +0000\tcheckout: moving from main to topic\n"
        "damaged line\n"
        f"dddd eeee {who} 500 +0000\tcommit (merge): topic\n"
    )
    assert [commits_since(reflog, t) for t in (0, 200, 300, 500)] == [3, 2, 1, 0]
