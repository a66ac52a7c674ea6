"""Material from datasets: files of samples that the user named.

Invariant: the newest samples are held out; where no time is known, the last ones. A dataset is
learnt whenever it is named. Knows no folder of datasets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neuralforge_trainer.collecting.material import (
    Material,
    items_of,
    refuse_little,
    split_by_time,
)
from neuralforge_trainer.samples.choice import candidates_of, choose
from neuralforge_trainer.samples.dataset import Dataset, read_dataset
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.settings import Job


def from_files(job: Job) -> Material:
    """What the job's datasets hold; broken lines are passed over and told.

    Raises:
        NothingToLearnError: too little.
        DatasetError: a file cannot be read, or holds nothing that can be used.
    """
    settings = job.settings
    datasets = [read_dataset(path) for path in job.datasets]
    wanted = job.selection.of(s for dataset in datasets for s in dataset.samples)
    older, newer = split_by_time(wanted, settings.heldout_share)
    seen = Distinct()
    samples = choose(candidates_of(older), seen, settings.max_samples, job.balance, settings.seed)
    items = items_of(newer, older, seen)[-settings.heldout_items :]
    names = _names(job.datasets)
    refuse_little(samples, items, settings, names)
    data = {
        "source": "files",
        "datasets": [path.name for path in job.datasets],
        "samples": len(samples),
        "broken": sum(len(dataset.broken) for dataset in datasets),
        "from": older[0].time,
        "to": older[-1].time,
    }
    return Material(samples, items, data, _message(datasets), lambda: None)


def _names(paths: Sequence[Path]) -> str:
    return "the samples of " + ", ".join(path.name for path in paths)


def _message(datasets: Sequence[Dataset]) -> str:
    complaints = [f"{d.path.name}: {d.complaint}" for d in datasets if d.complaint]
    return "; ".join([_names([d.path for d in datasets]), *complaints])
