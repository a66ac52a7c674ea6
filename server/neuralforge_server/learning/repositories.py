"""What the server must know of repositories to learn from them: where HEAD moves, what is new.

Invariant: no git runs and no configuration is read, so that nothing in a repository can make the
server do anything. What a training was already started for is kept in the profile, so that
neither a restart nor a second server starts it again. Knows no history.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neuralforge_adapters.base import embedded_base
from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.home import Home, locked, read_json, write_json
from neuralforge_adapters.trainer_files import FINISHED, TrainerState, died
from neuralforge_server.learning.trigger import Job, commits_since

MOST_TRIES = 3
"""A training whose process dies so often is not started again by itself."""

_GIVEN_UP = (
    f"its training ended {MOST_TRIES} times before its work was done (`neuralforge train --runs`); "
    "choose the base again to begin anew"
)

_CLOCK_SLACK = 2.0
_REFLOG_BYTES = 1 << 18
"""Only the newest part of a long reflog is read."""


@dataclass(frozen=True)
class Attempt:
    """The training that was started last."""

    job: Job
    at: float
    """Unix seconds."""
    tries: int = 1
    """How often it was started; those that were stopped until later do not count."""

    def outcome(self, state: TrainerState | None) -> TrainerState | None:
        """How it ended, by what the last trainer wrote; None where that was another one."""
        if state is None or state.job != self.job.source or state.started < self.at - _CLOCK_SLACK:
            return None
        return state if state.state in FINISHED else None

    def is_given_up(self, state: TrainerState | None) -> bool:
        """Whether it died or failed too often to be started again by itself."""
        end = self.outcome(state)
        return self.tries >= MOST_TRIES and (end is None or end.state == "failed")


class Attempts:
    """For what trainings were started, and when.

    Those for an awaited base are kept apart: what was begun before them is taken up after them.
    """

    def __init__(self, home: Home) -> None:
        self._choice = BaseChoice(home)
        self._file = home.profile_dir / "learning.json"
        self._lock = home.profile_dir / ".learning.lock"

    def started(self, job: Job, new_samples: int, last: TrainerState | None = None) -> None:
        """Remember a start; `last` is what the trainer before it left.

        Raises:
            HomeError: the disk is full or read-only.
        """
        with locked(self._lock, timeout=10):
            content = self._read()
            if job.repository is not None:
                content["repositories"][str(job.repository)] = time.time()
            elif job.dataset is None and job.base is None:
                content["samples"] = new_samples
            kind = "last" if job.base is None else "base"
            tries = _tries(_attempt(content[kind]), job, last)
            content[kind] = _as_json(Attempt(job, time.time(), tries))
            write_json(self._file, content)

    def met_another(self, job: Job) -> None:
        """The trainer that was started for `job` found another at work: that was no try.

        Raises:
            HomeError: the disk is full or read-only.
        """
        with locked(self._lock, timeout=10):
            content = self._read()
            kind = "last" if job.base is None else "base"
            attempt = _attempt(content[kind])
            if attempt is not None and attempt.job == job and attempt.tries > 0:
                content[kind] = _as_json(replace(attempt, tries=attempt.tries - 1))
                write_json(self._file, content)

    def last(self) -> Attempt | None:
        """The training that was started last, other than for an awaited base."""
        return _attempt(self._read()["last"])

    def forget_last(self) -> None:
        """It is settled, whatever the state says later.

        Raises:
            HomeError: the disk is full or read-only.
        """
        self._forget("last")

    def unfinished(self, state: TrainerState | None) -> Job | None:
        """What was begun and neither ended nor given up; `state` is what the last trainer left."""
        last = self.last()
        if last is None:
            return None
        end = last.outcome(state)
        if end is not None and end.state != "interrupted" and not died(end):
            return None
        return last.job if last.tries < MOST_TRIES or _is_interrupted(end) else None

    def awaited(self, state: TrainerState | None) -> Path | None:
        """The base to train for; one whose trainings came to nothing too often is refused.

        `state` is what the last trainer left; to be asked only while none is at work.

        Raises:
            HomeError: the disk is full or read-only.
        """
        awaited, last = self._choice.read().awaited, _attempt(self._read()["base"])
        if awaited is not None and not awaited.refused:
            path = Path(awaited.path) if awaited.path else embedded_base()
            if last is None or last.job.base != path or not last.is_given_up(state):
                return path
            self._choice.refuse(awaited.digest, _GIVEN_UP)
        if last is not None:
            self._forget("base")  # whoever chooses the base again begins anew
        return None

    def new_samples(self, count: int) -> int:
        """How many of `count` unused samples came since; those that were used lower the mark."""
        known: int = self._read()["samples"]
        return count - min(count, known)

    def new_commits(self, repositories: Iterable[Path]) -> dict[Path, int | None]:
        """Commits since the last start, by repository; None: there was none.

        A linked worktree that never had one is held against those of its repository, since what
        they have in common was learnt there.
        """
        known = self._read()["repositories"]
        started = {r: _latest(known, r) for r in repositories}
        return {
            r: None if at is None else commits_since(read_reflog(r), at)
            for r, at in started.items()
        }

    def _forget(self, kind: str) -> None:
        with locked(self._lock, timeout=10):
            write_json(self._file, {**self._read(), kind: None})

    def _read(self) -> dict[str, Any]:
        content = read_json(self._file)
        known = content if isinstance(content, dict) else {}
        samples, repositories = known.get("samples"), known.get("repositories")
        return {
            "samples": samples if isinstance(samples, int) else 0,
            "repositories": {
                name: when
                for name, when in (repositories if isinstance(repositories, dict) else {}).items()
                if isinstance(when, int | float)
            },
            "last": known.get("last"),
            "base": known.get("base"),
        }


def _latest(known: Mapping[str, float], repository: Path) -> float | None:
    """When a training on `repository` was started last, else one on another worktree of it."""
    if str(repository) in known:
        return known[str(repository)]
    from neuralforge_server.session.worktrees import worktrees  # slow to import

    times = [known[str(root)] for root in worktrees(repository) if str(root) in known]
    return max(times, default=None)


def _tries(last: Attempt | None, job: Job, state: TrainerState | None) -> int:
    """How often `job` will have been started: one that came to an end begins to count anew."""
    if last is None or last.job != job:
        return 1
    end = last.outcome(state)
    if end is None or end.state == "failed":
        return last.tries + 1
    return last.tries if end.state == "interrupted" else 1


def _is_interrupted(end: TrainerState | None) -> bool:
    return end is not None and end.state == "interrupted"


def _as_json(attempt: Attempt) -> dict[str, Any]:
    job = attempt.job
    paths = {"repository": job.repository, "dataset": job.dataset, "base": job.base}
    return {
        **{name: None if path is None else str(path) for name, path in paths.items()},
        "at": attempt.at,
        "tries": attempt.tries,
    }


def _attempt(content: Any) -> Attempt | None:
    """What `_as_json` wrote; None where it is damaged."""
    try:
        repository, dataset, base = content["repository"], content["dataset"], content.get("base")
        job = Job(
            repository=None if repository is None else Path(repository),
            base=None if base is None else Path(base),
            dataset=None if dataset is None else Path(dataset),
        )
        return Attempt(job, float(content["at"]), int(content["tries"]))
    except (KeyError, TypeError, ValueError):
        return None


def git_folder(repository: Path) -> Path:
    """Where HEAD lies: `.git`, or where that points in a worktree or a submodule."""
    dot_git = repository / ".git"
    try:
        if dot_git.is_file():
            with dot_git.open(encoding="utf-8", errors="replace") as file:
                return repository / file.readline(4096).removeprefix("gitdir:").strip()
    except OSError:
        pass
    return dot_git


def head_folders(repository: Path) -> list[Path]:
    """The folders in which a commit changes a file."""
    folder = git_folder(repository)
    return [folder, folder / "logs"]


def read_reflog(repository: Path) -> str:
    """The newest part of HEAD's log; empty where there is none."""
    try:
        with (git_folder(repository) / "logs" / "HEAD").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _REFLOG_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
