"""Material for a base that knows nothing of the user yet: all that was learnt before.

Invariant: what can be read again comes from the repositories' history, the rest from the replay
buffer. Knows no tokens and no model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from neuralforge_adapters.home import Home
from neuralforge_trainer.collecting.from_git import from_git
from neuralforge_trainer.collecting.learnt import learnt_repositories
from neuralforge_trainer.collecting.material import (
    Material,
    drawn,
    items_of,
    refuse_little,
    split_by_time,
    whole_line,
)
from neuralforge_trainer.errors import NothingToLearnError, RepositoryError
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.samples.lines import split_lines
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
    rest = [s for s in _replayed(home) if s.source != "git" or s.repository not in covered]
    older, newer = split_by_time(rest, settings.heldout_share)
    samples = [*older, *(s for history in histories for s in history.samples)]
    seen = Distinct()
    samples = [sample for sample in samples if seen.admits(sample)]
    items = items_of(newer, samples, seen)
    shown = {line.strip() for s in samples for line in split_lines(s.prefix + s.middle + s.suffix)}
    asked = [item for history in histories for item in history.heldout]
    items += [item for item in asked if whole_line(item) not in shown]
    heldout = drawn(items, settings.heldout_items, settings.seed)
    samples = drawn(samples, settings.replay_capacity, settings.seed)
    refuse_little(samples, heldout, settings, "history and the replay buffer")
    data = {"source": "past", "repositories": sorted(covered), "samples": len(samples)}

    def remember() -> None:
        for history in histories:
            history.remember()

    return Material(samples, heldout, data, "what was learnt before", remember, known=True)


def _histories(home: Home, job: Job) -> Iterator[Material]:
    """The whole history of every repository that was learnt from and can still be read."""
    for name in learnt_repositories(home):
        with contextlib.suppress(NothingToLearnError, RepositoryError):
            yield from_git(home, Path(name), replace(job, everything=True))


def _replayed(home: Home) -> list[Sample]:
    if not home.replay_buffer.exists():
        return []
    with ReplayBuffer(home.replay_buffer) as buffer:
        return buffer.draw(len(buffer))
