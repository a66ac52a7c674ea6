"""What was found, as plain data and as Markdown.

Invariant: the data hold every figure that is shown anywhere, and nothing that differs between two
runs but what updates cost. Knows no plot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from neuralforge_trainer.evaluate.history.figures import (
    Answers,
    Costs,
    Figures,
    SystemRow,
    Window,
    figures,
    pooled,
)
from neuralforge_trainer.evaluate.history.goals import Comparison, Goal, compare, judge_goals
from neuralforge_trainer.evaluate.history.settings import ProofSettings
from neuralforge_trainer.evaluate.metrics import Difference

_MIB = 1024 * 1024
_MEASURES: dict[str, Callable[[Window], str]] = {
    "EM %": lambda window: f"{window.em * 100:.1f}",
    "ES %": lambda window: f"{window.es * 100:.1f}",
    "perplexity": lambda window: "" if window.perplexity is None else f"{window.perplexity:.2f}",
}
"""What is told of every window, each in a table of its own."""
_COSTS: dict[str, Callable[[Costs], str]] = {
    "examples": lambda cost: f"{cost.examples:.0f}",
    "seconds": lambda cost: f"{cost.seconds:.1f}",
    "processor seconds": lambda cost: f"{cost.cpu_seconds:.1f}",
    "peak MiB": lambda cost: f"{cost.peak_bytes / _MIB:.0f}",
}
"""What is told of every update."""


@dataclass(frozen=True)
class About:
    """One repository of a report."""

    name: str
    head: str
    author: str
    windows: list[dict[str, Any]]
    """Commits, samples, questions and times of each."""


@dataclass(frozen=True)
class Report:
    """All that a run found."""

    base: str
    """Digest."""
    settings: dict[str, Any]
    main: str
    """The learner that users have."""
    repositories: list[About]
    missing: dict[str, str]
    """Why a repository has no figures, by name."""
    figures: list[Figures]
    """Of each repository."""
    overall: Figures
    comparisons: list[Comparison]
    goals: list[Goal]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def make_report(
    digest: str,
    settings: ProofSettings,
    main: str,
    found: Sequence[tuple[About, Answers]],
    missing: dict[str, str],
) -> Report:
    """The report on some repositories, at least one."""
    each = [figures(about.name, answers) for about, answers in found]
    overall = figures("all", pooled(answers for _, answers in found))
    comparisons = compare(each, main)
    return Report(
        digest,
        asdict(settings),
        main,
        [about for about, _ in found],
        missing,
        each,
        overall,
        comparisons,
        judge_goals(overall, each, comparisons, main),
    )


def markdown(report: Report, pictures: Mapping[str, str] = MappingProxyType({})) -> str:
    """Goals, repositories, then everything together and one by one.

    `pictures` are files by title, shown before what is told one by one.
    """
    parts = [_head(report), _goals(report), _repositories(report)]
    parts += [f"![{title}]({file})\n" for title, file in pictures.items()]
    shown = [report.overall, *report.figures] if len(report.figures) > 1 else report.figures
    parts += [part for one in shown for part in (_part(one), _details(one))]
    return "\n".join(parts)


def _head(report: Report) -> str:
    settings = report.settings
    lines = [
        f"Base {report.base[:12]}; {len(report.figures)} repositories, "
        f"{settings['updates']} updates of at most {settings['samples']} new samples each. Gains "
        "are paired with the base, alike aided; intervals are 95 % bootstraps clustered by commit.",
        *(f"- **No figures for {name}**: {why}" for name, why in report.missing.items()),
    ]
    return "\n".join(lines) + "\n"


def _goals(report: Report) -> str:
    rows = [[goal.goal, goal.found, f"**{goal.verdict}**"] for goal in report.goals]
    return f"Learner: `{report.main}`.\n\n" + table(["goal", "found", ""], rows)


def _repositories(report: Report) -> str:
    heads = ["repository", "items", "base: EM / ES", "adapter", "EM gain", "aided base",
             "aided adapter", "EM gain", "BWT", "verdict: EM, ES"]  # fmt: skip
    return table(heads, [_line(report, one) for one in [*report.figures, report.overall]])


def _line(report: Report, one: Figures) -> list[str]:
    cells = [one.name]
    for aided in (False, True):
        base, own = one.system("base", aided=aided), one.system(report.main, aided=aided)
        if base is None or own is None:
            cells += [""] * 3
            continue
        cells += [str(own.items)] if not aided else []
        cells += [_em_es(base), _em_es(own), points(own.em_gain)]
    bwt = [row.bwt.mean for row in one.forgetting if row.learner == report.main and row.bwt]
    verdicts = [c.verdict for c in report.comparisons if c.repository == one.name and not c.aided]
    return [*cells, f"{bwt[0] * 100:+.1f}" if bwt else "", ", ".join(verdicts)]


def _part(one: Figures) -> str:
    parts = [f"### {one.name}\n", _systems(one)]
    if one.forgetting:
        parts.append(_forgetting(one))
    if one.general:
        parts.append(_general(one))
    if one.typing:
        parts.append(_typing(one))
    return "\n".join([*parts, _spent(one)])


def _systems(one: Figures) -> str:
    rows = [
        [
            system_name(row),
            str(row.items),
            f"{row.em * 100:.1f}",
            f"{row.es * 100:.1f}",
            "" if row.perplexity is None else f"{row.perplexity:.2f}",
            *(["", ""] if row.system == "base" else [points(row.em_gain), points(row.es_gain)]),
            " ".join(f"{window.em * 100:.0f}" for window in row.windows.values()),
        ]
        for row in one.systems
    ]
    heads = ["system", "items", "EM %", "ES %", "perplexity", "EM gain", "ES gain", "EM by window"]
    return table(heads, rows)


def _forgetting(one: Figures) -> str:
    rows = [
        [
            row.learner,
            str(row.items),
            f"{row.em * 100:.1f}",
            "" if row.bwt is None else points(row.bwt),
            "" if row.largest_drop is None else f"{row.largest_drop * 100:+.1f}",
        ]
        for row in one.forgetting
    ]
    heads = ["old windows", "items", "EM % at the end", "BWT", "largest drop"]
    return table(heads, rows)


def _general(one: Figures) -> str:
    rows = [
        [row.system, str(row.items), f"{row.em * 100:.1f}", f"{row.perplexity:.2f}",
         points(row.em_change)]
        for row in one.general
    ]  # fmt: skip
    return table(["general code", "items", "EM %", "perplexity", "EM change"], rows)


def _typing(one: Figures) -> str:
    rows = [
        [f"{row.system} + retrieval + memory", str(row.passages), str(row.written),
         f"{row.rocc * 100:.1f}", points(row.gain)]
        for row in one.typing
    ]  # fmt: skip
    return table(["typed out", "passages", "characters", "RoCC %", "gain, by passage"], rows)


def _spent(one: Figures) -> str:
    rows = [
        [row.learner, str(row.updates), f"{row.examples:.0f}", f"{row.seconds:.1f}",
         f"{row.fisher_seconds:.1f}", f"{row.cpu_seconds:.1f}", f"{row.peak_bytes / _MIB:.0f}"]
        for row in one.spent
    ]  # fmt: skip
    heads = ["cost of an update", "updates", "examples", "seconds", "of these Fisher",
             "processor seconds", "peak MiB"]  # fmt: skip
    return table(heads, rows)


def _details(one: Figures) -> str:
    """Window by window and update by update, where the figures above are over all of them."""
    tables = [
        *(
            _numbered(f"{measure}, window", _windows(one, tell))
            for measure, tell in _MEASURES.items()
        ),
        _numbered("RoCC %, window", _typed_windows(one)),
        _numbered("EM %, old window", _old_windows(one)),
        _numbered("update", _each(one)),
    ]
    return "\n".join([f"### {one.name}, window by window\n", *filter(None, tables)])


def _windows(one: Figures, tell: Callable[[Window], str]) -> dict[str, dict[int, str]]:
    return {
        system_name(row): {number: tell(window) for number, window in row.windows.items()}
        for row in one.systems
    }


def _typed_windows(one: Figures) -> dict[str, dict[int, str]]:
    return {
        f"{row.system} + retrieval + memory": {
            number: f"{rocc * 100:.1f}" for number, rocc in row.windows.items()
        }
        for row in one.typing
    }


def _old_windows(one: Figures) -> dict[str, dict[int, str]]:
    found = {}
    for row in one.forgetting:
        thens = {k: w.then for k, w in row.windows.items() if w.then is not None}
        found[f"{row.learner}, just after"] = {k: f"{v * 100:.1f}" for k, v in thens.items()}
        found[f"{row.learner}, at the end"] = {
            number: f"{window.end * 100:.1f}" for number, window in row.windows.items()
        }
    return {name: cells for name, cells in found.items() if cells}


def _each(one: Figures) -> dict[str, dict[int, str]]:
    return {
        f"{row.learner}, {what}": {number: tell(cost) for number, cost in row.each.items()}
        for row in one.spent
        for what, tell in _COSTS.items()
    }


def _numbered(head: str, rows: Mapping[str, Mapping[int, str]]) -> str:
    """A table with a column for each number; nothing where nothing was measured."""
    numbers = sorted({number for cells in rows.values() for number in cells})
    lines = [
        [name, *(cells.get(number, "") for number in numbers)]
        for name, cells in rows.items()
        if any(cells.values())
    ]
    return table([head, *map(str, numbers)], lines) if lines else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def points(difference: Difference) -> str:
    """A difference of shares in points, with its interval."""
    mean, low, high = (value * 100 for value in difference)
    return f"{mean:+.1f} ({low:+.1f} … {high:+.1f})"


def system_name(row: SystemRow) -> str:
    """What a system is called in tables and plots."""
    return row.system + (" + retrieval + memory" if row.aided else "")


def _em_es(row: SystemRow) -> str:
    return f"{row.em * 100:.1f} / {row.es * 100:.1f}"
