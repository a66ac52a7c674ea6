"""Material from a repository's history: the author's own added lines.

Invariant: the newest commits are held out, and a later job learns them; no line that an older
commit shows is asked for. Knows no tokens and no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from neuralforge_adapters.home import Home
from neuralforge_server.session.exclude import Exclusions
from neuralforge_trainer.collecting.learnt import (
    learnt_commits,
    learnt_elsewhere,
    learnt_until,
    set_learnt,
)
from neuralforge_trainer.collecting.material import Material, is_near, refuse_little, told
from neuralforge_trainer.errors import NothingToLearnError
from neuralforge_trainer.evaluate.heldout import Item, heldout_items, split
from neuralforge_trainer.samples.choice import Candidate, choose
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.samples.fim import cut, spots_of
from neuralforge_trainer.samples.git import (
    CommitChange,
    FileChange,
    choose_author,
    reachable,
    tips,
    user_commits,
)
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
    path: Path,
    author: str | None = None,
    newest: int | None = None,
    until: float = math.inf,
    *,
    own_only: bool = False,
    exclude: Sequence[str] = (),
) -> History:
    """The author's newest commits up to the time `until`; see `choose_author` and `user_commits`.

    Args:
        own_only: nobody else's in place of the user's.
        exclude: files that are left out, as in .gitignore; see `Exclusions.is_named`.

    Raises:
        NothingToLearnError: which commits are the user's own is not known.
        RepositoryError: it cannot be read, or nobody of that name wrote in it.
    """
    repository = open_repository(path)
    choice = choose_author(repository, author)
    if own_only and choice.doubt:
        raise NothingToLearnError(
            f"no commit in {repository.root} is known to be yours: {choice.doubt}; set "
            "neuralforge.learning.author to the name or e-mail that you commit with there, or "
            "git's user.email"
        )
    changes = list(user_commits(repository, choice.author, newest=newest, until=until))
    changes = _without(changes, exclude, {path.expanduser().absolute(), repository.root})
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
    return _with(changes, lambda change, f: selection.admits(f.path, f.language, change.time))


def _without(
    changes: list[CommitChange], exclude: Sequence[str], roots: set[Path]
) -> list[CommitChange]:
    """`changes` without the files that are named by what the user excludes.

    `roots`: the repository's folder by every path that it is known by.
    """
    named = Exclusions(exclude).is_named
    return _with(changes, lambda _, file: not any(named(root / file.path, root) for root in roots))


def _with(
    changes: Iterable[CommitChange], wanted: Callable[[CommitChange, FileChange], bool]
) -> list[CommitChange]:
    """`changes` with the wanted files; those without any are left out."""
    found = [
        replace(change, files=tuple(file for file in change.files if wanted(change, file)))
        for change in changes
    ]
    return [change for change in found if change.files]


def from_git(home: Home, path: Path, job: Job) -> Material:
    """What is new in the repository at `path`.

    Raises:
        NothingToLearnError: too little, or with `job.own_only` nothing of the user's.
        RepositoryError: it cannot be read.
    """
    settings = job.settings
    until = math.inf if job.until is None else job.until
    history = read_history(
        path,
        job.author,
        settings.max_commits,
        until,
        own_only=job.own_only,
        exclude=job.exclude,
    )
    known, unknown = ([], history.changes) if job.everything else _told_apart(home, history)
    new = select(unknown, job.selection)
    train, places, samples, items = _split(history, known, new, job)
    what = f"{len(new)} new commits in {history.repository}"
    refuse_little(samples, items, settings, what)
    newest, heads = train[-1], _heads(home, history, [*known, *train])
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
        samples,
        items,
        data,
        told(history.reason, samples, places, settings),
        lambda: set_learnt(home, history.repository, newest, heads, job.exclude),
        until=history.changes[-1].time,
    )


def _told_apart(home: Home, history: History) -> tuple[list[CommitChange], list[CommitChange]]:
    """(commits that were learnt, those that were not): here, in a worktree, or in a clone.

    Learnt is what the remembered commits build on; where all of them are gone, since the history
    was rewritten, what is no newer than they were.
    """
    own = learnt_commits(home, history.repository)
    others = learnt_elsewhere(home, history.repository)
    there = reachable(open_repository(Path(history.repository)), [*own, *others])
    since = -math.inf if there & set(own) else learnt_until(home, history.repository)
    known = [c for c in history.changes if c.time <= since or c.commit in there]
    return known, [c for c in history.changes if c.time > since and c.commit not in there]


def _heads(home: Home, history: History, learnt: Iterable[CommitChange]) -> list[str]:
    """The commits to remember once `learnt` is, beside what was learnt on other branches."""
    before = learnt_commits(home, history.repository)
    repository = open_repository(Path(history.repository))
    return tips(repository, [*before, *(change.commit for change in learnt)])


def _split(
    history: History, known: list[CommitChange], new: list[CommitChange], job: Job
) -> tuple[Sequence[CommitChange], int, list[Sample], list[Item]]:
    """(commits to train on, how many samples they give, those that were drawn, items of the
    newest commits); of these as few as give enough items."""
    settings = job.settings
    train: Sequence[CommitChange] = []
    found: list[Candidate] = []
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
    return train, len(found), samples, items
