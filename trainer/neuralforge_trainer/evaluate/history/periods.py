"""Cuts one author's history into windows: what is learnt in each, and what is asked about it.

The newest commits are cut into windows with about the same number of samples, since an update
sets in after so many new samples and not after so many days. Every fourth commit of a window is
never learnt from; from these come the questions. So the questions of the next window are of the
future, and those of an old window were never trained on, whatever came after.

Invariant: a question's line occurs in no file state that the author's earlier commits show, nor
among the files at the beginning, and is not near to a line taught in an earlier window; a line
that forgetting is measured on is not near to any that is taught in its own window or afterwards
either. Knows no model.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from neuralforge_trainer.collecting.from_git import candidates
from neuralforge_trainer.collecting.material import whole_line
from neuralforge_trainer.errors import NothingToLearnError
from neuralforge_trainer.evaluate.heldout import Item, heldout_items
from neuralforge_trainer.evaluate.history.settings import ProofSettings
from neuralforge_trainer.evaluate.moments import (
    EMPTY_TREE,
    Moment,
    changed_files,
    first_parent,
    walk,
)
from neuralforge_trainer.samples.choice import choose
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.samples.fim import spots_of
from neuralforge_trainer.samples.git import CommitChange, FileChange, choose_author, user_commits
from neuralforge_trainer.samples.lines import line_spans, split_lines
from neuralforge_trainer.samples.repository import Repository
from neuralforge_trainer.samples.sample import Sample

_HELD = 4
"""Of so many commits of a window, one is asked about and never learnt."""
_NEAR = 0.9
"""Edit similarity from which two lines count as the same, numbers and blanks left out."""
_PASSAGE_LINES = 3
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Passage:
    """Added lines to be typed, between what stands above and below them."""

    commit: str
    path: str
    language: str
    above: str
    lines: tuple[str, ...]
    below: str


@dataclass(frozen=True)
class Period:
    """One window of a history."""

    commits: int
    begins: float
    ends: float
    """Seconds since the epoch."""
    samples: tuple[Sample, ...]
    """What an update learns here, prepared as in production."""
    questions: tuple[Item, ...]
    """Asked as soon as all earlier windows are learnt."""
    keepsakes: tuple[Item, ...]
    """Asked once the window is learnt, and again at the end."""
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Plan:
    """A repository's history, ready to be travelled through."""

    name: str
    head: str
    author: str
    repository: Repository
    periods: tuple[Period, ...]

    def moments(self, number: int) -> Iterator[Moment]:
        """Steps through what is asked in a window; the first brings every file."""
        asked: dict[str, tuple[Item, ...]] = {}
        for item in self.periods[number].questions:
            asked[item.commit] = (*asked.get(item.commit, ()), item)
        states = [
            (CommitChange(commit, 0.0, ()), first_parent(self.repository, commit))
            for commit in asked
        ]
        yield from walk(self.repository, states, asked)


def make_plan(
    repository: Repository, name: str, author: str | None, settings: ProofSettings
) -> Plan:
    """The plan for the history of `author` (see `choose_author`).

    Raises:
        NothingToLearnError: the history is too short for so many windows.
        RepositoryError: it cannot be read.
    """
    chosen = choose_author(repository, author).author
    newest = settings.job.max_commits
    changes = list(user_commits(repository, chosen, newest=newest))
    counts = [len(spots_of(change, settings.job.seed)) for change in changes]
    windows = _cut(changes, counts, settings)
    learnt = [_learnt(window, name, settings) for window in windows]
    _refuse_short(repository, windows, learnt, settings)
    known = _known_before(repository, changes, windows[0][0])
    chosen_items = _choose(windows, learnt, known, settings)
    periods = [
        Period(
            len(window),
            window[0].time,
            window[-1].time,
            tuple(samples),
            tuple(asked),
            tuple(again),
            tuple(_passages(window, asked, settings.lines)),
        )
        for window, samples, (asked, again) in zip(windows, learnt, chosen_items, strict=True)
    ]
    if not any(period.questions for period in periods[1:]):
        raise NothingToLearnError(
            f"the held-out commits of {repository.root} write no line that was not there before; "
            "name a repository with a longer history"
        )
    return Plan(name, repository.head, str(chosen), repository, tuple(periods))


def _cut(
    changes: Sequence[CommitChange], counts: Sequence[int], settings: ProofSettings
) -> list[list[CommitChange]]:
    """The newest changes in windows of about equal counts, as large as asked for if there are so
    many."""
    number = settings.updates + 1
    wanted = number * settings.samples * _HELD / (_HELD - 1)
    backwards = list(itertools.accumulate(reversed(counts)))
    taken = sum(total < wanted for total in backwards) + 1
    kept, sizes = list(changes[-taken:]), list(counts[-taken:])
    total, windows = max(1, sum(sizes)), [list[CommitChange]() for _ in range(number)]
    for change, before in zip(kept, itertools.accumulate([0, *sizes]), strict=False):
        windows[min(number - 1, before * number // total)].append(change)
    return windows


def _is_held(position: int) -> bool:
    return position % _HELD == _HELD // 2


def _learnt(window: Sequence[CommitChange], name: str, settings: ProofSettings) -> list[Sample]:
    """What production would draw from the commits that are not held back."""
    train = [change for number, change in enumerate(window) if not _is_held(number)]
    seed = settings.job.seed
    return choose(candidates(train, name, seed), Distinct(), settings.samples, seed=seed)


def _refuse_short(
    repository: Repository,
    windows: Sequence[Sequence[CommitChange]],
    learnt: Sequence[Sequence[Sample]],
    settings: ProofSettings,
) -> None:
    least = min(settings.job.least_samples, settings.samples)
    if min(map(len, windows)) <= _HELD // 2 or min(map(len, learnt)) < least:
        commits = sum(map(len, windows))
        raise NothingToLearnError(
            f"{commits} usable commits of {repository.root} are too few for {len(windows)} "
            f"windows of at least {_HELD // 2 + 1} commits and {least} samples; ask for fewer "
            "with --updates, for more --samples, or name a repository with a longer history"
        )


def _known_before(
    repository: Repository, changes: Sequence[CommitChange], first: CommitChange
) -> set[str]:
    """Lines in the files at the beginning, and in what the author's commits showed before."""
    before = itertools.takewhile(lambda change: change.commit != first.commit, changes)
    known = {line for change in before for line in _lines(file.text for file in change.files)}
    if parent := first_parent(repository, first.commit):
        files = changed_files(repository, EMPTY_TREE, parent).values()
        known |= _lines(text for text in files if text)
    return known


def _choose(
    windows: Sequence[Sequence[CommitChange]],
    learnt: Sequence[Sequence[Sample]],
    known: set[str],
    settings: ProofSettings,
) -> Iterator[tuple[list[Item], list[Item]]]:
    """(questions, keepsakes) of every window."""
    trained = learnt[: settings.updates]
    taught = [_taught(part, settings.job.prefix_weight > 0) for part in trained]
    ever = set[str]().union(*taught)
    earlier: set[str] = set()
    for number, window in enumerate(windows):
        items = list(_new(window, known))
        asked = _drawn(items, settings.items, settings.seed, earlier)
        yield asked, _drawn(items, settings.items, settings.seed, ever)
        earlier |= taught[number] if number < len(taught) else set()


def _taught(samples: Iterable[Sample], whole: bool) -> set[str]:
    """Lines that the samples teach, from their beginning; `whole`: all code left of the cursor."""
    lines: set[str] = set()
    for sample in samples:
        left = sample.prefix if whole else sample.prefix.rpartition("\n")[2]
        lines |= {_plain(line) for line in split_lines(left + sample.middle)}
    return lines


def _new(window: Sequence[CommitChange], known: set[str]) -> Iterator[Item]:
    """Items of the held commits whose line was never seen; `known` grows by the whole window."""
    for position, change in enumerate(window):
        if _is_held(position):
            yield from (i for i in heldout_items([change], []) if whole_line(i) not in known)
        known |= _lines(file.text for file in change.files)


def _drawn(items: Iterable[Item], count: int, seed: int, taught: set[str]) -> list[Item]:
    """`count` items near to nothing taught, from every commit in turn, in their order."""
    by_commit: dict[str, list[Item]] = {}
    for item in items:
        by_commit.setdefault(item.commit, []).append(item)
    order = {commit: number for number, commit in enumerate(by_commit)}
    for commit, own in by_commit.items():
        random.Random(f"{seed}:{commit}").shuffle(own)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_commit.values()))
    fit = (item for item in turns if item is not None and not _is_near(item, taught))
    chosen = list(itertools.islice(fit, count))
    return sorted(chosen, key=lambda item: (order[item.commit], item.path, len(item.prefix)))


def _is_near(item: Item, lines: set[str]) -> bool:
    line = _plain(whole_line(item))
    similarity = Levenshtein.normalized_similarity
    found = process.extractOne(line, lines, scorer=similarity, score_cutoff=_NEAR)
    return found is not None


def _passages(
    window: Sequence[CommitChange], asked: Sequence[Item], lines: int
) -> Iterator[Passage]:
    """What is typed: from questions' lines on to the end of what was added there."""
    changes = {change.commit: change for change in window}
    by_commit = {item.commit: item for item in reversed(asked)}
    for item in reversed(by_commit.values()):
        if lines <= 0:
            return
        file = next(f for f in changes[item.commit].files if f.path == item.path)
        passage = _passage(item, file, min(lines, _PASSAGE_LINES))
        lines -= len(passage.lines)
        yield passage


def _passage(item: Item, file: FileChange, most: int) -> Passage:
    spans = line_spans(file.text)
    first = len(split_lines(item.prefix)) - 1
    last = next(end for start, end in file.added if start <= first <= end)
    final = min(last, first + most - 1)
    lines = tuple(file.text[slice(*span)].rstrip() for span in spans[first : final + 1])
    while len(lines) > 1 and not lines[-1].strip():
        lines = lines[:-1]
    above, below = file.text[: spans[first][0]], file.text[spans[last][1] :]
    return Passage(item.commit, item.path, item.language, above, lines, below)


def _lines(texts: Iterable[str]) -> set[str]:
    return {line.strip() for text in texts for line in split_lines(text)}


def _plain(line: str) -> str:
    return _NUMBER.sub("0", " ".join(line.split()))
