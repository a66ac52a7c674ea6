"""A whole training job: collect, train, measure, and publish or refuse.

Invariant: nothing but the state file changes before the gate has said yes; then the version
appears whole, and only after it are its samples remembered as learnt, so that a kill at any
moment costs time, never samples. Knows no terminal.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil

from neuralforge_adapters.base import file_digest, open_base
from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.errors import AdapterError, HomeError, NeuralForgeError
from neuralforge_adapters.home import Home
from neuralforge_adapters.pinned import pinned_versions
from neuralforge_adapters.stack import ResolvedAdapter, ResolvedStack
from neuralforge_adapters.store import (
    GGUF_FILE,
    AdapterStore,
    AdapterVersion,
    Manifest,
)
from neuralforge_adapters.trainer_files import FINISHED, TrainerState
from neuralforge_server.session.preferences import Preference
from neuralforge_trainer.collect import collect
from neuralforge_trainer.collecting.material import Material
from neuralforge_trainer.control import Pace, Reporter, only_trainer
from neuralforge_trainer.errors import NothingToLearnError, TrainingStoppedError
from neuralforge_trainer.evaluate.gate import Exam, GateReport, judge
from neuralforge_trainer.evaluate.general import general_items
from neuralforge_trainer.interrupt import Interrupts, StopNowError
from neuralforge_trainer.learn.libraries import tame_libraries
from neuralforge_trainer.learn.progressive import Task, choose_task, serve_too
from neuralforge_trainer.samples.preferences import new_preferences, remember_preferences
from neuralforge_trainer.settings import Job, JobSettings
from neuralforge_trainer.unfinished import clear, continued, note

_TRAINED, _MEASURED, _PUBLISHED = 70, 95, 100
"""Percent done when a part of the work is."""

INTERRUPTED = "interrupted; its samples stay new; train again to go on"

_GOES_ON_AFTER = (HomeError, AdapterError, OSError)
"""The disk's refusals: with room again, the training goes on from its checkpoint."""

Result = Literal["published", "refused", "nothing", "cancelled", "interrupted"]
Listener = Callable[[TrainerState], None]


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    result: Result
    message: str
    """Why, and from what: whose lines, and what of the source could not be used."""
    version: str | None = None
    gate: GateReport | None = None


def run_job(home: Home, job: Job, listener: Listener = lambda state: None) -> Outcome:
    """Do the job, one at a time for each user; `listener` hears of every change of state.

    Raises:
        TrainerBusyError: another trainer is at work; nothing was touched.
        NeuralForgeError: it failed, and the state says so.
        KeyboardInterrupt: the user pressed Ctrl-C, and the state says so.
    """
    with only_trainer(home):
        reporter = Reporter(home, job.source, listener)
        reporter.enter("collecting", percent=0)
        try:
            return _Run(home, job, reporter).work()
        except NothingToLearnError as error:
            _refuse_base(home, job, str(error))
            reporter.find_nothing(error)
            return Outcome("nothing", str(error))
        except KeyboardInterrupt:
            if reporter.state.state not in FINISHED:
                _refuse_base(home, job, "interrupted; choose the base again to go on")
                reporter.enter("cancelled", INTERRUPTED)
            raise
        except Exception as error:
            _refuse_base(home, job, str(error) or type(error).__name__)
            if not isinstance(error, _GOES_ON_AFTER):
                clear(home)
            with contextlib.suppress(HomeError):  # a full disk: its own message is the one to see
                reporter.fail(error)
            raise


class _Run:
    """The work of one job under the lock."""

    def __init__(self, home: Home, job: Job, reporter: Reporter) -> None:
        self._home = home
        self._job = job
        self._reporter = reporter
        self._settings: JobSettings = job.settings
        if job.again:  # the past is what it learns: drawn again, it would meet held-out lines
            self._settings = replace(job.settings, replay_share=0.0)
        self._threads = _thread_count(job)
        self._pace = Pace(home, job.settings.quiet_seconds, reporter, job.limits)
        self._interrupts = Interrupts(self._pace)
        self._store = AdapterStore(home)
        self._base = open_base(job.base, home)
        self._material: Material | None = None
        self._update: Any | None = None
        self._task = Task()

    def work(self) -> Outcome:
        """Collect, train, measure, publish; typing and commands reach it anywhere."""
        try:
            with self._interrupts.installed():
                self._pace.wait()
                outcome = self._finish()
        except (TrainingStoppedError, StopNowError) as error:
            outcome = self._stopped(error.reason if isinstance(error, StopNowError) else error)
        self._pace.close()
        return outcome

    def _finish(self) -> Outcome:
        self._material = material = self._collect()
        note(self._home, self._job, material.until)
        self._reporter.enter("collecting", material.message)
        self._pace.wait()
        if self._settings.progressive and not self._job.again:
            self._task = choose_task(self._home, self._base.digest, material.data)
        self._update = update = self._prepare(material)
        self._pace.wait()
        with self._store.staging(self._task.name) as staged:
            outcome = self._attempt(material, update, staged)
        update.forget()
        clear(self._home)
        return outcome

    def _collect(self) -> Material:
        """What an interrupted training had, if there is one and it still gives enough."""
        before = continued(self._home, self._job)
        if before != self._job:
            with contextlib.suppress(NothingToLearnError):
                return collect(self._home, before)
        return collect(self._home, self._job)

    def _stopped(self, stop: TrainingStoppedError) -> Outcome:
        """Of a run that was given up nothing stays; one that goes on later keeps its checkpoint."""
        if stop.skip:
            (self._material or self._collect()).remember()
        if not stop.later:
            clear(self._home)
            _refuse_base(self._home, self._job, str(stop))
            if self._update is not None:
                self._update.forget()
        result: Literal["interrupted", "cancelled"] = "interrupted" if stop.later else "cancelled"
        self._reporter.enter(result, str(stop))
        return Outcome(result, str(stop))

    def _prepare(self, material: Material) -> Any:
        tame_libraries()
        import torch

        from neuralforge_trainer.update import Update

        torch.set_num_threads(self._threads)
        return Update(
            self._home,
            self._base,
            material.samples,
            self._settings,
            self._current(),
            frozen=self._task.others,
            preferences=self._preferences(material),
            heldout=material.heldout,
        )

    def _preferences(self, material: Material) -> list[Preference]:
        settings = self._settings
        if not settings.preferences or self._job.again:
            return []
        return new_preferences(self._home, settings.least_preferences, material.heldout)

    def _attempt(self, material: Material, update: Any, staged: Path) -> Outcome:
        reporter = self._reporter
        reporter.enter("training", f"{len(material.samples)} new samples")
        steps = update.train(staged, self._pace.wait, self._trained)
        reporter.enter("measuring", "candidate against current version", _TRAINED)
        gate = self._judge(material, staged)
        message = f"{gate.reason}. From {material.message}"
        if not gate.promote:
            self._interrupts.seal()
            BaseChoice(self._home).refuse(self._base.digest, message)
            reporter.enter("refused", message, _PUBLISHED)
            return Outcome("refused", message, gate=gate)
        reporter.enter("publishing", gate.reason, _MEASURED)
        update.consolidate(staged, self._pace.wait)
        self._interrupts.seal()
        version = self._publish(material, staged, gate, steps, update)
        try:
            self._remember(material, update)
        except NeuralForgeError as error:
            message += f". It is in force, but not all could be noted after it: {error}"
        reporter.enter("done", message, _PUBLISHED, version.reference)
        return Outcome("published", message, version.reference, gate)

    def _judge(self, material: Material, staged: Path) -> GateReport:
        gguf = staged / GGUF_FILE
        candidate = ResolvedAdapter("candidate", gguf, 1.0, file_digest(gguf))
        exam = Exam(
            material.heldout, general_items(self._settings.general_items, self._settings.seed)
        )
        return judge(
            self._base,
            exam,
            _stack(self._task, self._current()),
            ResolvedStack((*self._task.others, candidate)),
            threads=self._threads,
            pace=self._measured,
        )

    def _publish(
        self,
        material: Material,
        staged: Path,
        gate: GateReport,
        steps: int,
        update: Any,
    ) -> AdapterVersion:
        current = self._current()
        rank, alpha = update.rank_and_alpha
        manifest = Manifest(
            name=self._task.name,
            base_digest=self._base.digest,
            rank=rank,
            alpha=alpha,
            parent=current.reference if current is not None else None,
            data={
                **material.data,
                **self._task.data,
                "steps": steps,
                "arm": self._settings.arm,
                "preferences": len(update.preferences),
            },
            metrics=gate.as_dict(),
        )
        return self._store.publish(staged, manifest)

    def _remember(self, material: Material, update: Any) -> None:
        """What waited for the version has it; what was learnt is no longer new; what the version
        replaces may go.

        Raises:
            NeuralForgeError: the disk refuses; what could not be noted is learnt once more.
        """
        from neuralforge_trainer.learn.replay import ReplayBuffer

        BaseChoice(self._home).settle(self._base.digest)
        with ReplayBuffer(self._home.replay_buffer, self._settings.replay_capacity) as buffer:
            if not material.known:
                buffer.add(material.samples)
            buffer.expire(self._settings.replay_days)
        material.remember()
        remember_preferences(self._home, update.preferences)
        if self._settings.progressive:
            serve_too(self._home, self._task.name)
        pinned = pinned_versions(self._task.name, self._home)
        self._store.prune(self._task.name, self._settings.keep_versions, pinned)

    def _current(self) -> AdapterVersion | None:
        """The version to go on from; one for another base is none."""
        return self._store.current_for(self._task.name, self._base.digest)

    def _trained(self, step: int, steps: int) -> None:
        self._reporter.advance(step, steps, _TRAINED * step // max(1, steps))

    def _measured(self, share: float) -> None:
        self._pace.wait()
        state = self._reporter.state
        percent = _TRAINED + int((_MEASURED - _TRAINED) * share)
        self._reporter.advance(state.step, state.steps, percent)


def _refuse_base(home: Home, job: Job, reason: str) -> None:
    """Where the job was to make a base usable, say why it did not.

    Where that cannot be said (the disk is full, the base is gone), the server counts its tries.
    """
    if job.again:
        with contextlib.suppress(NeuralForgeError):
            BaseChoice(home).refuse(open_base(job.base, home).digest, reason)


def _stack(task: Task, version: AdapterVersion | None) -> ResolvedStack:
    """What is served while `version` is current."""
    if version is None:
        return ResolvedStack(task.others)
    adapter = ResolvedAdapter(version.reference, version.gguf, 1.0, version.manifest.digest)
    return ResolvedStack((*task.others, adapter))


def _thread_count(job: Job) -> int:
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return job.settings.threads or (cores if job.foreground else max(1, cores - 1))
