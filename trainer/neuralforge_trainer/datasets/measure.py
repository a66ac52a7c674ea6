"""What a dataset is worth: duplicates, lengths, languages, syntax, secrets, broken lines.

Invariant: reads only, and tells what stands in the files as they are, before anything is cleaned.
Syntax is judged by tree-sitter on windows of files, so that an error is likely, never certain.
Knows no terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neuralforge_server.session.scrub import find_secrets
from neuralforge_trainer.samples.dataset import BrokenLine, Dataset
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.syntax import Tree

Count = Callable[[str], int]
"""How many tokens a text has."""


@dataclass(frozen=True)
class Lengths:
    """Quartiles and ends of some lengths."""

    median: float
    p95: float
    longest: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Lengths:
        """The figures of `values`, of which there is at least one."""
        middle, high = np.percentile(values, (50, 95))
        return cls(float(middle), float(high), max(values))


@dataclass(frozen=True)
class Analysis:
    """What one file holds."""

    path: Path
    lines: int
    samples: int
    truncated: bool
    broken: Sequence[BrokenLine]
    duplicates: int
    near_duplicates: int
    characters: dict[str, Lengths]
    """Of context, completion and suffix, as far as the served window shows them."""
    tokens: Lengths
    """Of the completions, in the tokens of the base in use."""
    too_long: int
    """Completions of too many tokens to be learnt."""
    languages: dict[str, int]
    syntax_errors: int
    """Samples whose lines add a syntax error to what stands around them."""
    unparsed: int
    """Samples in languages without a grammar here."""
    secrets: dict[str, int] = field(default_factory=dict)
    """Samples that show one, by kind."""
    timed: int = 0
    """Samples that say when they were written."""


def analyze(dataset: Dataset, count: Count, most_tokens: int) -> Analysis:
    """The figures of a dataset; a completion longer than `most_tokens` is too long."""
    samples, seen = dataset.samples, Distinct()
    for sample in samples:
        seen.admits(sample)
    tokens = [count(sample.middle) for sample in samples]
    parts = {
        "context": [len(sample.prefix) for sample in samples],
        "completion": [len(sample.middle) for sample in samples],
        "suffix": [len(sample.suffix) for sample in samples],
    }
    return Analysis(
        path=dataset.path,
        lines=dataset.lines,
        samples=len(samples),
        truncated=dataset.truncated,
        broken=dataset.broken,
        duplicates=seen.exact,
        near_duplicates=seen.near,
        characters={name: Lengths.of(values) for name, values in parts.items()},
        tokens=Lengths.of(tokens),
        too_long=sum(number > most_tokens for number in tokens),
        languages=dict(Counter(sample.language for sample in samples).most_common()),
        syntax_errors=sum(map(adds_error, samples)),
        unparsed=sum(not Tree("", sample.language).known for sample in samples),
        secrets=_secrets(samples),
        timed=sum(sample.time > 0 for sample in samples),
    )


def adds_error(sample: Sample) -> bool:
    """Whether the text has more syntax errors with the lines of the middle than without them.

    A window begins and ends anywhere in a file, so errors as such say nothing: of samples from
    released code 41 % to 49 % have some. Of these, 3 % to 4 % are told to be wrong here, and of
    the same samples with one bracket taken out of the middle 63 % to 76 %.
    """
    begins = sample.prefix.rfind("\n") + 1
    _, _, below = sample.suffix.partition("\n")
    whole = Tree(sample.prefix + sample.middle + sample.suffix, sample.language)
    return whole.errors > Tree(sample.prefix[:begins] + below, sample.language).errors


def _secrets(samples: Iterable[Sample]) -> dict[str, int]:
    kinds: Counter[str] = Counter()
    for sample in samples:
        found = find_secrets(sample.prefix + sample.middle + sample.suffix)
        kinds.update({secret.kind for secret in found})
    return dict(kinds.most_common())
