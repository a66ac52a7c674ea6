"""When a training starts by itself: facts in, a job out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from git_maker import GitMaker, isolate
from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import TrainerState
from neuralforge_server.learning.learner import Learner
from neuralforge_server.learning.reasons import why_none
from neuralforge_server.learning.repositories import Attempts
from neuralforge_server.learning.trigger import Facts, Job, commits_since, decide
from neuralforge_server.settings import LearningSettings
from neuralforge_trainer.settings import Job as TrainerJob

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
        (replace(IDLE, new_samples=10, dataset=TWO), Job(dataset=TWO)),
        (replace(IDLE, dataset=TWO, unfinished=Job(ONE)), Job(ONE)),
        (replace(IDLE, unfinished=Job(ONE), awaited=TWO), Job(base=TWO)),
    ],
)
def test_what_is_worth_a_training(facts: Facts, job: Job | None) -> None:
    assert decide(SETTINGS, facts) == job


@pytest.mark.parametrize(
    "hindrance",
    [
        {"idle_seconds": 59.0},
        {"running": True},
        {"paused": True},
        {"battery": True},
        {"over": "it is outside the hours 22:00-06:00"},
    ],
)
def test_nothing_starts_at_a_bad_moment(hindrance: dict[str, float | bool | str]) -> None:
    facts = replace(IDLE, new_samples=100)
    assert decide(SETTINGS, facts) == Job()
    assert decide(SETTINGS, replace(facts, **hindrance)) is None  # type: ignore[arg-type]


def test_nothing_starts_where_learning_is_off() -> None:
    assert decide(replace(SETTINGS, enabled=False), replace(IDLE, new_samples=100)) is None


def test_the_user_may_allow_the_battery() -> None:
    facts = replace(IDLE, new_samples=100, battery=True)
    assert decide(replace(SETTINGS, on_battery=True), facts) == Job()


@pytest.mark.parametrize(
    ("facts", "missing", "words"),
    [
        (replace(IDLE, running=True), ["torch"], ""),
        (IDLE, ["torch", "peft"], "torch, peft"),
        (replace(IDLE, paused=True), [], "--resume"),
        (replace(IDLE, battery=True), [], "learning.on_battery"),
        (replace(IDLE, over="today's 30 minutes of training are spent"), [], "30 minutes"),
        (replace(IDLE, idle_seconds=20.0), [], "after 40 s without typing"),
        (replace(IDLE, new_samples=7), [], "7 new samples of 10, and no repository"),
        (replace(IDLE, new_commits={ONE: 1}), [], "1 new commits of 2"),
        (replace(IDLE, new_samples=10), [], "about to start"),
    ],
)
def test_why_nothing_is_trained_is_told(facts: Facts, missing: list[str], words: str) -> None:
    reason = why_none(SETTINGS, facts, missing)
    assert words in reason and bool(reason) == bool(words)


NOW = 1_000_000.0


@pytest.fixture
def attempts(home: Home, monkeypatch: pytest.MonkeyPatch) -> Attempts:
    monkeypatch.setattr("time.time", lambda: NOW)
    return Attempts(home)


def ended(state: Any, job: Job | None = None, **more: Any) -> TrainerState:
    return TrainerState(1, NOW + 1, (job or Job(ONE)).source, state, **more)


@pytest.mark.parametrize(
    ("end", "again"),
    [
        (None, True),
        (ended("failed"), True),
        (ended("interrupted"), True),
        (ended("failed", error="HomeError"), False),
        (ended("done"), False),
        (ended("refused"), False),
        (ended("cancelled"), False),
        (ended("done", Job(TWO)), True),
    ],
)
def test_what_was_killed_or_put_off_is_taken_up_again(
    attempts: Attempts, end: TrainerState | None, again: bool
) -> None:
    assert attempts.unfinished(end) is None
    attempts.started(Job(ONE), 0)
    assert attempts.unfinished(end) == (Job(ONE) if again else None)


def test_a_training_that_dies_is_given_up_and_one_that_is_put_off_is_not(
    attempts: Attempts,
) -> None:
    job = Job(dataset=TWO)
    for _ in range(4):
        attempts.started(job, 0, ended("interrupted", job))
    assert attempts.unfinished(ended("interrupted", job)) == job
    dead = ended("failed", job)
    for _ in range(2):
        assert attempts.unfinished(dead) == job
        attempts.started(job, 0, dead)
    assert attempts.unfinished(dead) is None


def test_a_start_that_met_another_trainer_is_no_try(home: Home, attempts: Attempts) -> None:
    job = Job(ONE)
    for other in (attempts, Attempts(home), Attempts(home)):  # editor, editor and daemon at once
        other.started(job, 0)
    assert attempts.unfinished(None) is None, "counted thrice"
    for _ in range(2):
        attempts.met_another(job)
    last = attempts.last()
    assert last is not None and last.tries == 1 and attempts.unfinished(None) == job
    attempts.met_another(Job(TWO))
    assert attempts.last() == last
    attempts.met_another(job)
    last = attempts.last()
    assert last is not None and last.tries == 0, "another editor's training, from the beginning"


def test_trainings_that_end_well_do_not_count_as_tries(attempts: Attempts) -> None:
    for _ in range(5):
        attempts.started(Job(ONE), 0, ended("done"))
    assert attempts.unfinished(ended("failed")) == Job(ONE)


def test_a_base_whose_training_dies_is_refused_and_may_be_chosen_again(
    home: Home, attempts: Attempts
) -> None:
    choice, job = BaseChoice(home), Job(base=TWO)
    attempts.started(Job(ONE), 0)
    choice.wait_for(TWO, "digest")
    for _ in range(4):
        attempts.started(job, 0, ended("interrupted", job))
    assert attempts.awaited(ended("interrupted", job)) == TWO, "it was only put off"
    dead = ended("failed", job)
    for _ in range(2):
        assert attempts.awaited(dead) == TWO
        attempts.started(job, 0, dead)
    assert attempts.awaited(dead) is None
    awaited = choice.read().awaited
    assert awaited is not None and "ended 3 times" in awaited.refused
    assert attempts.unfinished(dead) == Job(ONE), "what was begun before is taken up"
    choice.wait_for(TWO, "digest")
    assert attempts.awaited(dead) == TWO, "whoever chooses it again begins anew"


async def test_other_things_are_learnt_once_the_training_for_a_base_was_killed_too_often(
    home: Home, attempts: Attempts
) -> None:
    async def ten() -> int:
        return 10

    async def no_bar(_title: str, _cancel: object) -> Any:
        raise AssertionError

    learner = Learner(home, SETTINGS, ten, lambda: None, no_bar, lambda notice: None)
    BaseChoice(home).wait_for(TWO, "digest")
    for _ in range(3):
        facts = replace(await learner.facts(), idle_seconds=61, battery=False)
        assert decide(SETTINGS, facts) == Job(base=TWO)
        attempts.started(Job(base=TWO), 10)
    facts = replace(await learner.facts(), idle_seconds=61, battery=False)
    assert decide(SETTINGS, facts) == Job()


def test_a_training_for_a_base_is_told_by_the_trainers_words() -> None:
    assert Job(base=ONE).source == TrainerJob(base=ONE, again=True).source


def test_a_linked_worktree_is_no_repository_that_was_never_learned_from(
    attempts: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    now = 1_800_000_000
    monkeypatch.setattr("time.time", lambda: now)
    made = GitMaker(tmp_path / "project")
    made.commit({"a.py": "value = 1\n"})
    tree, other = tmp_path / "tree", GitMaker(tmp_path / "other")
    made.git("worktree", "add", "--quiet", "-b", "side", str(tree))
    assert attempts.new_commits([made.root, tree]) == {made.root: None, tree: None}
    attempts.started(Job(made.root), 0)
    assert attempts.new_commits([tree, other.root]) == {tree: 0, other.root: None}
    linked = GitMaker(tmp_path / "unused")
    linked.root, linked.now = tree, now
    linked.commit({"b.py": "value = 2\n"})
    assert attempts.new_commits([made.root, tree]) == {made.root: 0, tree: 1}


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
