"""What a played trace says about a system: latency, coverage, cost, and how far that is chance.

Invariant: all systems are judged by what their editor could have drawn, by the same rules. What is
spent while nobody types in a system counts to the segment before. Intervals are percentile
bootstraps over segments (Efron & Tibshirani 1993), the same segments for both sides of a ratio:
they say what other segments of this repository would have given, not what another machine would.
Knows no system.
"""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typing_players import Stroke

FITTING = 4
"""Characters other than blanks by which a fitting text agrees with what is typed next."""
GOALS = {"computed_p50": 0.5, "computed_p95": 0.7, "tokens_per_keystroke": 0.4, "cpu_seconds": 0.6}
"""The most of llama-server's figure that NeuralForge's may be."""
_RESAMPLES = 1000
_INTERVAL = (0.025, 0.975)

Figures = dict[str, float | None]
"""By name; milliseconds, shares, counts. None where there is nothing to take it from."""


@dataclass(frozen=True)
class Spent:
    """What a system has computed, by its own counters."""

    tokens: int
    """Evaluated: prompts and generated ones."""
    runs: int
    """Generations begun, speculative ones included."""
    used: int
    """Those of them of which something was shown."""
    cpu_seconds: float

    def since(self, before: Spent) -> Spent:
        """What came after `before`."""
        return Spent(
            self.tokens - before.tokens,
            self.runs - before.runs,
            self.used - before.used,
            self.cpu_seconds - before.cpu_seconds,
        )


class Tally:
    """What one segment adds to one system's figures."""

    def __init__(self, strokes: Sequence[Stroke], spent: Spent) -> None:
        pairs = list(zip([None, *strokes], strokes, strict=False))
        through = [_typed_through(before, now) for before, now in pairs]
        self.computed = _times(s for s, t in zip(strokes, through, strict=True) if not t)
        self.typed_through = _times(s for s, t in zip(strokes, through, strict=True) if t)
        self.keystrokes = len(strokes)
        self.visible = sum(s.shown is not None for s in strokes)
        wanted = [(s.shown, need) for s in strokes if (need := needed(s.ahead))]
        self.to_come = len(wanted)
        self.fitting = sum(fits(shown, need) for shown, need in wanted)
        self.spent = spent

    def describe(self) -> dict[str, Any]:
        """For the report."""
        return {"keystrokes": self.keystrokes, **figures([self])}


def figures(tallies: Sequence[Tally]) -> Figures:
    """All figures of one system over some segments."""
    computed = sorted(t for tally in tallies for t in tally.computed)
    through = sorted(t for tally in tallies for t in tally.typed_through)
    keystrokes = sum(t.keystrokes for t in tallies)
    runs = sum(t.spent.runs for t in tallies)
    used = sum(t.spent.used for t in tallies)
    return {
        **_latency("computed", computed),
        **_latency("typed_through", through),
        **_latency("all", sorted([*computed, *through])),
        "coverage": _ratio(sum(t.fitting for t in tallies), sum(t.to_come for t in tallies)),
        "visible": _ratio(sum(t.visible for t in tallies), keystrokes),
        "tokens_per_keystroke": _ratio(sum(t.spent.tokens for t in tallies), keystrokes),
        "runs": runs,
        "thrown_away": None if not runs else 1 - used / runs,
        "cpu_seconds": sum(t.spent.cpu_seconds for t in tallies),
    }


def summary(tallies: Sequence[Tally]) -> dict[str, Any]:
    """One system's figures, each with its interval."""
    intervals = _bootstrap(len(tallies), lambda at: figures([tallies[i] for i in at]))
    return {
        name: {"value": value, "interval": intervals[name]}
        for name, value in figures(tallies).items()
    }


def compare(ours: Sequence[Tally], theirs: Sequence[Tally], condition: str) -> dict[str, Any]:
    """NeuralForge's figures as ratios to a peer's, with goals and verdicts in words.

    They count where NeuralForge has at least as much of `condition` (`coverage`, or `visible`
    where no text can fit), and any of it at all.
    """

    def ratios(at: Sequence[int]) -> Figures:
        one, other = figures([ours[i] for i in at]), figures([theirs[i] for i in at])
        return {name: _ratio(one[name], other[name]) for name in GOALS}

    found = ratios(range(len(ours)))
    intervals = _bootstrap(len(ours), ratios)
    ours_has, theirs_has = (figures(tallies)[condition] or 0.0 for tallies in (ours, theirs))
    counts = ours_has >= theirs_has and ours_has > 0
    return {
        "condition": {"of": condition, "ours": ours_has, "theirs": theirs_has, "holds": counts},
        "ratios": {
            name: {
                "value": found[name],
                "interval": intervals[name],
                "goal": goal,
                "verdict": _verdict(found[name], goal, counts=counts),
            }
            for name, goal in GOALS.items()
        },
    }


def median_interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """The median of single measurements, and its interval."""

    def median(at: Sequence[int]) -> Figures:
        return {"median": statistics.median(values[i] for i in at)}

    return statistics.median(values), _bootstrap(len(values), median)["median"]


def needed(ahead: str) -> str:
    """What a fitting text begins with: the rest of the line, or enough of it.

    At the end of a line, where blanks come first, it goes as far into the next lines.
    """
    solid = list(re.finditer(r"\S", ahead))
    if not solid:
        return ""
    first_line = ahead.split("\n", 1)[0]
    end = solid[min(FITTING, len(solid)) - 1].end()
    return first_line if first_line.strip() and end > len(first_line) else ahead[:end]


def fits(shown: str | None, need: str) -> bool:
    """Whether a visible text is what the user is about to type."""
    return shown is not None and shown.startswith(need)


def _verdict(ratio: float | None, goal: float, *, counts: bool) -> str:
    if ratio is None:
        return "not measured"
    if not counts:
        return "does not count"
    return "met" if ratio <= goal else "missed"


def _bootstrap(
    segments: int, measure: Callable[[Sequence[int]], Figures]
) -> Mapping[str, tuple[float, float] | None]:
    """Intervals of what `measure` makes of segments drawn with replacement; none for one."""
    source = random.Random(0)
    drawn = [measure(source.choices(range(segments), k=segments)) for _ in range(_RESAMPLES)]
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in drawn[0]:
        values = sorted(v for one in drawn if (v := one[name]) is not None)
        low, high = (_quantile(values, share) for share in _INTERVAL)
        intervals[name] = None
        if segments > 1 and low is not None and high is not None:
            intervals[name] = (low, high)
    return intervals


def _latency(name: str, times: Sequence[float]) -> Figures:
    return {
        f"{name}_p50": _quantile(times, 0.5),
        f"{name}_p95": _quantile(times, 0.95),
        f"{name}_p99": _quantile(times, 0.99),
        f"{name}_count": len(times),
    }


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def _times(strokes: Iterable[Stroke]) -> list[float]:
    """Milliseconds from the key to the first text, where there was one."""
    return [s.seconds * 1000 for s in strokes if s.seconds is not None]


def _typed_through(before: Stroke | None, now: Stroke) -> bool:
    """Whether what is visible is what the key left of the text before it."""
    if before is None or not before.shown or not now.shown or not now.typed:
        return False
    if not before.shown.startswith(now.typed):
        return False
    rest = before.shown[len(now.typed) :]
    return bool(rest) and (now.shown.startswith(rest) or rest.startswith(now.shown))


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None
