"""Cuts what a commit added into fill-in-the-middle samples, as text.

Invariant: the first line of a middle is an added line, and so are the others; prefix and suffix
are the served window of the same file state; the same change and seed give the same samples.
Knows no tokenizer: special tokens and their order come where samples are tokenised.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

from neuralforge_adapters.fim import Window, split_lines
from neuralforge_trainer.samples.git import CommitChange, FileChange
from neuralforge_trainer.samples.lines import line_spans, visible
from neuralforge_trainer.samples.middles import Place, Span, draw_middle
from neuralforge_trainer.samples.sample import Sample, Source
from neuralforge_trainer.samples.syntax import Tree
from neuralforge_trainer.samples.written import LEAST_VISIBLE

PER_FILE, PER_COMMIT = 24, 96
"""Samples of one file and of one commit at most, so that none dominates."""

_WINDOW = Window()


@dataclass(frozen=True)
class Spot:
    """An added line that a sample will start on; `last` ends the range that was added with it."""

    change: CommitChange
    file: FileChange
    number: int
    last: int


def samples_of(
    change: CommitChange,
    repository: str,
    seed: int,
    per_file: int = PER_FILE,
    per_commit: int = PER_COMMIT,
) -> list[Sample]:
    """Samples of one commit, at most `per_file` and `per_commit`, drawn evenly from its lines."""
    return [cut(spot, repository, seed) for spot in spots_of(change, seed, per_file, per_commit)]


def spots_of(
    change: CommitChange, seed: int, per_file: int = PER_FILE, per_commit: int = PER_COMMIT
) -> list[Spot]:
    """Where the samples of a commit start: each added line starts at most one."""
    drawn = [
        Spot(change, file, number, last)
        for file in change.files
        for number, last in _draw(file, _random(seed, change, file), per_file)
    ]
    if len(drawn) <= per_commit:
        return drawn
    kept = random.Random(f"{seed}:{change.commit}").sample(range(len(drawn)), per_commit)
    return [drawn[index] for index in sorted(kept)]


def cut(spot: Spot, repository: str, seed: int, source: Source = "git") -> Sample:
    """The sample that starts at `spot`, its middle drawn by `middles.SHARES`."""
    text = spot.file.text
    random_source = _random(seed, spot.change, spot.file, spot.number)
    lines = _lines(text)
    place = Place(text, lines, spot.number, spot.last, lambda: _tree(spot.file))
    start, end = draw_middle(place, random_source)
    return Sample(
        prefix=_shown(text, lines, spot.number, start)[0],
        middle=text[start:end],
        suffix=_shown(text, lines, bisect_right(lines, (end, len(text))) - 1, end)[1],
        language=spot.file.language,
        path=spot.file.path,
        repository=repository,
        time=spot.change.time,
        source=source,
        commit=spot.change.commit or None,
    )


def _shown(text: str, lines: list[Span], number: int, position: int) -> tuple[str, str]:
    """What the engine would be shown of `text` around `position`, which lies on that line."""
    return _WINDOW.cut(_full_lines(text), number, position - lines[number][0])


def _random(seed: int, change: CommitChange, file: FileChange, *more: int) -> random.Random:
    return random.Random(":".join(map(str, (seed, change.commit, file.path, *more))))


def _draw(file: FileChange, random_source: random.Random, most: int) -> list[tuple[int, int]]:
    lines = line_spans(file.text)
    starts = [
        (number, last)
        for first, last in file.added
        for number in range(first, last + 1)
        if visible(file.text[slice(*lines[number])]) >= LEAST_VISIBLE
    ]
    return sorted(random_source.sample(starts, most)) if len(starts) > most else starts


# the samples of a file are cut one after the other


@lru_cache(maxsize=4)
def _lines(text: str) -> list[Span]:
    return line_spans(text)


@lru_cache(maxsize=4)
def _full_lines(text: str) -> list[str]:
    return split_lines(text)


@lru_cache(maxsize=4)
def _tree(file: FileChange) -> Tree:
    return Tree(file.text, file.language)
