"""When a training is worth starting. Pure: facts in, a job out, or why there is none.

Invariant: nothing starts while the user is at work, while another training runs, where the user
does not allow it now, or on what a training has already been started for. Knows no clock, no file
and no process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neuralforge_server.settings import LearningSettings


@dataclass(frozen=True)
class Job:
    """A training to start: on a repository, a dataset, the sessions, or again for another base."""

    repository: Path | None = None
    base: Path | None = None
    """To train for in place of the base in use, from all that was learnt before."""
    dataset: Path | None = None

    @property
    def source(self) -> str:
        """What is learnt from, in the words of the trainer's state."""
        if self.base is not None:
            return "what was learnt before, for another base"
        if self.dataset is not None:
            return self.dataset.name
        return str(self.repository) if self.repository is not None else "editing sessions"


@dataclass(frozen=True)
class Facts:
    """What is known at the moment of deciding."""

    idle_seconds: float
    """Since the last keystroke in any editor."""
    running: bool = False
    paused: bool = False
    """Whether the user has paused training."""
    battery: bool = False
    """Whether the machine runs on its battery."""
    over: str = ""
    """Why the hours or the budget of the day forbid it now."""
    awaited: Path | None = None
    """A base that is to be used once the personal adapter has been trained for it."""
    unfinished: Job | None = None
    """A training that was killed, or stopped until later."""
    dataset: Path | None = None
    """A whole one that waits in the inbox."""
    new_samples: int = 0
    """Of editing sessions, since the last training on them was started."""
    new_commits: Mapping[Path, int | None] = field(default_factory=dict)
    """By repository that may be learned from; None: it was never learned from."""


def seconds_to_wait(settings: LearningSettings, idle_seconds: float) -> float:
    """Until the user counts as idle; 0 when he is."""
    return max(0.0, settings.idle_seconds - idle_seconds)


def decide(settings: LearningSettings, facts: Facts) -> Job | None:
    """The training to start now, if any: an awaited base first, then what was begun, what was put
    into the inbox, the sessions, the repository with the most news."""
    return None if facts.running or hindrance(settings, facts) else worth(settings, facts)


def hindrance(settings: LearningSettings, facts: Facts) -> str:
    """Why nothing may start now, whatever there is to learn; empty where something may."""
    if not settings.enabled:
        return "learning is switched off: see neuralforge.learning.enabled"
    if facts.paused:
        return "training is paused: neuralforge.train.resume or `neuralforge train --resume`"
    if facts.battery and not settings.on_battery:
        return "this machine runs on its battery: see neuralforge.learning.on_battery"
    if facts.over:
        return facts.over
    if wait := seconds_to_wait(settings, facts.idle_seconds):
        return f"you are at work: a training may start after {wait:.0f} s without typing"
    return ""


def worth(settings: LearningSettings, facts: Facts) -> Job | None:
    """What is worth a training at a good moment."""
    if facts.awaited is not None:
        return Job(base=facts.awaited)
    if facts.unfinished is not None:
        return facts.unfinished
    if facts.dataset is not None:
        return Job(dataset=facts.dataset)
    if facts.new_samples >= settings.min_new_samples:
        return Job()
    news = {
        repository: float("inf") if count is None else count
        for repository, count in facts.new_commits.items()
        if count is None or count >= settings.min_new_commits
    }
    return Job(max(news, key=lambda r: (news[r], str(r)))) if news else None


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
