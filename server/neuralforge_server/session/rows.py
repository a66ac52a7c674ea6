"""What the session log takes and gives: one frozen dataclass for each kind of row.

Invariant: plain values only, so that `dataclasses.asdict` makes JSON of any of them. Times are
Unix seconds, lengths are characters (code points), lines and characters count from zero.
Knows no SQL.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Literal

Trigger = Literal["automatic", "invoked", "completion"]
Outcome = Literal["shown", "accepted", "partial", "typed_through", "dismissed", "superseded"]
Source = Literal["client", "inferred"]
How = Literal["open", "closed", "disk", "unknown"]
Answer = Literal["yes", "no"]
Group = Literal["day", "language", "stack"]
"""What suggestions are counted by."""

DEADLINES_S = (30, 120, 300)
"""Seconds after an acceptance at which it is measured how much of it still stands."""


def new_id() -> str:
    """A fresh id for a row."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Limits:
    """How large and old the log may grow, and how long it waits for others."""

    size_mb: float = 64.0
    age_days: float = 180.0
    busy_timeout_s: float = 5.0


@dataclass(frozen=True)
class Suggestion:
    """One suggestion as it was sent to the editor."""

    id: str
    created: float
    base: str
    """SHA-256 of the base's file."""
    stack: str
    """Digest of the stack in force."""
    stack_json: str
    uri: str
    path: str | None
    repository: str | None
    """Root folder of the repository that the file lies in."""
    language: str
    line: int
    character: int
    """Code points before the cursor on its line."""
    trigger: Trigger
    prefix_tail: str
    """The text before the cursor; its last 200 characters are kept."""
    suffix_head: str
    """The text after the cursor; its first 200 characters are kept."""
    text: str
    latency_ms: float
    tokens: int
    """Tokens evaluated for it, prompt and answer."""


@dataclass(frozen=True)
class LoggedSuggestion(Suggestion):
    """A suggestion and what became of it."""

    length: int
    """Characters of the text as it was suggested."""
    scrubbed: bool
    """Whether a secret was taken out of `text`, which then is not what was suggested."""
    outcome: Outcome | None
    outcome_source: Source | None
    accepted_length: int | None
    outcome_at: float | None
    used_at: float | None
    retained: dict[int, float | None]
    """Share (0..1) that stood at each deadline in seconds; None: pending or unknown."""


@dataclass(frozen=True)
class PendingRetention:
    """A deadline at which an accepted text is still to be measured."""

    suggestion_id: str
    deadline_s: int
    due: float
    uri: str
    path: str | None
    line: int
    """Where the suggestion was shown: a hint, since lines move."""
    accepted: str | None
    """The accepted text; None where it was scrubbed and so is not what stands in the file."""
    owner: str
    """The process that took the report, as `<pid>:<start time>`."""


@dataclass(frozen=True)
class SettledEdit:
    """One finished edit of one place, with the text around it from the same state.

    `prefix + after + suffix` is a stretch of the document as the edit left it and
    `prefix + before + suffix` as it found it.
    """

    uri: str
    created: float
    line: int
    before: str
    after: str
    prefix: str
    suffix: str
    path: str | None = None
    repository: str | None = None
    language: str = ""
    dismissed_id: str | None = None
    """The suggestion that was dismissed at this place, whose rival `after` is."""
    id: str = field(default_factory=new_id)


@dataclass(frozen=True)
class TrainingEvent:
    """Something to learn from: `text` is right between `prefix` and `suffix`."""

    id: str
    kind: Literal["accepted", "edit", "rejected"]
    created: float
    path: str | None
    repository: str | None
    language: str
    prefix: str
    text: str
    suffix: str
    rejected: str | None
    """The suggestion that the user dismissed and wrote `text` instead of (`rejected` only)."""
    retained: float | None
    """Share (0..1) of an accepted text that stood when last measured (`accepted` only)."""


@dataclass(frozen=True)
class Tally:
    """Counts over a set of suggestions."""

    suggestions: int
    shown: int
    """Known to have been shown: every outcome but `superseded` proves it."""
    accepted: int
    partial: int
    typed_through: int
    dismissed: int
    superseded: int
    acceptance_rate: float | None
    """(accepted + partial) ÷ shown; None before the first was shown."""
    characters_accepted: int
    retained: dict[int, float | None]
    """Mean share (0..1) at each deadline in seconds over those measured."""
    latency_p50_ms: float | None
    latency_p95_ms: float | None


@dataclass(frozen=True)
class Stats:
    """The whole log in figures."""

    overall: Tally
    languages: dict[str, Tally]
    edits: int
    new_samples: int
    bytes: int
    """Size of the log's file, its write-ahead log included."""


@dataclass(frozen=True)
class Purged:
    """What was deleted."""

    suggestions: int
    edits: int
    consents: int = 0
    damaged_files: int = 0
