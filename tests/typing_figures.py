"""What a played trace says about a system: latency, coverage, cost.

Invariant: both systems are judged by what their editor could have drawn, by the same rules. Knows
neither system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from typing_players import Stroke, Usage

FITTING = 4
"""Characters other than blanks by which a fitting text agrees with what is typed next."""
GOALS = {
    "computed_p50_ms": 0.5,
    "computed_p95_ms": 0.7,
    "tokens_per_keystroke": 0.4,
    "cpu_seconds": 0.6,
}
"""The most of llama-server's figure that NeuralForge's may be."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds from a key to the first visible text."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Spent:
    """What a system computed, by its own counters."""

    tokens: int
    """Evaluated: prompts and generated ones."""
    runs: int
    """Generations begun, speculative ones included."""
    used: int
    """Those of them of which something was shown."""


@dataclass(frozen=True)
class Result:
    """One system's figures over a trace."""

    system: str
    keystrokes: int
    visible: float
    """Share of keystrokes with any text visible before the next one."""
    coverage: float
    """Share of keystrokes with something to come, at which a fitting text was visible."""
    computed: Latency
    """Where the text is not the rest of what stood there before the key."""
    typed_through: Latency
    """Where it is."""
    every: Latency
    tokens_per_keystroke: float
    runs: int
    thrown_away: float
    """Share of generations of which nothing was ever shown."""
    cpu_seconds: float
    peak_megabytes: float

    def compared(self) -> dict[str, float | None]:
        """The figures that have goals."""
        return {
            "computed_p50_ms": self.computed.p50,
            "computed_p95_ms": self.computed.p95,
            "tokens_per_keystroke": self.tokens_per_keystroke,
            "cpu_seconds": self.cpu_seconds,
        }


def result(system: str, strokes: Sequence[Stroke], spent: Spent, usage: Usage) -> Result:
    """All figures of one system."""
    through = [_typed_through(*pair) for pair in zip([None, *strokes], strokes, strict=False)]
    judged = [needed(s.ahead) for s in strokes]
    fitting = [fits(s.shown, need) for s, need in zip(strokes, judged, strict=True) if need]
    count = max(1, len(strokes))
    return Result(
        system=system,
        keystrokes=len(strokes),
        visible=sum(s.shown is not None for s in strokes) / count,
        coverage=sum(fitting) / max(1, len(fitting)),
        computed=latency(s for s, t in zip(strokes, through, strict=True) if not t),
        typed_through=latency(s for s, t in zip(strokes, through, strict=True) if t),
        every=latency(strokes),
        tokens_per_keystroke=spent.tokens / count,
        runs=spent.runs,
        thrown_away=1 - spent.used / max(1, spent.runs),
        cpu_seconds=usage.cpu_seconds,
        peak_megabytes=usage.peak_bytes / 1e6,
    )


def compare(ours: Result, theirs: Result) -> dict[str, Any]:
    """Ratios with their goals; they count where NeuralForge covers at least as much."""
    one, other = ours.compared(), theirs.compared()
    ratios = {n: _ratio(one[n], other[n]) for n in GOALS}
    counts = ours.coverage >= theirs.coverage
    met = {n: counts and r is not None and r <= GOALS[n] for n, r in ratios.items()}
    return {"counts": counts, "ratios": ratios, "goals": GOALS, "met": met}


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


def latency(strokes: Iterable[Stroke]) -> Latency:
    """Quantiles over the keystrokes at which a text became visible."""
    times = sorted(s.seconds * 1000 for s in strokes if s.seconds is not None)

    def quantile(share: float) -> float | None:
        return times[min(len(times) - 1, int(len(times) * share))] if times else None

    return Latency(len(times), quantile(0.5), quantile(0.95), quantile(0.99))


def as_json(one: Result) -> dict[str, Any]:
    """For the report."""
    return asdict(one)


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
