"""When a training is worth starting. Pure: facts in, a job out.

Invariant: nothing starts while the user is at work, while another training runs, or on what a
training has already been started for. Knows no clock, no file and no process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neuralforge_server.settings import LearningSettings


@dataclass(frozen=True)
class Facts:
    """What is known at the moment of deciding."""

    idle_seconds: float
    """Since the last keystroke in any editor."""
    running: bool = False
    paused: bool = False
    """Whether the user has paused training."""
    awaited: Path | None = None
    """A base that is to be used once the personal adapter has been trained for it."""
    new_samples: int = 0
    """Of editing sessions, since the last training on them was started."""
    new_commits: Mapping[Path, int | None] = field(default_factory=dict)
    """By repository that may be learned from; None: it was never learned from."""


@dataclass(frozen=True)
class Job:
    """A training to start: on a repository, on the sessions, or all again for another base."""

    repository: Path | None = None
    base: Path | None = None
    """To train for in place of the base in use, from all that was learnt before."""


def seconds_to_wait(settings: LearningSettings, idle_seconds: float) -> float:
    """Until the user counts as idle; 0 when he is."""
    return max(0.0, settings.idle_seconds - idle_seconds)


def decide(settings: LearningSettings, facts: Facts) -> Job | None:
    """The training to start now, if any: an awaited base, the sessions, the most news."""
    if not settings.enabled or facts.running or facts.paused:
        return None
    if seconds_to_wait(settings, facts.idle_seconds) > 0:
        return None
    if facts.awaited is not None:
        return Job(base=facts.awaited)
    if facts.new_samples >= settings.min_new_samples:
        return Job()
    worth = {
        repository: float("inf") if count is None else count
        for repository, count in facts.new_commits.items()
        if count is None or count >= settings.min_new_commits
    }
    return Job(max(worth, key=lambda r: (worth[r], str(r)))) if worth else None


def commits_since(reflog: str, since: float) -> int:
    """Commits that a repository's HEAD log names as made later than `since` (Unix seconds).

    A line is `<old> <new> <name> <<mail>> <seconds> <zone>\\t<what>: <message>` (gitformat).
    """
    count = 0
    for line in reflog.splitlines():
        who, _, what = line.partition("\t")
        when = who.rsplit(" ", 2)[-2:-1]
        if what.startswith("commit") and when and when[0].isdigit():
            count += int(when[0]) > since
    return count
