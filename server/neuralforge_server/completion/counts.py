"""How many runs the engine was asked for, and how many of them answered somebody.

Invariant: a run counts as used once, when it first answers a request, at its end or later from
the cache; the rest of those started were thrown away.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Counts:
    """Of one server."""

    requests: int = 0
    cached: int = 0
    """Requests answered from the cache."""
    runs: int = 0
    runs_used: int = 0
    prefetches: int = 0
    prefetches_used: int = 0

    def started(self, background: bool) -> None:
        """A run was started, for a request or ahead of one."""
        if background:
            self.prefetches += 1
        else:
            self.runs += 1

    def used(self, background: bool) -> None:
        """A run answered a request for the first time."""
        if background:
            self.prefetches_used += 1
        else:
            self.runs_used += 1

    def describe(self) -> dict[str, Any]:
        """As status shows it."""
        return {**asdict(self), "wasted_share": self.wasted_share}

    @property
    def wasted_share(self) -> float | None:
        """Share (0..1) of the runs made for requests that answered none."""
        return 1 - self.runs_used / self.runs if self.runs else None
