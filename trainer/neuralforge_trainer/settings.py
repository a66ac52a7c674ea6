"""Every default of a training job in one place, and how a job is read from a file.

Invariant: a job is checked before any work begins; a name or a value that cannot be used is
refused with its name. Knows no torch.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from neuralforge_adapters.allowance import Limits
from neuralforge_trainer.errors import JobError
from neuralforge_trainer.samples.selection import Selection

Arm = Literal["none", "replay", "ewc", "both"]
"""What guards against forgetting."""


@dataclass(frozen=True)
class JobSettings:
    """How a job trains and judges. Shares lie between 0 and 1."""

    arm: Arm = "both"
    """What guards against forgetting: none, replay, ewc or both."""
    epochs: int = 1
    """How often every example is trained on."""
    learning_rate: float = 4e-3
    """For a base as wide as the embedded one; see `update.learning_rate`."""
    micro_batch: int = 4
    """Samples computed at once; between two of them the trainer gives way to the user."""
    accumulation: int = 2
    """Micro-batches in one step."""
    warm_up: float = 0.05
    """Share of the steps over which the learning rate rises."""
    max_samples: int = 600
    """New samples in one update; of more, so many are drawn."""
    sequence_tokens: int = 256
    """Of one example, at most."""
    prefix_weight: float = 0.0
    """Weight of the loss on the code before the cursor; 1 is that of the middle, 0 leaves it out.

    0.2 made new lines likelier on every development repository, for 45 % more time and general
    code so much less likely that the gate refuses (docs/lab-log.md)."""
    replay_share: float = 0.2
    """Of the user's own examples, how many are replayed."""
    replay_capacity: int = 0
    """Samples that the replay buffer holds from then on: fewer than before drop the rest for good.
    0: as many as were set last, 1,000 at first."""
    replay_days: float = 730.0
    """Samples leave the replay buffer so long after they were added."""
    rehearsal_share: float = 0.2
    """Of all examples, how many are general code."""
    rehearsal_prefix_weight: float = 0.2
    """As `prefix_weight`, for general code: without it general code was forgotten."""
    rho: float = 0.3
    """EWC's strength; see `learn.ewc`."""
    fisher_samples: int = 32
    """Examples that EWC's Fisher information is computed on."""
    fisher_decay: float = 0.9
    """What an update leaves of the older Fisher information."""
    distillation: float = 0.0
    """Weight of what was said of replayed samples before, beside 1 for their text; 0 for none."""
    fast_share: float = 1.0
    """How far a new version goes from the one before to what was trained; see `learn.slow`."""
    preferences: bool = False
    """Learn from dismissed and edited suggestions."""
    least_preferences: int = 1000
    """New ones that are worth it."""
    preference_rate: float = 1.2e-4
    """As `learning_rate`: 5e-6, as is customary, at a width of 1536."""
    preference_beta: float = 0.1
    """How soon a preference counts as learnt; see `learn.preference`."""
    progressive: bool = False
    """An adapter for each repository; see `learn.progressive`."""
    heldout_share: float = 0.2
    """Of the new commits or events, how many of the newest are kept for the gate."""
    heldout_items: int = 80
    """Lines of the user that the gate asks about, at most."""
    general_items: int = 40
    """Lines of general code that it asks about."""
    least_samples: int = 20
    """With fewer new samples nothing is trained."""
    least_items: int = 10
    """With fewer lines to measure on nothing is trained."""
    max_commits: int = 2000
    """The newest commits that are looked at."""
    checkpoint_steps: int = 25
    """Steps from one checkpoint to the next."""
    keep_versions: int = 5
    """For each base, beside those that a stack names."""
    quiet_seconds: float = 2.0
    """Nobody must have typed for so long before the trainer computes."""
    time_budget: float = 0.0
    """Seconds of training after which it ends early; 0 for none."""
    threads: int = 0
    """0: all cores but one in the background, all in the foreground."""
    seed: int = 0
    """Of everything that is drawn."""
    tensorboard: bool = False
    """Also write the run's losses as TensorBoard reads them, if it is installed."""


@dataclass(frozen=True)
class Job:
    """What to learn from, for which base."""

    repository: Path | None = None
    """A git repository; None for the session log, unless datasets are named."""
    datasets: tuple[Path, ...] = ()
    """Files of samples (JSONL)."""
    author: str | None = None
    own_only: bool = False
    """Nobody else's commits, not even where none is known to be the user's own."""
    everything: bool = False
    """Also what was trained before."""
    again: bool = False
    """All that was learnt before, from history and replay, for a base that knows none of it."""
    until: float | None = None
    """Unix seconds: commits newer than this are not looked at, as if they were not made yet."""
    since: float | None = None
    """Unix seconds: nothing older is learnt."""
    languages: tuple[str, ...] = ()
    """By their LSP names; none for all."""
    patterns: tuple[str, ...] = ()
    """As in .gitignore: which files are learnt from; `!` leaves out, none for all."""
    exclude: tuple[str, ...] = ()
    """What the user's `log.exclude` says: of a repository these files are never learnt from."""
    balance: bool = False
    """Take equally much of each language."""
    base: Path | None = None
    """None for the one in use."""
    foreground: bool = False
    """Somebody waits for it: all cores may be used, and typing elsewhere still comes first."""
    limits: Limits = field(default_factory=Limits)
    """What holds for a training that nobody asked for; by default nothing."""
    settings: JobSettings = field(default_factory=JobSettings)

    @property
    def selection(self) -> Selection:
        """What of the source is wanted."""
        return Selection(self.since, self.languages, self.patterns)

    @property
    def source(self) -> str:
        """What is learnt from, in words."""
        if self.again:
            return "what was learnt before, for another base"
        if self.datasets:
            return ", ".join(path.name for path in self.datasets)
        return str(self.repository) if self.repository is not None else "editing sessions"


def read_job(path: Path) -> Job:
    """The job in a JSON file: the fields of `Job`, with `settings` as an object.

    Raises:
        JobError: unreadable, not JSON, or with a name or value that cannot be used.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"cannot read the job file {path}: {error}") from error
    if not isinstance(content, dict):
        raise JobError(f"the job file {path} holds no JSON object")
    values = dict(content)
    settings = make_settings(values.pop("settings", {}))
    limits = make_limits(values.pop("limits", {}))
    _refuse_unknown(values, Job)
    paths = {k: Path(v) for k, v in values.items() if k in ("repository", "base") and v is not None}
    return Job(**{**values, **paths, **_lists(values)}, limits=limits, settings=settings)


def _lists(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of `values` that are tuples in a job and lists in its file."""
    found: dict[str, Any] = {}
    for name, kind in (("datasets", Path), ("languages", str), ("patterns", str), ("exclude", str)):
        given = values.get(name, ())
        if not isinstance(given, list | tuple) or not all(isinstance(v, str) for v in given):
            raise JobError(f"{name} must be a list of strings, not {given!r:.60}")
        found[name] = tuple(map(kind, given))
    return found


def make_settings(values: dict[str, Any]) -> JobSettings:
    """The defaults with `values` in their place.

    Raises:
        JobError: a name or a value cannot be used.
    """
    if not isinstance(values, dict):
        raise JobError(f"settings must be an object, not {values!r:.60}")
    _refuse_unknown(values, JobSettings)
    for name, value in values.items():
        _check(name, value, getattr(JobSettings, name))
    return JobSettings(**values)


def make_limits(values: dict[str, Any]) -> Limits:
    """The limits that `values` names.

    Raises:
        JobError: a name or a value cannot be used.
    """
    if not isinstance(values, dict):
        raise JobError(f"limits must be an object, not {values!r:.60}")
    _refuse_unknown(values, Limits)
    for name, value in values.items():
        default = getattr(Limits, name)
        kinds = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
            raise JobError(f"limit {name} cannot be {value!r}; its default is {default!r}")
    return Limits(**values)


def _refuse_unknown(
    values: dict[str, Any], kind: type[JobSettings] | type[Job] | type[Limits]
) -> None:
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise JobError(
            f"unknown name {unknown[0]!r} in the job; known are {', '.join(sorted(known))}"
        )


def _check(name: str, value: object, default: object) -> None:
    if name == "arm":
        good = value in get_args(Arm)
    elif isinstance(default, bool) or isinstance(value, bool):
        good = type(value) is type(default)
    elif isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        good = isinstance(default, float) or isinstance(value, int)
        good = good and (value <= 1 if name.endswith("share") else True)
    else:
        good = False
    if not good:
        raise JobError(f"setting {name} cannot be {value!r}; its default is {default!r}")
