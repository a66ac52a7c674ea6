"""Says which goals a set of histories meets, and which it misses.

The goals are those that were set before any result was seen. Invariant: a goal that cannot be
judged is neither met nor missed, and says why. Knows no measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from neuralforge_trainer.evaluate.history.course import BASE
from neuralforge_trainer.evaluate.history.figures import Figures, Forgetting, GeneralRow, SystemRow
from neuralforge_trainer.evaluate.history.significance import holm

EM_POINTS, EM_RATIO, AIDED_RATIO, ES_SHARE, LOSS_POINTS = 5.0, 1.3, 1.1, 0.9, -1.0
_LEVEL = 0.05

Verdict = Literal["met", "missed", "not measured"]


@dataclass(frozen=True)
class Goal:
    """One goal, what was found, and whether that meets it."""

    goal: str
    found: str
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """A repository's adapter against the base, in one measure, judged alone and in the family."""

    repository: str
    aided: bool
    measure: str
    mean: float
    low: float
    high: float
    holm_p: float

    @property
    def verdict(self) -> str:
        """Worse or better where the 95 % interval leaves out zero; in brackets what Holm leaves."""
        word = "worse" if self.high < 0 else "better" if self.low > 0 else "–"
        return f"{word} (Holm)" if word != "–" and self.holm_p < _LEVEL else word


def compare(repositories: Sequence[Figures], main: str) -> list[Comparison]:
    """`main` against the base on every repository; Holm within measure and kind of help."""
    found = []
    for aided in (False, True):
        named = [(f.name, f.system(main, aided=aided)) for f in repositories]
        rows = [(name, row) for name, row in named if row is not None]
        em = holm([row.em_p for _, row in rows])
        es = holm([row.es_p for _, row in rows])
        for (name, row), em_p, es_p in zip(rows, em, es, strict=True):
            found.append(Comparison(name, aided, "EM", *row.em_gain, em_p))
            found.append(Comparison(name, aided, "ES", *row.es_gain, es_p))
    return found


def judge_goals(
    overall: Figures, repositories: Sequence[Figures], comparisons: Sequence[Comparison], main: str
) -> list[Goal]:
    """Every goal of the proof, in order."""
    forgetting = {row.learner: row for row in overall.forgetting}
    general = {row.system: row for row in overall.general}
    return [
        _em_goal(overall.system(main, aided=False)),
        _es_goal([c for c in comparisons if c.measure == "ES" and not c.aided]),
        _worse_goal([c for c in comparisons if not c.aided]),
        _aided_goal(overall.system(main, aided=True)),
        _bwt_goal(main, forgetting),
        _general_goal(main, general),
    ]


def _em_goal(row: SystemRow | None) -> Goal:
    goal = f"EM ≥ +{EM_POINTS:g} points or ≥ {EM_RATIO:g} × the base's"
    if row is None:
        return Goal(goal, "", "not measured")
    points, ratio = row.em_gain.mean * 100, row.ratio
    found = f"{_points(row.em_gain)}, {_times(ratio)}, n = {row.items}"
    met = points >= EM_POINTS or (ratio is not None and ratio >= EM_RATIO)
    return Goal(goal, found, _verdict(met=met))


def _aided_goal(row: SystemRow | None) -> Goal:
    goal = f"EM ≥ {AIDED_RATIO:g} × the base's, both with retrieval and memory"
    if row is None or row.ratio is None:
        return Goal(goal, "", "not measured")
    found = f"{_times(row.ratio)}, {_points(row.em_gain)}, n = {row.items}"
    return Goal(goal, found, _verdict(met=row.ratio >= AIDED_RATIO))


def _es_goal(comparisons: Sequence[Comparison]) -> Goal:
    goal = f"ES higher on at least {ES_SHARE:.0%} of repositories"
    if not comparisons:
        return Goal(goal, "", "not measured")
    higher = sum(c.mean > 0 for c in comparisons)
    met = higher >= ES_SHARE * len(comparisons)
    return Goal(goal, f"{higher} of {len(comparisons)}", _verdict(met=met))


def _worse_goal(comparisons: Sequence[Comparison]) -> Goal:
    goal = "worse with significance on none (EM or ES)"
    if not comparisons:
        return Goal(goal, "", "not measured")
    worse = sorted({f"{c.repository} ({c.measure})" for c in comparisons if c.high < 0})
    return Goal(goal, ", ".join(worse) or "none", _verdict(met=not worse))


def _bwt_goal(main: str, rows: dict[str, Forgetting]) -> Goal:
    goal = f"BWT ≥ {LOSS_POINTS:+g} point after the last update"
    shown = [f"{name} {_points(row.bwt)}" for name, row in rows.items() if row.bwt is not None]
    row = rows.get(main)
    if row is None or row.bwt is None:
        return Goal(goal, "", "not measured")
    found = f"{'; '.join(shown)}; n = {row.items}"
    return Goal(goal, found, _verdict(met=row.bwt.mean * 100 >= LOSS_POINTS))


def _general_goal(main: str, rows: dict[str, GeneralRow]) -> Goal:
    goal = f"EM on general code ≥ {LOSS_POINTS:+g} point after the last update"
    shown = [f"{name} {_points(row.em_change)}" for name, row in rows.items() if name != BASE]
    row = rows.get(main)
    if row is None:
        return Goal(goal, "", "not measured")
    met = row.em_change.mean * 100 >= LOSS_POINTS
    return Goal(goal, f"{'; '.join(shown)}; n = {row.items}", _verdict(met=met))


def _points(difference: tuple[float, float, float]) -> str:
    mean, low, high = (value * 100 for value in difference)
    return f"{mean:+.1f} ({low:+.1f} … {high:+.1f})"


def _times(ratio: float | None) -> str:
    return "base without a hit" if ratio is None else f"{ratio:.2f} ×"


def _verdict(*, met: bool) -> Verdict:
    return "met" if met else "missed"
