"""A short history of the trainings that have ended, for people and clients to look back on.

Invariant: the trainer alone writes it, under its lock; an end is noted once, and stands as it was
noted first. One whose process was killed is noted by the trainer after it, and shown before that.
Holds no code, only where it came from. Knows no training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from neuralforge_adapters.home import Home, read_json, write_json
from neuralforge_adapters.trainer_files import FINISHED, TrainerState, read_state

Result = Literal["published", "refused", "nothing", "cancelled", "interrupted", "failed"]

MOST = 100
"""Ends kept, of all profiles together."""


@dataclass(frozen=True)
class FinishedRun:
    """One training that has ended."""

    profile: str
    source: str
    """What was trained on, in words for the user."""
    result: Result
    reason: str
    version: str | None
    """The adapter version that was published, as `name@v0003`."""
    started: float
    """Unix seconds."""
    seconds: float
    """From its beginning to its end, pauses included."""

    @classmethod
    def of(cls, state: TrainerState) -> FinishedRun:
        """The end that a finished state tells."""
        if state.state == "done":
            result: Any = "nothing" if state.version is None else "published"
        else:
            result = state.state
        return cls(
            state.profile,
            state.job,
            result,
            state.message,
            state.version,
            state.started,
            state.seconds,
        )


def note_end(home: Home, state: TrainerState | None) -> None:
    """Keep how a training ended; one that goes on, or none, is passed over.

    Raises:
        HomeError: the disk is full or read-only.
    """
    known = _read(home)
    if state is not None and _is_news(known, state):
        write_json(_file(home), [asdict(run) for run in [*known, FinishedRun.of(state)][-MOST:]])


def finished_runs(home: Home, limit: int = MOST) -> list[FinishedRun]:
    """The trainings of this profile that ended last, newest first."""
    known, state = _read(home), read_state(home)
    if state is not None and _is_news(known, state):
        known.append(FinishedRun.of(state))
    own = [run for run in known if run.profile == home.profile]
    return own[::-1][:limit]


def _is_news(known: list[FinishedRun], state: TrainerState) -> bool:
    ended = state.state in FINISHED and bool(state.profile)
    return ended and all(run.started != state.started for run in known)


def _read(home: Home) -> list[FinishedRun]:
    """Oldest first; what is damaged is left out."""
    content = read_json(_file(home))
    found = map(_parsed, content if isinstance(content, list) else [])
    return [run for run in found if run is not None]


def _parsed(content: object) -> FinishedRun | None:
    try:
        run = FinishedRun(**(content if isinstance(content, dict) else {}))
    except TypeError:
        return None
    numbers = all(isinstance(value, int | float) for value in (run.started, run.seconds))
    texts = all(isinstance(text, str) for text in (run.profile, run.source, run.result, run.reason))
    return run if numbers and texts else None


def _file(home: Home) -> Path:
    return home.trainer_dir / "runs.json"
