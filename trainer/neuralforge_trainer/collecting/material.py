"""What a job learns from and is measured on, whatever source it comes from.

Invariant: no held-out line stands in the training samples, nor a near-duplicate of it; what is
held out is newer than what is learnt. For samples that are replayed `Apart` sees to it. Knows no
source, no tokens and no model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from neuralforge_trainer.errors import NothingToLearnError
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.samples.dedup import Distinct, Passage
from neuralforge_trainer.samples.lines import split_lines
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.settings import JobSettings

T = TypeVar("T")


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
    until: float | None = None
    """The newest time (Unix seconds) of what was looked at; None where the source has no end."""
    known: bool = False
    """Whether the replay buffer was offered the samples before."""


class Apart:
    """Admits samples that neither show a held-out line nor are near to one."""

    def __init__(self, heldout: Iterable[Item]) -> None:
        items = list(heldout)
        self._lines = {whole_line(item) for item in items}
        self._near = Distinct()
        for item in items:
            self._near.take(_passage(item))

    def admits(self, sample: Sample) -> bool:
        """Whether `sample` tells nothing of what is held out."""
        shows = not self._lines.isdisjoint(shown_lines([sample]))
        return not shows and not self._near.repeats(Passage.of(sample))


def split_by_time(samples: Iterable[Sample], share: float) -> tuple[list[Sample], list[Sample]]:
    """(older, newer) samples, each in the order of time; about `share` of them are newer.

    What was written at one time stays together, unless all was (no time is known).
    """
    ordered = sorted(samples, key=lambda sample: sample.time)
    cut = len(ordered) - round(len(ordered) * share)
    while 0 < cut < len(ordered) and ordered[cut - 1].time == ordered[cut].time:
        cut -= 1
    if cut == 0:
        cut = len(ordered) - round(len(ordered) * share)
    return ordered[:cut], ordered[cut:]


def items_of(newer: Iterable[Sample], learnt: Iterable[Sample], seen: Distinct) -> list[Item]:
    """Items for the single lines of `newer` that nothing `learnt` shows.

    `seen` holds the learnt samples.
    """
    shown = shown_lines(learnt)
    items = []
    for sample in newer:
        item = _item(sample)
        line = whole_line(item)
        if _is_rest_of_line(sample) and line not in shown and not is_near(item, seen):
            shown.add(line)
            items.append(item)
    return items


def is_near(item: Item, seen: Distinct) -> bool:
    """Whether what surrounds `item`'s answer was taken into `seen`."""
    return seen.repeats(_passage(item))


def shown_lines(samples: Iterable[Sample]) -> set[str]:
    """Every line that stands in `samples`, without indentation."""
    texts = (sample.prefix + sample.middle + sample.suffix for sample in samples)
    return {line.strip() for text in texts for line in split_lines(text)}


def whole_line(item: Item) -> str:
    """The line that `item` asks for, without indentation."""
    return (item.prefix.rpartition("\n")[2] + item.expected).strip()


def drawn(things: list[T], count: int, seed: int) -> list[T]:
    """At most `count` of them, in their order."""
    if len(things) <= count:
        return things
    kept = sorted(random.Random(seed).sample(range(len(things)), count))
    return [things[index] for index in kept]


def refuse_little(
    samples: Sequence[Sample], heldout: Sequence[Item], settings: JobSettings, what: str
) -> None:
    """Make sure that there is enough to learn from and to measure on.

    Raises:
        NothingToLearnError: there is not; `what` says in words where it was looked for.
    """
    if len(samples) < settings.least_samples or len(heldout) < settings.least_items:
        raise NothingToLearnError(
            f"too little is new: {what} give {len(samples)} samples and {len(heldout)} new lines "
            f"to measure on; {settings.least_samples} and {settings.least_items} are needed. "
            "Write some more, or train on everything again with --all"
        )


def told(source: str, samples: Sequence[Sample], found: int, settings: JobSettings) -> str:
    """`source`, in words for the user, and how much of what was `found` in it `samples` are."""
    if not len(samples) == settings.max_samples < found:
        return source
    return (
        f"{source}; {len(samples)} of {found} samples were drawn at random, and the rest counts as "
        "learnt: `--all --set max_samples=N` takes more"
    )


def _passage(item: Item) -> Passage:
    return Passage(item.prefix, item.expected, item.suffix, item.language)


def _is_rest_of_line(sample: Sample) -> bool:
    """Whether the middle is what the engine is asked for in evaluation: up to its line's end."""
    return "\n" not in sample.middle and sample.suffix[:1] in ("", "\n", "\r")


def _item(sample: Sample) -> Item:
    return Item(
        path=sample.path,
        language=sample.language,
        prefix=sample.prefix,
        expected=sample.middle.rstrip(),
        suffix=sample.suffix,
        commit=sample.commit or f"{sample.path}:{sample.time // 3600:.0f}",  # written in one go
        time=sample.time,
    )
