"""How far into its source an interrupted training looked, so that it goes on with what it had.

A checkpoint belongs to the very samples that it was trained on. What was written since is left for
the training after: collected too, it would make another run, and one that is interrupted every day
would never end. What a source lets go of late, as the log does of texts that were accepted in the
last minutes, still makes another run. Invariant: one note, of the training that was begun last; it
goes when that ends. Knows no sample.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

from neuralforge_adapters.home import Home, read_json, write_json
from neuralforge_trainer.settings import Job


def continued(home: Home, job: Job) -> Job:
    """`job`, looking no further than when it was interrupted, if it was."""
    noted = read_json(home.unfinished_training)
    if job.until is not None or not isinstance(noted, dict) or noted.get("job") != _key(job):
        return job
    until = noted.get("until")
    return replace(job, until=float(until)) if isinstance(until, int | float) else job


def note(home: Home, job: Job, until: float | None) -> None:
    """`job` is begun with what its source held up to the time `until` (Unix seconds).

    None for a source that does not grow.

    Raises:
        HomeError: the disk is full or read-only.
    """
    if until is None:
        clear(home)
    else:
        write_json(home.unfinished_training, {"job": _key(job), "until": until})


def clear(home: Home) -> None:
    """The training came to an end."""
    home.unfinished_training.unlink(missing_ok=True)


def _key(job: Job) -> str:
    """Tells jobs apart by what they learn and how, not by who waits for them."""
    fields = asdict(replace(job, until=None, foreground=False)) | {"limits": None}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()
