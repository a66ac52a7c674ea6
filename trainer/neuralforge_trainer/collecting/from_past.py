"""Material for a base that knows nothing of the user yet: all that was learnt before.

Invariant: what can be read again comes from the repositories' history, the rest from the replay
buffer. Knows no tokens and no model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from neuralforge_adapters.home import Home
from neuralforge_trainer.collecting.from_git import from_git
from neuralforge_trainer.collecting.learnt import learnt_repositories, learnt_without
from neuralforge_trainer.collecting.material import (
    Material,
    drawn,
    items_of,
    refuse_little,
    shown_lines,
    split_by_time,
    whole_line,
)
from neuralforge_trainer.errors import NothingToLearnError, RepositoryError
from neuralforge_trainer.learn.replay import DEFAULT_CAPACITY, ReplayBuffer
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.settings import Job


def from_past(home: Home, job: Job) -> Material:
    """What earlier jobs learnt: the repositories' history, and of the rest what replay keeps.

    Raises:
        NothingToLearnError: too little.
        ReplayError: the replay buffer cannot be read.
    """
    settings = job.settings
    histories = list(_histories(home, job))
    covered = {history.data["repository"] for history in histories}
    replayed, capacity = _replayed(home)
    rest = [s for s in replayed if s.source != "git" or s.repository not in covered]
    older, newer = split_by_time(rest, settings.heldout_share)
    samples = [*older, *(s for history in histories for s in history.samples)]
    seen = Distinct()
    samples = [sample for sample in samples if seen.admits(sample)]
    items = items_of(newer, samples, seen)
    shown = shown_lines(samples)
    asked = [item for history in histories for item in history.heldout]
    items += [item for item in asked if whole_line(item) not in shown]
    heldout = drawn(items, settings.heldout_items, settings.seed)
    samples = drawn(samples, settings.replay_capacity or capacity, settings.seed)
    refuse_little(samples, heldout, settings, "history and the replay buffer")
    data = {
        "source": "past",
        "repositories": sorted(covered),
        "samples": len(samples),
        **_window(samples),
    }

    def remember() -> None:
        for history in histories:
            history.remember()

    until = max((h.until for h in histories if h.until is not None), default=None)
    message = "what was learnt before"
    return Material(samples, heldout, data, message, remember, until=until, known=True)


def _histories(home: Home, job: Job) -> Iterator[Material]:
    """The whole history of every repository that was learnt from and can still be read."""
    for name in learnt_repositories(home):
        with contextlib.suppress(NothingToLearnError, RepositoryError):
            exclude = job.exclude or learnt_without(home, name)  # a terminal knows no settings
            yield from_git(home, Path(name), replace(job, everything=True, exclude=exclude))


def _window(samples: Iterable[Sample]) -> dict[str, float]:
    """From when to when they were written; nothing where no sample says so."""
    times = [sample.time for sample in samples if sample.time]
    return {"from": min(times), "to": max(times)} if times else {}


def _replayed(home: Home) -> tuple[list[Sample], int]:
    """(what the replay buffer holds, how much it may hold)."""
    if not home.replay_buffer.exists():
        return [], DEFAULT_CAPACITY
    with ReplayBuffer(home.replay_buffer) as buffer:
        return buffer.draw(len(buffer)), buffer.capacity
