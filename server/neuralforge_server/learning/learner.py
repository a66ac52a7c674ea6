"""Learning as the server sees it: typing noted, trainings started, their progress shown.

Invariant: the event loop waits for no disk, and nothing is computed here: a training is another
process. Runs in one asyncio loop. Knows no model and no editor beyond a progress bar.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import psutil

from neuralforge_adapters.allowance import left, on_battery, over, read_spent
from neuralforge_adapters.errors import HomeError, NeuralForgeError
from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import (
    FINISHED,
    TrainerState,
    is_running,
    read_control,
    read_state,
    request,
    seconds_since_typing,
    touch_typing,
    write_waiting,
)
from neuralforge_server.errors import CommandError
from neuralforge_server.learning.datasets import Datasets
from neuralforge_server.learning.reasons import why_none
from neuralforge_server.learning.repositories import Attempts
from neuralforge_server.learning.trainer_process import (
    LOG_FILE,
    arguments,
    missing_packages,
    start_trainer,
)
from neuralforge_server.learning.trigger import Facts, Job, decide, seconds_to_wait
from neuralforge_server.notice import Notice
from neuralforge_server.settings import LearningSettings

_TYPING_SECONDS = 0.1
"""The typing file is touched at most once in so many seconds."""

_BUSY = 3
"""The trainer's status where another one is at work."""

_END_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 60.0
"""After so long it is seen whether the hour or the mains now allow what they did not."""


class Bar(Protocol):
    """One training on show."""

    def report(self, percent: int, message: str = "") -> None:
        """Show how far it is: `percent` from 0 to 100."""

    def end(self, message: str = "") -> None:
        """Show that it is over."""


BeginBar = Callable[[str, Callable[[], None]], Awaitable[Bar]]


class Learner:
    """Starts and shows the trainings of one profile."""

    def __init__(
        self,
        home: Home,
        settings: LearningSettings,
        count_samples: Callable[[], Awaitable[int]],
        base: Callable[[], Path | None],
        begin_bar: BeginBar,
        notify: Callable[[Notice], None],
        datasets: Datasets | None = None,
    ) -> None:
        """`count_samples` tells how many of editing sessions no training has used; `base` gives
        the one to train for, None for the one in use."""
        self.home = home
        self.settings = settings
        self.repositories: set[Path] = set()
        """Those that may be learned from."""
        self.exclude: tuple[str, ...] = ()
        """Patterns of files in them that may not."""
        self.reason = ""
        """Why no training runs, as of the last look."""
        self._count_samples = count_samples
        self._base = base
        self._begin_bar = begin_bar
        self._notify = notify
        self._attempts = Attempts(home)
        self._datasets = datasets
        self._wake = asyncio.Event()
        self._typed_at = 0.0
        self._began = time.monotonic()
        self._bar: Bar | None = None
        self._shown: TrainerState | None = None
        self._state_lock = asyncio.Lock()
        self._start_lock = asyncio.Lock()
        self._moving = threading.Lock()
        self._process: psutil.Popen | None = None
        """The trainer that was started here last, until it ends."""
        self._asked: int | None = None
        """The process id of the trainer that the user asked for last."""

    def typed(self) -> None:
        """The user typed: the trainer is to stop computing."""
        self._wake.set()
        now = time.monotonic()
        if now - self._typed_at >= _TYPING_SECONDS:
            self._typed_at = now
            asyncio.get_running_loop().run_in_executor(None, touch_typing, self.home)

    def wake(self) -> None:
        """There may be something new to learn."""
        self._wake.set()

    async def run(self) -> None:
        """Start trainings when there is reason to, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._wait_until_idle()
            try:
                await self._start_what_is_due()
            except NeuralForgeError as error:
                self._notify(Notice("warning", f"No training was started: {error}"))

    async def _start_what_is_due(self) -> None:
        facts = await self.facts()
        await self._tell(facts)
        if job := decide(self.settings, facts):
            await self.start(job, asked=False)
        elif facts.over or facts.battery:
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_SECONDS, self._wake.set)

    async def _tell(self, facts: Facts) -> None:
        """Leave word for terminals of why nothing runs, whenever that changes."""
        missing = await asyncio.to_thread(missing_packages)
        reason = why_none(self.settings, facts, missing)
        if reason != self.reason:
            self.reason = reason
            await asyncio.to_thread(write_waiting, self.home, reason)

    async def describe(self) -> dict[str, Any]:
        """`running`, `paused`; `reason`, why no training is at work; what is `left` of today's
        budgets in minutes; what is new."""
        facts = await self.facts()
        missing = await asyncio.to_thread(missing_packages)
        spent = await asyncio.to_thread(read_spent, self.home)
        return {
            "running": facts.running,
            "paused": facts.paused,
            "reason": why_none(self.settings, facts, missing),
            "left": left(self.settings.limits, spent, datetime.now()),
            "new_samples": facts.new_samples,
            "new_commits": {str(r): count for r, count in facts.new_commits.items()},
        }

    async def _wait_until_idle(self) -> None:
        """The user may also type in another editor, which tells no event here."""
        while wait := seconds_to_wait(self.settings, self._idle_seconds()):  # noqa: ASYNC110
            await asyncio.sleep(wait)

    def _idle_seconds(self) -> float:
        """Since the last key in any editor, or since this one was opened."""
        return min(seconds_since_typing(self.home), time.monotonic() - self._began)

    async def start(self, job: Job, *, asked: bool = True) -> dict[str, Any]:
        """Start a training; one that the user `asked` for has no limits but typing.

        Raises:
            CommandError: one is running already.
            TrainerStartError, HomeError, SessionLogError: it cannot be started.
        """
        async with self._start_lock:
            if await asyncio.to_thread(self._is_running):
                raise CommandError(
                    "a training is running already; wait for it, or stop it with "
                    "neuralforge.train.cancel"
                )
            samples, last = (
                await self._count_samples(),
                await asyncio.to_thread(read_state, self.home),
            )
            await asyncio.to_thread(self._attempts.started, job, samples, last)
            args = arguments(job, self.settings, self._base(), asked=asked, exclude=self.exclude)
            process = await asyncio.to_thread(start_trainer, self.home, args)
            self._process = process
            self._asked = process.pid if asked else None
        self._reap(process, job, asyncio.get_running_loop())
        return {"started": True, "pid": process.pid, "source": job.source}

    def end_training(self) -> None:
        """Have a trainer that was started here keep its checkpoint and end; waits for it."""
        process = self._process
        if process is not None:
            with contextlib.suppress(psutil.Error, OSError):
                process.terminate()
                process.wait(_END_SECONDS)

    def _is_running(self) -> bool:
        """Whether a trainer is at work, or was started here and has not yet said so."""
        process, state = self._process, read_state(self.home)
        silent = process is not None and (state is None or state.pid != process.pid)
        return silent or is_running(self.home)

    def _reap(self, process: psutil.Popen, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the trainer's end in a thread that holds up nothing, not even the server's."""

        def wait() -> None:
            code = process.wait()
            if code == _BUSY:
                with contextlib.suppress(HomeError):
                    self._attempts.met_another(job)
            with contextlib.suppress(RuntimeError):  # the server has ended first
                loop.call_soon_threadsafe(self._ended, process.pid, code)

        threading.Thread(target=wait, name="trainer-reaper", daemon=True).start()

    def _ended(self, pid: int, code: int) -> None:
        """What the trainer says of its end it writes itself, unless it did not get that far."""
        if self._process is not None and self._process.pid == pid:
            self._process = None
        state = read_state(self.home)
        if code not in (0, _BUSY) and (state is None or state.pid != pid):
            log = self.home.trainer_dir / LOG_FILE
            self._notify(Notice("warning", f"The trainer ended (status {code}); see {log}"))

    async def show_state(self) -> None:
        """The trainer's state has changed: show it."""
        async with self._state_lock:
            state = await asyncio.to_thread(read_state, self.home)
            if state is None or state == self._shown:
                return
            first, self._shown = self._shown is None, state
            if state.state in FINISHED:
                self._conclude(state, told=not first or self._bar is not None)
            else:
                await self._report(state)

    async def _report(self, state: TrainerState) -> None:
        if self._bar is None:
            self._bar = await self._begin_bar(f"Learning from {state.job}", self._cancel)
        steps = f" {state.step}/{state.steps}" if state.steps else ""
        self._bar.report(state.percent, f"{state.state}{steps} {state.message}".rstrip())

    def _conclude(self, state: TrainerState, *, told: bool) -> None:
        if self._bar is not None:
            self._bar.end(state.message or state.state)
            self._bar = None
        if state.state == "failed" and told:
            self._notify(Notice("warning", f"Training on {state.job} failed: {state.message}"))
        if state.pid == self._asked and _learnt_nothing(state):
            self._asked = None
            said = f"Nothing was learnt from {state.job}: {state.message}"
            self._notify(Notice("info", said, answers=True))
        self._wake.set()

    def _cancel(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, request, self.home, "cancel")

    async def facts(self) -> Facts:
        """What decides whether a training starts."""
        samples = await self._count_samples()
        async with self._start_lock:  # a start is counted before its trainer can be seen
            return await asyncio.to_thread(self._look, samples, frozenset(self.repositories))

    def _look(self, samples: int, repositories: frozenset[Path]) -> Facts:
        running, state = self._is_running(), read_state(self.home)
        limits, spent = self.settings.limits, read_spent(self.home)
        dataset = None if running else self._next_dataset(state)
        return Facts(
            idle_seconds=self._idle_seconds(),
            running=running,
            paused=read_control(self.home).command == "pause",
            battery=on_battery(),
            over=over(limits, spent, datetime.now()),
            awaited=None if running else self._attempts.awaited(state),
            unfinished=self._unfinished(state, repositories),
            dataset=dataset,
            new_samples=self._attempts.new_samples(samples),
            new_commits=self._attempts.new_commits(repositories),
        )

    def _next_dataset(self, state: TrainerState | None) -> Path | None:
        if self._datasets is None:
            return None
        with self._moving:
            self._datasets.settle(self._attempts, state)
            return self._datasets.next(self._attempts)

    def _unfinished(self, state: TrainerState | None, repositories: frozenset[Path]) -> Job | None:
        """A repository may be learned from only for as long as the user says so."""
        job = self._attempts.unfinished(state)
        if job is None or job.repository is None or job.repository in repositories:
            return job
        return None


def _learnt_nothing(state: TrainerState) -> bool:
    return state.state == "refused" or (state.state == "done" and state.version is None)
