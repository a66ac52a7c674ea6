"""Writes a dataset: chosen without duplicates and secrets, and where wanted split by time.

Invariant: no file is replaced, each appears whole, and what is held out is newer than the rest
and near to nothing in it. Knows no source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neuralforge_adapters.home import write_atomic
from neuralforge_trainer.collecting.material import split_by_time
from neuralforge_trainer.errors import DatasetError
from neuralforge_trainer.samples.choice import Candidate, choose
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.samples.sample import Sample


@dataclass(frozen=True)
class Drawing:
    """How many samples are taken; see `choose`. `heldout` is a share (0..1) of the newest."""

    limit: int | None = None
    balance: bool = False
    heldout: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Written:
    """What was written."""

    path: str
    samples: int
    heldout_path: str | None
    heldout: int
    languages: dict[str, int]
    """Samples of each, held out ones included, most first."""
    duplicates: int
    near_duplicates: int


def write_dataset(path: Path, found: Sequence[Candidate], drawing: Drawing) -> Written:
    """Write the samples drawn of `found` to `path`, and the held-out ones beside it.

    Raises:
        DatasetError: a file is there already, or there is nothing to write.
        HomeError: the disk refuses.
    """
    beside = path.with_name(f"{path.stem}.heldout{path.suffix}") if drawing.heldout else None
    for target in filter(None, (path, beside)):
        if target.exists():
            raise DatasetError(f"{target} is there already; remove it, or name another file")
    seen = Distinct()
    chosen = choose(found, seen, drawing.limit, drawing.balance, drawing.seed)
    older, newer = split_by_time(chosen, drawing.heldout)
    if not older:
        raise DatasetError("there is nothing to write: no sample was found that is wanted")
    if beside is not None:
        write_atomic(beside, _content(newer))
    write_atomic(path, _content(older))
    counts = Counter(sample.language for sample in chosen)
    return Written(
        path=str(path),
        samples=len(older),
        heldout_path=None if beside is None else str(beside),
        heldout=len(newer),
        languages=dict(counts.most_common()),
        duplicates=seen.exact,
        near_duplicates=seen.near,
    )


def _content(samples: Sequence[Sample]) -> str:
    return "".join(f"{sample.to_json()}\n" for sample in samples)
