"""Material from a repository's history: the author's own added lines.

Invariant: the newest commits are held out, and a later job learns them; no line that an older
commit shows is asked for. Knows no tokens and no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from neuralforge_adapters.home import Home
from neuralforge_trainer.collecting.learnt import learnt_elsewhere, learnt_until, set_learnt
from neuralforge_trainer.collecting.material import Material, is_near, refuse_little
from neuralforge_trainer.evaluate.heldout import Item, heldout_items, split
from neuralforge_trainer.samples.choice import Candidate, choose
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.samples.fim import cut, spots_of
from neuralforge_trainer.samples.git import CommitChange, choose_author, reachable, user_commits
from neuralforge_trainer.samples.repository import open_repository
from neuralforge_trainer.samples.sample import Sample, Source
from neuralforge_trainer.samples.selection import Selection
from neuralforge_trainer.settings import Job

_GROWING_SHARES = (1.0, 1.75, 2.5)
"""By these the held-out share grows while it gives too few items."""


@dataclass(frozen=True)
class History:
    """One author's commits, oldest first."""

    repository: str
    author: str
    reason: str
    """Whose commits, and why theirs, in words for the user."""
    changes: list[CommitChange]


def read_history(
    path: Path, author: str | None = None, newest: int | None = None, until: float = math.inf
) -> History:
    """The author's newest commits up to the time `until`; see `choose_author` and `user_commits`.

    Raises:
        RepositoryError: it cannot be read, or nobody of that name wrote in it.
    """
    repository = open_repository(path)
    choice = choose_author(repository, author)
    changes = [c for c in user_commits(repository, choice.author, newest=newest) if c.time <= until]
    return History(str(repository.root), str(choice.author), choice.reason, changes)


def candidates(
    changes: Iterable[CommitChange], repository: str, seed: int, source: Source = "git"
) -> list[Candidate]:
    """A candidate for every line that `changes` added, as far as `spots_of` draws them."""
    return [
        Candidate(spot.file.language, partial(cut, spot, repository, seed, source))
        for change in changes
        for spot in spots_of(change, seed)
    ]


def select(changes: Iterable[CommitChange], selection: Selection) -> list[CommitChange]:
    """`changes` with the files that are wanted; those without any are left out."""
    wanted = [
        replace(
            change,
            files=tuple(
                f for f in change.files if selection.admits(f.path, f.language, change.time)
            ),
        )
        for change in changes
    ]
    return [change for change in wanted if change.files]


def from_git(home: Home, path: Path, job: Job) -> Material:
    """What is new in the repository at `path`.

    Raises:
        NothingToLearnError: too little.
        RepositoryError: it cannot be read.
    """
    settings = job.settings
    until = math.inf if job.until is None else job.until
    history = read_history(path, job.author, settings.max_commits, until)
    known, unknown = ([], history.changes) if job.everything else _told_apart(home, history)
    new = select(unknown, job.selection)
    train, samples, items = _split(history, known, new, job)
    what = f"{len(new)} new commits in {history.repository}"
    refuse_little(samples, items, settings, what)
    newest = train[-1]
    data = {
        "source": "git",
        "repository": history.repository,
        "author": history.author,
        "commits": len(train),
        "samples": len(samples),
        "from": train[0].time,
        "to": newest.time,
        "last_commit": newest.commit,
    }
    return Material(
        samples, items, data, history.reason, lambda: set_learnt(home, history.repository, newest)
    )


def _told_apart(home: Home, history: History) -> tuple[list[CommitChange], list[CommitChange]]:
    """(commits that were learnt, those that were not): here, in a worktree, or in a clone."""
    since = learnt_until(home, history.repository)
    others = learnt_elsewhere(home, history.repository)
    there = reachable(open_repository(Path(history.repository)), others) if others else frozenset()
    known = [c for c in history.changes if c.time <= since or c.commit in there]
    return known, [c for c in history.changes if c.time > since and c.commit not in there]


def _split(
    history: History, known: list[CommitChange], new: list[CommitChange], job: Job
) -> tuple[Sequence[CommitChange], list[Sample], list[Item]]:
    """(commits to train on, samples of them, items of the newest commits); of these as few as
    give enough items."""
    settings = job.settings
    train: Sequence[CommitChange] = []
    samples: list[Sample] = []
    items: list[Item] = []
    for growth in _GROWING_SHARES:
        train, heldout = split(new, min(0.5, settings.heldout_share * growth))
        seen = Distinct()
        found = candidates(train, history.repository, settings.seed)
        samples = choose(found, seen, settings.max_samples, job.balance, settings.seed)
        items = heldout_items(heldout, [*known, *train], settings.heldout_items, settings.seed)
        items = [item for item in items if not is_near(item, seen)]
        if len(items) >= settings.least_items:
            break
    return train, samples, items
