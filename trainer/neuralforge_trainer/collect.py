"""Gathers what a job learns from and is measured on, and remembers what was learnt.

Invariant: no held-out line stands in the training samples; what is held out now is trained on by
a later job; samples are cut to the served window and scrubbed of secrets, and none teaches one.
Knows no tokens and no model.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from neuralforge_adapters.fim import Window
from neuralforge_adapters.home import Home, read_json, write_json
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.scrub import has_placeholder, scrub_parts
from neuralforge_trainer.errors import NothingToLearnError, RepositoryError
from neuralforge_trainer.evaluate.heldout import Item, heldout_items, split
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.samples.dedup import distinct
from neuralforge_trainer.samples.fim import samples_of
from neuralforge_trainer.samples.git import CommitChange, choose_author, user_commits
from neuralforge_trainer.samples.repository import open_repository
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.session import samples_of_events
from neuralforge_trainer.settings import Job, JobSettings

T = TypeVar("T")

_GROWING_SHARES = (1.0, 1.75, 2.5)
"""By these the held-out share grows while it gives too few items."""


@dataclass(frozen=True)
class Material:
    """What a job learns from and is measured on."""

    samples: Sequence[Sample]
    heldout: Sequence[Item]
    data: dict[str, Any]
    """For the manifest: source, author, counts, from when to when (Unix seconds)."""
    message: str
    """For the user: whose lines, and why theirs."""
    remember: Callable[[], None]
    """Never take these samples for new again."""
    known: bool = False
    """Whether the replay buffer was offered the samples before."""


def collect(home: Home, job: Job) -> Material:
    """What is new for `job`.

    Raises:
        NothingToLearnError: too little is new.
        RepositoryError, SessionLogError: the source cannot be read.
    """
    if job.again:
        return _from_the_past(home, job)
    if job.repository is None:
        return _from_session(home, job.settings)
    return _from_git(home, job.repository, job)


def _from_git(home: Home, path: Path, job: Job) -> Material:
    settings = job.settings
    repository = open_repository(path)
    choice = choose_author(repository, job.author)
    until = math.inf if job.until is None else job.until
    changes = [
        change
        for change in user_commits(repository, choice.author, newest=settings.max_commits)
        if change.time <= until
    ]
    name = str(repository.root)
    since = 0.0 if job.everything else _trained_until(home, name)
    known = [change for change in changes if change.time <= since]
    new = [change for change in changes if change.time > since]
    train, heldout = _split(known, new, settings)
    samples = [s for change in train for s in samples_of(change, name, settings.seed)]
    samples = _chosen(distinct(samples), settings)
    _refuse_little(samples, heldout, settings, f"{len(new)} new commits in {name}")
    newest = train[-1]
    data = {
        "source": "git",
        "repository": name,
        "author": str(choice.author),
        "commits": len(train),
        "samples": len(samples),
        "from": train[0].time,
        "to": newest.time,
        "last_commit": newest.commit,
    }
    return Material(samples, heldout, data, choice.reason, lambda: _set_trained(home, name, newest))


def _split(
    known: list[CommitChange], new: list[CommitChange], settings: JobSettings
) -> tuple[Sequence[CommitChange], list[Item]]:
    """(commits to train on, items of the newest), with as few of these as give enough items."""
    train: Sequence[CommitChange] = []
    items: list[Item] = []
    for growth in _GROWING_SHARES:
        train, heldout = split(new, min(0.5, settings.heldout_share * growth))
        items = heldout_items(heldout, [*known, *train], settings.heldout_items, settings.seed)
        if len(items) >= settings.least_items:
            break
    return train, items


def _from_session(home: Home, settings: JobSettings) -> Material:
    with SessionLog.open(home.session_log) as log:
        events = [(e.id, e.created, samples_of_events([e])) for e in log.training_events()]
    events = [event for event in events if event[2]]
    cut = len(events) - round(len(events) * settings.heldout_share)
    items = [_item(s) for _, _, found in events[cut:] for s in found if "\n" not in s.middle]
    seen = {s.middle.strip() for _, _, found in events[:cut] for s in found}
    items = [item for item in items if item.expected.strip() not in seen]
    samples = _chosen(distinct(s for _, _, found in events[:cut] for s in found), settings)
    heldout = items[-settings.heldout_items :]
    _refuse_little(samples, heldout, settings, f"{len(events)} new events in the session log")
    data = {
        "source": "session",
        "events": cut,
        "samples": len(samples),
        "from": events[0][1],
        "to": events[cut - 1][1],
    }
    used = [event[0] for event in events[:cut]]
    return Material(samples, heldout, data, "your editing sessions", lambda: _mark(home, used))


def _from_the_past(home: Home, job: Job) -> Material:
    """What earlier jobs learnt: the repositories' history, and of the rest what replay keeps."""
    settings = job.settings
    histories = list(_histories(home, job))
    covered = {history.data["repository"] for history in histories}
    rest = [s for s in _replayed(home) if s.source != "git" or s.repository not in covered]
    rest.sort(key=lambda sample: sample.time)
    cut = len(rest) - round(len(rest) * settings.heldout_share)
    samples = [*rest[:cut], *(s for history in histories for s in history.samples)]
    items = [_item(s) for s in rest[cut:] if "\n" not in s.middle]
    items += [item for history in histories for item in history.heldout]
    seen = {line.strip() for s in samples for line in _lines(s)}
    items = [item for item in items if _whole_line(item) not in seen]
    drawn = _drawn(items, settings.heldout_items, settings.seed)
    samples = _drawn(samples, settings.replay_capacity, settings.seed)
    _refuse_little(samples, drawn, settings, "history and the replay buffer")
    data = {"source": "past", "repositories": sorted(covered), "samples": len(samples)}

    def remember() -> None:
        for history in histories:
            history.remember()

    return Material(samples, drawn, data, "what was learnt before", remember, known=True)


def _histories(home: Home, job: Job) -> Iterator[Material]:
    """The whole history of every repository that was learnt from and can still be read."""
    content = read_json(_trained_file(home))
    for name in content if isinstance(content, dict) else ():
        with contextlib.suppress(NothingToLearnError, RepositoryError):
            yield _from_git(home, Path(name), replace(job, everything=True))


def _replayed(home: Home) -> list[Sample]:
    if not home.replay_buffer.exists():
        return []
    with ReplayBuffer(home.replay_buffer) as buffer:
        return buffer.draw(len(buffer))


def _whole_line(item: Item) -> str:
    return (item.prefix.rpartition("\n")[2] + item.expected).strip()


def _lines(sample: Sample) -> list[str]:
    return (sample.prefix + sample.middle + sample.suffix).splitlines()


def _drawn(things: list[T], count: int, seed: int) -> list[T]:
    """At most `count` of them, in their order."""
    if len(things) <= count:
        return things
    kept = sorted(random.Random(seed).sample(range(len(things)), count))
    return [things[index] for index in kept]


def _item(sample: Sample) -> Item:
    return Item(
        path=sample.path,
        language=sample.language,
        prefix=sample.prefix,
        expected=sample.middle.rstrip(),
        suffix=sample.suffix,
        commit=f"{sample.path}:{sample.time // 3600:.0f}",  # what was written in one go
        time=sample.time,
    )


def _chosen(samples: list[Sample], settings: JobSettings) -> list[Sample]:
    """At most `max_samples` of them, prepared, in their order."""
    return prepare(_drawn(samples, settings.max_samples, settings.seed))


def prepare(samples: Iterable[Sample]) -> list[Sample]:
    """Samples cut to the served window and scrubbed, without those whose middle held a secret."""
    window = Window()
    prepared = []
    for sample in samples:
        cut = window.cut_text(sample.prefix, sample.suffix)
        prefix, middle, suffix = scrub_parts(cut[0], sample.middle, cut[1])
        if not has_placeholder(middle):
            prepared.append(replace(sample, prefix=prefix, middle=middle, suffix=suffix))
    return prepared


def _refuse_little(
    samples: Sequence[Sample], heldout: Sequence[Item], settings: JobSettings, what: str
) -> None:
    if len(samples) < settings.least_samples or len(heldout) < settings.least_items:
        raise NothingToLearnError(
            f"too little is new: {what} give {len(samples)} samples and {len(heldout)} new lines "
            f"to measure on; {settings.least_samples} and {settings.least_items} are needed. "
            "Write some more, or train on everything again with --all"
        )


def _trained_file(home: Home) -> Path:
    return home.profile_dir / "trained.json"


def _trained_until(home: Home, repository: str) -> float:
    content = read_json(_trained_file(home))
    entry = content.get(repository) if isinstance(content, dict) else None
    return float(entry.get("time", 0.0)) if isinstance(entry, dict) else 0.0


def _set_trained(home: Home, repository: str, newest: CommitChange) -> None:
    content = read_json(_trained_file(home))
    entry = {repository: {"time": newest.time, "commit": newest.commit}}
    write_json(_trained_file(home), (content if isinstance(content, dict) else {}) | entry)


def _mark(home: Home, used: list[str]) -> None:
    with SessionLog.open(home.session_log) as log:
        log.mark_used(used)
