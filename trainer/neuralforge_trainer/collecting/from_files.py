"""Material from datasets: files of samples that the user named.

Invariant: the newest samples are held out; where no time is known, the last ones. A dataset is
learnt once, by its content, unless all is asked for. Knows no folder of datasets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from neuralforge_adapters.base import file_digest
from neuralforge_adapters.home import Home
from neuralforge_trainer.collecting.learnt import is_dataset_learnt, set_datasets_learnt
from neuralforge_trainer.collecting.material import (
    Material,
    items_of,
    refuse_little,
    split_by_time,
    told,
)
from neuralforge_trainer.errors import AlreadyLearntError, DatasetError
from neuralforge_trainer.samples.choice import candidates_of, choose
from neuralforge_trainer.samples.dataset import Dataset, read_dataset
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.settings import Job


def from_files(home: Home, job: Job) -> Material:
    """What the job's datasets hold; broken lines are passed over and told.

    Raises:
        AlreadyLearntError: every one of them was learnt before.
        NothingToLearnError: too little.
        DatasetError: a file cannot be read, or holds nothing that can be used.
    """
    settings = job.settings
    chosen = _new(home, job)
    datasets = [read_dataset(path) for path in chosen.values()]
    wanted = job.selection.of(s for dataset in datasets for s in dataset.samples)
    older, newer = split_by_time(wanted, settings.heldout_share)
    seen = Distinct()
    samples = choose(candidates_of(older), seen, settings.max_samples, job.balance, settings.seed)
    items = items_of(newer, older, seen)[-settings.heldout_items :]
    source = _described(datasets)
    refuse_little(samples, items, settings, source)
    data = {
        "source": "files",
        "datasets": [path.name for path in chosen.values()],
        "samples": len(samples),
        "broken": sum(len(dataset.broken) for dataset in datasets),
        "from": older[0].time,
        "to": older[-1].time,
    }
    learnt = {digest: path.name for digest, path in chosen.items()}
    return Material(
        samples,
        items,
        data,
        told(source, samples, len(older), settings),
        lambda: set_datasets_learnt(home, learnt, job.selection),
    )


def _new(home: Home, job: Job) -> dict[str, Path]:
    """The datasets to learn, by the SHA-256 of their content: one of two that are the same."""
    new: dict[str, Path] = {}
    for path in job.datasets:
        digest = _digest(path)
        if job.everything or not is_dataset_learnt(home, digest, job.selection):
            new.setdefault(digest, path)
    if not new:
        raise AlreadyLearntError(
            f"{_names(job.datasets)} were learnt before; learn them once more with --all"
        )
    return new


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise DatasetError(
            f"cannot read the dataset {path}: {error.strerror or error}; name a JSONL file"
        ) from error


def _names(paths: Iterable[Path]) -> str:
    return "the samples of " + ", ".join(path.name for path in paths)


def _described(datasets: Sequence[Dataset]) -> str:
    """Their names, with what is wrong with them."""
    complaints = "; ".join(f"{d.path.name}: {d.complaint}" for d in datasets if d.complaint)
    return _names(d.path for d in datasets) + (f" ({complaints})" if complaints else "")
