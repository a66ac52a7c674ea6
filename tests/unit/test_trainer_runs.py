"""The history of trainings that have ended: what is noted, once, for whom, and how it is shown."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import TrainerState, write_state
from neuralforge_adapters.trainer_runs import MOST, FinishedRun, finished_runs, note_end
from neuralforge_server.cli import group


def _state(started: float, state: Any = "done", profile: str = "default", **more: Any) -> Any:
    return TrainerState(1, started, "a repository", state, profile=profile, **more)


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("state", "version", "result"),
    [
        ("done", "personal@v0001", "published"),
        ("done", None, "nothing"),
        ("refused", None, "refused"),
        ("failed", None, "failed"),
    ],
)
def test_an_end_is_kept_with_all_that_is_known_of_it(
    home: Home, state: str, version: str | None, result: Any
) -> None:
    note_end(home, _state(5.0, state, version=version, message="why", seconds=90.0))
    expected = FinishedRun("default", "a repository", result, "why", version, 5.0, 90.0)
    assert finished_runs(home) == [expected]


def test_the_newest_ends_are_kept_and_come_first(home: Home) -> None:
    for started in range(1, MOST + 3):
        note_end(home, _state(float(started)))
    assert [run.started for run in finished_runs(home)] == list(range(MOST + 2, 2, -1))
    assert [run.started for run in finished_runs(home, 2)] == [MOST + 2, MOST + 1]


def test_an_end_is_noted_once_and_stands(home: Home) -> None:
    note_end(home, _state(1.0, version="personal@v0001"))
    note_end(home, _state(1.0, "failed", message="the disk is full"))
    assert [run.result for run in finished_runs(home)] == ["published"]


def test_what_goes_on_is_no_end_and_profiles_do_not_meet(home: Home) -> None:
    note_end(home, _state(1.0, "training"))
    note_end(home, _state(2.0, profile="employer"))
    note_end(home, None)
    assert finished_runs(home) == []
    assert len(finished_runs(Home(home.root, "employer"))) == 1


def test_a_killed_training_is_shown_before_anybody_has_noted_it(home: Home) -> None:
    write_state(home, TrainerState(_dead_pid(), 1.0, "x", "training", profile="default"))
    assert [run.result for run in finished_runs(home)] == ["failed"]


@pytest.mark.parametrize("content", ["", "{", "{}", '[1, {"source": 2}]', "null"])
def test_a_damaged_history_is_begun_anew(home: Home, content: str) -> None:
    home.trainer_dir.mkdir(parents=True)
    (home.trainer_dir / "runs.json").write_text(content)
    assert finished_runs(home) == []
    note_end(home, _state(1.0))
    assert len(finished_runs(home)) == 1


def test_the_trainer_notes_its_end_and_that_of_a_killed_one_before(
    home: Home, tmp_path: Path
) -> None:
    write_state(home, TrainerState(_dead_pid(), 1.0, "x", "training", profile="default"))
    missing = tmp_path / "missing"
    command = ["-P", "-m", "neuralforge_trainer", "--from-git", str(missing)]
    before = time.time()
    assert subprocess.run([sys.executable, *command], capture_output=True).returncode == 1
    last, killed = finished_runs(home)
    assert (last.source, last.result, killed.started) == (str(missing), "failed", 1.0)
    assert before < last.started < time.time() and str(missing) in last.reason


def test_terminals_show_the_history(home: Home) -> None:
    note_end(home, _state(1.0, version="personal@v0001"))
    note_end(home, _state(2.0, "refused", message="worse on general code"))
    told = CliRunner().invoke(group, ["train", "--runs", "--json"])
    assert [run["result"] for run in json.loads(told.stdout)] == ["refused", "published"]
    shown = CliRunner().invoke(group, ["train", "--runs"]).stdout
    assert "personal@v0001" in shown and shown.index("refused") < shown.index("published")
    status = CliRunner().invoke(group, ["status"]).stdout
    assert "refused, published" in status
