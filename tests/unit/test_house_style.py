"""The generated repository: stable, big enough, and nothing that a copier could complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from git_maker import isolate
from neuralforge_trainer.evaluate.copier import Copier
from neuralforge_trainer.evaluate.heldout import heldout_items, split
from neuralforge_trainer.evaluate.metrics import exact_match
from neuralforge_trainer.house_style import make_repository
from neuralforge_trainer.samples.dedup import distinct
from neuralforge_trainer.samples.fim import samples_of
from neuralforge_trainer.samples.git import CommitChange, authors, choose_author, user_commits
from neuralforge_trainer.samples.repository import open_repository


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    make_repository(tmp_path / "house")
    return tmp_path / "house"


def walk(path: Path) -> list[CommitChange]:
    repository = open_repository(path)
    return list(user_commits(repository, choose_author(repository).author))


def test_the_seed_decides_every_commit_id(house: Path, tmp_path: Path) -> None:
    make_repository(tmp_path / "again")
    make_repository(tmp_path / "other", seed=1)
    head = open_repository(house).head
    assert open_repository(tmp_path / "again").head == head
    assert open_repository(tmp_path / "other").head != head


def test_a_calling_hooks_repository_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repository(tmp_path / "mine", commits=8)
    before = open_repository(tmp_path / "mine").head
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "mine" / ".git"))
    make_repository(tmp_path / "house", commits=6)
    assert open_repository(tmp_path / "mine").head == before
    assert open_repository(tmp_path / "house").head != before


def test_its_author_is_the_identity_and_wrote_most_of_it(house: Path) -> None:
    repository = open_repository(house)
    choice = choose_author(repository)
    assert "your git identity" in choice.reason
    ada, bo = authors(repository)
    assert str(ada) == str(choice.author) == "Ada House <ada@example.com>"
    assert 0.05 < bo.commits / (ada.commits + bo.commits) < 0.2


def test_what_has_to_be_left_out_is_left_out(house: Path) -> None:
    paths = {file.path for change in walk(house) for file in change.files}
    assert "harbour/registry.py" in paths
    assert all(path.startswith("harbour/") for path in paths)  # neither vendor, legacy nor tools
    assert "harbour/schema_pb2.py" not in paths


def test_it_is_enough_to_learn_from_and_no_copier_solves_it(house: Path) -> None:
    changes = walk(house)
    train, heldout = split(changes)
    drawn = distinct(s for change in changes for s in samples_of(change, "house", 0))
    items = heldout_items(heldout, train)
    assert len(drawn) >= 1_000
    assert len(items) >= 300
    copier = Copier.of_changes(train)
    share = sum(exact_match(i.expected, copier.complete(i.prefix)) for i in items) / len(items)
    assert 0.0 < share < 0.15


def test_the_package_that_it_holds_runs(house: Path) -> None:
    program = "import harbour.registry as r; print(len(r.DESKS))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=house, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 10
