"""Stepping through history: what stands on disk at each moment, and what is asked then."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_maker import GitMaker, isolate
from neuralforge_trainer.errors import NothingToLearnError
from neuralforge_trainer.evaluate.moments import moments
from neuralforge_trainer.samples.repository import open_repository


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitMaker:
    isolate(monkeypatch, tmp_path)
    return GitMaker(tmp_path / "repo")


def test_each_moment_shows_the_parents_files_and_asks_for_the_commits_lines(
    maker: GitMaker,
) -> None:
    maker.commit({"a.py": "first = read()\n", "b.py": "gone = later()\n", "c.bin": b"\0\1"})
    second = maker.commit({"a.py": "first = read()\nsecond = write(first)\n"})
    third = maker.commit({"b.py": None, "d.py": "third = close(second)\n"})

    one, two = moments(open_repository(maker.root), commits=10, items=10, seed=0)

    assert (one.commit, two.commit) == (second, third)
    assert one.changed == {"a.py": "first = read()\n", "b.py": "gone = later()\n"}
    assert two.changed == {"a.py": "first = read()\nsecond = write(first)\n"}
    asked = [item.prefix.rpartition("\n")[2] + item.expected for item in one.items + two.items]
    assert asked == ["second = write(first)", "third = close(second)"]


def test_a_line_that_stood_anywhere_before_is_not_asked_for(maker: GitMaker) -> None:
    maker.commit({"a.py": "known = read(path)\n"})
    maker.commit({"b.py": "fresh = write(path)\nknown = read(path)\n"})
    (moment,) = moments(open_repository(maker.root), commits=10, items=10, seed=0)
    assert len(moment.items) == 1 and "fresh" in moment.items[0].prefix + moment.items[0].expected


def test_the_same_seed_asks_the_same_items_and_no_more_than_wanted(maker: GitMaker) -> None:
    maker.commit({"a.py": "start = 1\n"})
    for number in range(8):
        maker.commit({f"m{number}.py": f"value_{number} = compute_{number}(start)\n"})
    repository = open_repository(maker.root)
    once = moments(repository, commits=10, items=3, seed=7)
    assert once == moments(repository, commits=10, items=3, seed=7)
    assert sum(len(moment.items) for moment in once) == 3
    assert once != moments(repository, commits=10, items=3, seed=8)


def test_files_of_commits_that_ask_nothing_reach_the_next_moment(maker: GitMaker) -> None:
    maker.commit({"a.py": "start = 1\n"})
    maker.commit({"a.py": "start = 1\nx\n"})  # too short to be asked for
    maker.commit({"b.py": "value = compute(start)\n"})
    (moment,) = moments(open_repository(maker.root), commits=10, items=10, seed=0)
    assert moment.changed == {"a.py": "start = 1\nx\n"}


def test_a_history_of_one_commit_is_refused(maker: GitMaker) -> None:
    maker.commit({"a.py": "value = 1\n"})
    with pytest.raises(NothingToLearnError, match="longer history"):
        moments(open_repository(maker.root), commits=10, items=10, seed=0)
