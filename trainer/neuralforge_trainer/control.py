"""How the trainer behaves towards its user: one at a time, at low priority, still while they type.

Invariant: while the lock is held no other trainer of this user runs, whatever kills this one;
work goes on only through `Pace.wait`, which returns when nobody types, nothing is ordered against
it and what the user allows is not used up. Knows no training.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from neuralforge_adapters.allowance import NO_LIMITS, Limits, on_battery, over
from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import Home, private_dir
from neuralforge_adapters.trainer_files import (
    State,
    TrainerState,
    lock_file,
    read_control,
    read_state,
    seconds_since_typing,
    write_state,
)
from neuralforge_adapters.trainer_runs import note_end
from neuralforge_trainer.errors import TrainerBusyError, TrainingStoppedError
from neuralforge_trainer.meter import Meter

_POLL_SECONDS = 0.05
_WRITE_SECONDS = 0.2
"""Progress within one state is written at most once in so many seconds."""
NICE = 10
"""Of a training that somebody started by hand."""
_BATTERY_SECONDS = 5.0
"""The battery is asked at most once in so many seconds."""
_AUTOGROUP = Path("/proc/self/autogroup")


@contextmanager
def only_trainer(home: Home) -> Iterator[None]:
    """Be this user's trainer; the lock goes with the process.

    Raises:
        TrainerBusyError: another one is at work.
    """
    lock = FileLock(lock_file(home), mode=0o600)
    private_dir(home.trainer_dir)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        other = read_state(home)
        who = f" (process {other.pid}, on {other.job})" if other else ""
        raise TrainerBusyError(
            f"another trainer is at work{who}; wait for it, or stop it with "
            "`neuralforge train --cancel`"
        ) from error
    try:
        yield
    finally:
        lock.release()


def lower_priority(nice: int = NICE) -> None:
    """Give way to everything else on the machine, as far as the platform knows how.

    `nice` as POSIX has it, 0 for not at all; Windows knows no degrees.
    """
    if not nice:
        return
    process = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        if sys.platform == "win32":
            process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        elif process.nice() < nice:
            process.nice(nice)
    with contextlib.suppress(OSError, AttributeError):
        # where Linux weighs whole sessions, nice alone is nothing; a terminal's stays as it is
        if os.getsid(0) == os.getpid() and _AUTOGROUP.exists():
            _AUTOGROUP.write_text(str(nice), "ascii")
    with contextlib.suppress(psutil.Error, OSError, AttributeError):  # macOS has no ionice
        if sys.platform == "win32":
            process.ionice(psutil.IOPRIO_LOW)
        elif sys.platform == "linux":
            process.ionice(psutil.IOPRIO_CLASS_IDLE)


class Reporter:
    """Writes the trainer's state, and tells `listener` of every change."""

    def __init__(self, home: Home, job: str, listener: Callable[[TrainerState], None]) -> None:
        self._home = home
        self._listener = listener
        self._written = 0.0
        self.state = TrainerState(os.getpid(), time.time(), job, "collecting", profile=home.profile)
        self._note(read_state(home))  # one that was killed could not say so

    def enter(
        self,
        state: State,
        message: str = "",
        percent: int | None = None,
        version: str | None = None,
    ) -> None:
        """Say that another part of the work has begun, or that it has ended."""
        percent = self.state.percent if percent is None else percent
        self._show(
            replace(self.state, state=state, message=message, percent=percent, version=version)
        )

    def find_nothing(self, error: Exception) -> None:
        """Say that there was nothing to do, and why."""
        self._show(
            replace(
                self.state,
                state="done",
                message=str(error),
                error=type(error).__name__,
                percent=100,
            )
        )

    def fail(self, error: Exception) -> None:
        """Say that the work has failed.

        Raises:
            HomeError: the disk is full or read-only.
        """
        self._show(
            replace(self.state, state="failed", message=str(error), error=type(error).__name__)
        )

    def advance(self, step: int, steps: int, percent: int) -> None:
        """Say how far the present part is."""
        changed = replace(self.state, step=step, steps=steps, percent=percent)
        if time.monotonic() - self._written >= _WRITE_SECONDS:
            self._show(changed)
        else:
            self.state = changed

    def _show(self, state: TrainerState) -> None:
        self.state = replace(state, seconds=round(time.time() - state.started, 1))
        self._written = time.monotonic()
        self._note(self.state)
        write_state(self._home, self.state)
        self._listener(self.state)

    def _note(self, state: TrainerState | None) -> None:
        with contextlib.suppress(HomeError):  # a history that misses an end is no failed training
            note_end(self._home, state)


class Pace:
    """Asked before every small piece of work."""

    def __init__(
        self, home: Home, quiet_seconds: float, reporter: Reporter, limits: Limits = NO_LIMITS
    ) -> None:
        """`quiet_seconds`: how long nobody must have typed."""
        self._home = home
        self._quiet = quiet_seconds
        self._reporter = reporter
        self._limits = limits
        self._first = read_control(home).sequence
        self._meter = Meter(home)
        self._waiting = False
        self._battery = (0.0, False)

    def wait(self) -> None:
        """Return as soon as work may go on.

        Raises:
            TrainingStoppedError: "cancel" or "skip" was ordered since this trainer began, or the
                hours or the budget of the day are over.
            HomeError: what was computed cannot be written down.
        """
        if self._waiting:  # asked by an interrupt of its own sleep
            return
        self._waiting = True
        try:
            self._meter.stop()
            self._wait()
        finally:
            self._waiting = False
            self._meter.go()

    def hindered(self) -> bool:
        """Whether `wait` would wait or raise."""
        return not self._waiting and bool(self._stop() or self._hindrance())

    def close(self) -> None:
        """The work has ended.

        Raises:
            HomeError: what was computed cannot be written down.
        """
        self._meter.stop()
        self._meter.keep()

    def _wait(self) -> None:
        reason = self._reason()
        if not reason:
            return
        before = self._reporter.state
        self._reporter.enter("paused", reason)
        while self._reason():
            time.sleep(_POLL_SECONDS)
        self._reporter.enter(before.state, before.message)

    def _reason(self) -> str:
        if stop := self._stop():
            raise stop
        return self._hindrance()

    def _stop(self) -> TrainingStoppedError | None:
        """Why to end, None where there is no reason."""
        order = read_control(self._home)
        if order.sequence > self._first and order.command in ("cancel", "skip"):
            return TrainingStoppedError(
                f"stopped by `{order.command}`", skip=order.command == "skip"
            )
        if why := over(self._limits, self._meter.spent, datetime.now()):
            return TrainingStoppedError(f"{why}; it goes on later", later=True)
        return None

    def _hindrance(self) -> str:
        """Why to wait, empty where there is no reason."""
        if read_control(self._home).command == "pause":
            return "paused by command; `neuralforge train --resume` goes on"
        if not self._limits.on_battery and self._on_battery():
            return "waiting for mains power"
        return "waiting while you type" if seconds_since_typing(self._home) < self._quiet else ""

    def _on_battery(self) -> bool:
        asked, answer = self._battery
        if time.monotonic() - asked > _BATTERY_SECONDS:
            answer = on_battery()
            self._battery = (time.monotonic(), answer)
        return answer
