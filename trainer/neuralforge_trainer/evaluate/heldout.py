"""The time-true split: learn from older commits, ask for lines of newer ones.

Invariant: the line of an item occurs in no file state that the training commits show, and not
above itself in its own file; no two items ask for the same line. Knows no model and no metric.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from neuralforge_trainer.samples.git import CommitChange, FileChange
from neuralforge_trainer.samples.lines import line_spans, split_lines, visible
from neuralforge_trainer.samples.middles import random_cut, text_span
from neuralforge_trainer.samples.written import LEAST_VISIBLE

_AT_INDENTATION = 0.2  # of the items ask for the whole line

Changes = Sequence[CommitChange]


@dataclass(frozen=True)
class Item:
    """One question: what does the user write at the end of `prefix`, up to the line's end?

    `prefix + expected + suffix` is the file as `commit` left it; `expected` has no white space
    at its end, and `time` is in seconds since the epoch.
    """

    path: str
    language: str
    prefix: str
    expected: str
    suffix: str
    commit: str
    time: float


def split(
    changes: Changes, share: float = 0.2, count: int | None = None
) -> tuple[Changes, Changes]:
    """`changes` in the order of time as (training, held out).

    The newest `count`, or `share` of them rounded up, are held out; one stays for training.
    """
    ordered = sorted(changes, key=lambda change: change.time)
    asked = math.ceil(len(ordered) * share) if count is None else count
    cut = max(len(ordered) - asked, min(1, len(ordered)))
    return ordered[:cut], ordered[cut:]


def heldout_items(
    heldout: Changes, train: Changes, limit: int | None = None, seed: int = 0
) -> list[Item]:
    """Items for the new lines of the `heldout` commits, oldest first; `limit` of them at random."""
    seen = {line for change in train for file in change.files for line in _stripped(file.text)}
    places = [
        (change, file, line)
        for change in sorted(heldout, key=lambda change: change.time)
        for file in change.files
        for line in _new_lines(file, seen)
    ]
    if limit is not None and len(places) > limit:  # an item holds its whole file: draw first
        chosen = random.Random(seed).sample(range(len(places)), limit)
        places = [places[index] for index in sorted(chosen)]
    return [_item(change, file, line, seed) for change, file, line in places]


def _stripped(text: str) -> Iterable[str]:
    return (line.strip() for line in split_lines(text))


def _new_lines(file: FileChange, seen: set[str]) -> Iterator[tuple[int, int]]:
    """Spans of the added lines that were never seen; adds them to `seen`."""
    added = {number for first, last in file.added for number in range(first, last + 1)}
    above: set[str] = set()
    for number, line in enumerate(line_spans(file.text)):
        span = text_span(file.text, line)
        content = file.text[slice(*span)]
        is_new = number in added and content not in seen and content not in above
        if is_new and visible(content) >= LEAST_VISIBLE:
            seen.add(content)
            yield span
        above.add(content)


def _item(change: CommitChange, file: FileChange, span: tuple[int, int], seed: int) -> Item:
    random_source = random.Random(f"{seed}:{change.commit}:{file.path}:{span[0]}")
    cut, end = span
    if random_source.random() >= _AT_INDENTATION:
        cut = random_cut(file.text, span, random_source)
    return Item(
        path=file.path,
        language=file.language,
        prefix=file.text[:cut],
        expected=file.text[cut:end],
        suffix=file.text[end:],
        commit=change.commit,
        time=change.time,
    )
