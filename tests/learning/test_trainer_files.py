"""What servers, terminals and the trainer tell each other through files, and the lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import (
    TrainerState,
    control_file,
    is_running,
    read_control,
    read_state,
    request,
    seconds_since_typing,
    state_file,
    touch_typing,
    typing_file,
    write_state,
)
from neuralforge_trainer.control import Pace, Reporter, only_trainer
from neuralforge_trainer.errors import TrainerBusyError, TrainingStoppedError


def _state(pid: int, started: float, **changes: object) -> TrainerState:
    return TrainerState(pid, started, "a repository", "training", **changes)  # type: ignore[arg-type]


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_nothing_runs_in_a_fresh_home(home: Home) -> None:
    assert read_state(home) is None
    assert not is_running(home)
    assert read_control(home).command == "run"
    assert seconds_since_typing(home) == float("inf")


def test_a_living_trainers_state_is_read_as_written(home: Home) -> None:
    import time

    state = _state(os.getpid(), time.time(), step=3, steps=9, percent=30)
    write_state(home, state)
    assert read_state(home) == state
    assert is_running(home)


def test_a_dead_trainers_state_is_read_as_failed(home: Home) -> None:
    write_state(home, _state(_dead_pid(), 1.0))
    state = read_state(home)
    assert state is not None
    assert (state.state, state.message) == ("failed", "trainer ended before its work was done")
    assert not is_running(home)


def test_a_pid_that_went_to_a_younger_process_is_not_the_trainer(home: Home) -> None:
    write_state(home, _state(os.getpid(), 1.0))
    state = read_state(home)
    assert state is not None
    assert state.state == "failed"


def test_a_finished_state_stays_as_it_is(home: Home) -> None:
    write_state(home, TrainerState(_dead_pid(), 1.0, "a repository", "done", version="personal@v1"))
    state = read_state(home)
    assert state is not None
    assert (state.state, state.version) == ("done", "personal@v1")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"state": "dancing"}', "null"])
def test_damaged_files_are_taken_for_none(home: Home, content: str) -> None:
    home.trainer_dir.mkdir(parents=True)
    state_file(home).write_text(content, "utf-8")
    control_file(home).write_text(content, "utf-8")
    assert read_state(home) is None
    assert read_control(home).command == "run"


def test_commands_are_numbered(home: Home) -> None:
    assert [request(home, c).sequence for c in ("pause", "run", "cancel")] == [1, 2, 3]
    assert read_control(home).command == "cancel"


def test_typing_is_noted_and_ages(home: Home) -> None:
    touch_typing(home)
    assert seconds_since_typing(home) < 60
    past = typing_file(home).stat().st_mtime - 500
    os.utime(typing_file(home), (past, past))
    assert seconds_since_typing(home) >= 499


def test_a_keystroke_from_the_future_does_not_stop_the_trainer_for_good(home: Home) -> None:
    touch_typing(home)
    future = typing_file(home).stat().st_mtime + 5000
    os.utime(typing_file(home), (future, future))
    assert seconds_since_typing(home) > 4000


def test_a_second_trainer_is_refused_and_told_of_the_first(home: Home) -> None:
    code = (
        "import sys\n"
        "from neuralforge_adapters.home import Home\n"
        "from neuralforge_trainer.control import Reporter, only_trainer\n"
        "home = Home.find()\n"
        "with only_trainer(home):\n"
        "    Reporter(home, 'the first job', lambda s: None).enter('training')\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    with pytest.raises(TrainerBusyError, match=rf"process {first.pid}, on the first job"):
        only_trainer(home).__enter__()
    first.kill()
    first.communicate()
    with only_trainer(home):  # a kill frees the lock
        pass


def test_a_command_from_before_does_not_end_a_new_trainer(home: Home) -> None:
    request(home, "cancel")
    Pace(home, 0.0, Reporter(home, "job", lambda state: None)).wait()


@pytest.mark.parametrize("command", ["cancel", "skip"])
def test_cancel_and_skip_end_the_run_that_hears_them(home: Home, command: str) -> None:
    pace = Pace(home, 0.0, Reporter(home, "job", lambda state: None))
    request(home, command)  # type: ignore[arg-type]
    with pytest.raises(TrainingStoppedError) as stop:
        pace.wait()
    assert stop.value.skip == (command == "skip")


def test_a_paused_trainer_says_so_and_goes_on_when_told(home: Home) -> None:
    states: list[str] = []

    def hear(state: TrainerState) -> None:
        states.append(state.state)
        if state.state == "paused":
            request(home, "run")

    reporter = Reporter(home, "job", hear)
    reporter.enter("training")
    request(home, "pause")
    Pace(home, 0.0, reporter).wait()
    assert states == ["training", "paused", "training"]


def test_typing_holds_the_trainer_until_it_is_quiet(home: Home) -> None:
    heard: list[tuple[str, str]] = []

    def hear(state: TrainerState) -> None:
        heard.append((state.state, state.message))
        if state.state == "paused":
            past = typing_file(home).stat().st_mtime - 100
            os.utime(typing_file(home), (past, past))

    reporter = Reporter(home, "job", hear)
    touch_typing(home)
    Pace(home, 50.0, reporter).wait()
    assert heard[0] == ("paused", "waiting while you type")
    assert reporter.state.state == "collecting"


def test_files_are_readable_by_their_owner_only(home: Home) -> None:
    if os.name == "nt":
        pytest.skip("Windows has no mode bits; the user's folder is private by its ACL")
    touch_typing(home)
    request(home, "pause")
    write_state(home, _state(1, 1.0))
    paths: list[Path] = list(home.trainer_dir.iterdir())
    assert len(paths) >= 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in [*paths, home.trainer_dir])
