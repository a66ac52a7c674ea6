"""What the report tells: counts of the session log, and the adapters with their measurements.

Invariant: figures alone, no text of a suggestion and no path of a file. Knows no HTML.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedStack, StackFile, usable
from neuralforge_adapters.stack import resolve as resolve_stack
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.pickers import Shelf
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.rows import Stats, Tally


@dataclass(frozen=True)
class Figures:
    """Everything on the page."""

    profile: str
    base: str
    made: float
    """Unix seconds."""
    stats: Stats
    days: list[tuple[str, Tally]]
    """By day (`2026-01-31`), oldest first."""
    stacks: list[tuple[str, Tally]]
    """By what was served, in words, most used first."""
    versions: list[dict[str, Any]]
    """Rows of `pickers.Shelf.adapters`, newest first."""


def read_figures(home: Home, log: SessionLog, base: Base | None = None) -> Figures:
    """The figures of a profile; `base` is the one in use where it is not the profile's.

    Raises:
        BaseFileError: there is no base.
        SessionLogError: the log cannot be read.
    """
    used = base or open_base(None, home)
    shelf = Shelf(home, used, _serving(home, used))
    return Figures(
        profile=home.profile,
        base=used.name,
        made=time.time(),
        stats=log.stats(),
        days=sorted(log.tallies_by("day").items()),
        stacks=[(_named(stack), tally) for stack, tally in log.tallies_by("stack").items()],
        versions=sorted(shelf.adapters(), key=lambda row: row["created"], reverse=True),
    )


def _serving(home: Home, base: Base) -> ResolvedStack:
    store = AdapterStore(home)
    good, _ = usable(StackFile(home).read(), store, base.digest)
    return resolve_stack(good, store, base.digest)


def _named(stack_json: str) -> str:
    """`personal@v0003 × 0.5 + team@v0001`, as the log keeps a stack in JSON."""
    entries = json.loads(stack_json)
    named = [e["adapter"] + ("" if e["scale"] == 1 else f" × {e['scale']:g}") for e in entries]
    return " + ".join(named) or "the base alone"
