"""The files by which servers, terminals and the trainer talk: commands, keystrokes, progress.

Invariant: the trainer alone writes the state, everybody else alone the commands; each file is
replaced in one step, so that a reader sees a whole one. Whether a trainer runs is decided by its
process, not by what it wrote last. Knows no process but by id, and no training.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import psutil

from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import Home, locked, private_dir, read_json, write_json

Command = Literal["run", "pause", "cancel", "skip"]
"""Go on; wait; stop and forget this run; stop and never train on these samples."""

State = Literal[
    "collecting", "training", "paused", "measuring", "publishing",
    "done", "refused", "cancelled", "interrupted", "failed",
]  # fmt: skip
"""`interrupted`: nobody gave the work up, and it goes on later from where it was."""

FINISHED: tuple[State, ...] = ("done", "refused", "cancelled", "interrupted", "failed")

_CLOCK_SLACK = 2.0
"""Seconds by which a process may seem to be younger than the state that it wrote."""


@dataclass(frozen=True)
class ControlOrder:
    """The latest command; `sequence` grows by one with each, `at` is in Unix seconds."""

    command: Command = "run"
    sequence: int = 0
    at: float = 0.0


@dataclass(frozen=True)
class TrainerState:
    """What the trainer is at."""

    pid: int
    started: float
    """Unix seconds at which the process began the job."""
    job: str
    """What is trained on, in words for the user."""
    state: State
    step: int = 0
    steps: int = 0
    percent: int = 0
    message: str = ""
    version: str | None = None
    """The adapter version that was published, as `name@v0003`."""
    seconds: float = 0.0
    """Seconds since `started`."""
    error: str = ""
    """The name of the error that a job failed with, or that says why it had nothing to do; empty
    where its process was killed."""
    profile: str = ""
    """Whose training it is."""


@dataclass(frozen=True)
class Waiting:
    """Why a server or daemon of this profile starts no training."""

    pid: int
    at: float
    """Unix seconds."""
    reason: str


def state_file(home: Home) -> Path:
    """The file to watch for the trainer's progress."""
    return home.trainer_dir / "state.json"


def control_file(home: Home) -> Path:
    """The file that holds the latest command."""
    return home.trainer_dir / "control.json"


def lock_file(home: Home) -> Path:
    """The file that a trainer holds locked for as long as it lives."""
    return home.trainer_dir / "lock"


def typing_file(home: Home) -> Path:
    """The file whose modification time is the user's last keystroke."""
    return home.trainer_dir / "typing"


def write_waiting(home: Home, reason: str) -> None:
    """Say why this process starts no training.

    Raises:
        HomeError: the disk is full or read-only.
    """
    write_json(_waiting_file(home), asdict(Waiting(os.getpid(), time.time(), reason)))


def read_waiting(home: Home) -> Waiting | None:
    """What the process that looked last said; None where it has ended."""
    content = read_json(_waiting_file(home))
    try:
        waiting = Waiting(**(content if isinstance(content, dict) else {}))
    except TypeError:
        return None
    return waiting if _lives(waiting.pid, waiting.at) else None


def _waiting_file(home: Home) -> Path:
    return home.profile_dir / "waiting.json"


def read_state(home: Home) -> TrainerState | None:
    """What the last trainer wrote, None where none ever did.

    A trainer that ended in the middle of its work is reported as failed.
    """
    content = read_json(state_file(home))
    try:
        state = TrainerState(**(content if isinstance(content, dict) else {}))
    except TypeError:
        return None
    if state.state not in get_args(State):
        return None
    if state.state in FINISHED or _alive(state):
        return state
    return replace(state, state="failed", message="trainer ended before its work was done")


def write_state(home: Home, state: TrainerState) -> None:
    """Say what the trainer is at.

    Raises:
        HomeError: the disk is full or read-only.
    """
    write_json(state_file(home), asdict(state))


def died(state: TrainerState) -> bool:
    """Whether the trainer's process ended before it could say how its work ended."""
    return state.state == "failed" and not state.error


def is_running(home: Home) -> bool:
    """Whether a trainer is at work."""
    state = read_state(home)
    return state is not None and state.state not in FINISHED


def read_control(home: Home) -> ControlOrder:
    """The latest command; "run" where there is none."""
    content = read_json(control_file(home))
    try:
        order = ControlOrder(**(content if isinstance(content, dict) else {}))
    except TypeError:
        return ControlOrder()
    return order if order.command in get_args(Command) else ControlOrder()


def request(home: Home, command: Command) -> ControlOrder:
    """Give the trainer a command; "pause" also holds for trainers that start later.

    Raises:
        HomeError: the disk is full or read-only.
    """
    with locked(home.trainer_dir / ".control.lock", timeout=10):
        order = ControlOrder(command, read_control(home).sequence + 1, time.time())
        write_json(control_file(home), asdict(order))
    return order


def touch_typing(home: Home) -> None:
    """Say that the user typed just now; a disk that refuses is no reason to disturb the user."""
    path = typing_file(home)
    with contextlib.suppress(OSError, HomeError):
        if not path.exists():
            private_dir(path.parent)
            path.touch(mode=0o600)
        os.utime(path)


def seconds_since_typing(home: Home) -> float:
    """Seconds since the last keystroke in any editor; infinite where there was none.

    A clock that was set back counts as time passed, so that it cannot stop a trainer for good.
    """
    try:
        return abs(time.time() - typing_file(home).stat().st_mtime)
    except OSError:
        return float("inf")


def _alive(state: TrainerState) -> bool:
    """Whether the process that wrote `state` lives."""
    return _lives(state.pid, state.started)


def _lives(pid: int, since: float) -> bool:
    """Whether the process that had `pid` then lives: it may have gone to another one since."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.create_time() <= since + _CLOCK_SLACK
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
