"""The report's plots, as SVG text.

Invariant: the same report gives the same bytes: no date, no random ids, no fonts of the machine.
Knows no page.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

from neuralforge_trainer.evaluate.history.figures import Figures, Window
from neuralforge_trainer.evaluate.history.report import Report, system_name

_COLOURS = {"copier": "#999999", "base": "#4c72b0", "none": "#c44e52", "replay": "#8172b3",
            "ewc": "#937860", "both": "#55a868", "joint": "#222222"}  # fmt: skip
_LIGHT, _FULL = 0.5, 1.0

Draw = Callable[[Any, Report], None]


def plots(report: Report) -> dict[str, str]:
    """SVG by title."""
    titles: dict[str, Draw] = {
        "Exact match on the next window": partial(_by_window, lambda w: w.em * 100, "EM %"),
        "Edit similarity on the next window": partial(_by_window, lambda w: w.es * 100, "ES %"),
        "Perplexity on the next window": partial(_by_window, lambda w: w.perplexity, "perplexity"),
        "Exact match by repository": _by_repository,
        "Old windows: at the end against just after each": _old_windows,
        "General code: exact match against the base": _general,
        "Typed out: characters accepted": _rocc,
        "One update: seconds and memory": _spent,
    }
    return {title: _svg(draw, report) for title, draw in titles.items()}


def file_name(title: str) -> str:
    """A plot's title as a file's name, without an ending."""
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def _svg(draw: Draw, report: Report) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {"svg.hashsalt": "neuralforge", "svg.fonttype": "none", "font.size": 10,
             "font.family": "sans-serif", "axes.spines.top": False,
             "axes.spines.right": False}  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        draw(figure.subplots(), report)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _by_window(
    measure: Callable[[Window], float | None], unit: str, axes: Any, report: Report
) -> None:
    """A line for each system that has the measure: the copier has no perplexity."""
    for row in report.overall.systems:
        found = {number: measure(window) for number, window in row.windows.items()}
        values = [value for value in found.values() if value is not None]
        if not values:
            continue
        axes.plot(
            [number for number, value in found.items() if value is not None],
            values,
            label=system_name(row),
            color=_COLOURS[row.system],
            linestyle="--" if row.aided else "-",
            marker="o" if len(values) > 1 else "D",
            markersize=3,
        )
    axes.set_xlabel("updates so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(unit)
    _legend(axes)


def _by_repository(axes: Any, report: Report) -> None:
    systems = [(name, aided) for aided in (False, True) for name in ("base", report.main)]
    for number, (name, aided) in enumerate(systems):
        rows = [one.system(name, aided=aided) for one in report.figures]
        axes.bar(
            [place + 0.2 * (number - 1.5) for place in range(len(rows))],
            [row.em * 100 if row else 0 for row in rows],
            width=0.18,
            label=name + (" + retrieval + memory" if aided else ""),
            color=_COLOURS[name],
            alpha=_LIGHT if aided else _FULL,
        )
    names = [one.name.rpartition("/")[2] for one in report.figures]
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right")
    axes.set_ylabel("EM %")
    _legend(axes)


def _old_windows(axes: Any, report: Report) -> None:
    for number, one in enumerate([*report.figures, report.overall]):
        found = [(row.learner, row.bwt.mean) for row in one.forgetting if row.bwt is not None]
        for place, (learner, bwt) in enumerate(found):
            offset = 0.18 * (place - (len(found) - 1) / 2)
            axes.bar(number + offset, bwt * 100, width=0.16, color=_COLOURS[learner], label=learner)
    _names(axes, [*report.figures, report.overall])
    axes.axhline(-1, color="#c44e52", linewidth=0.8, linestyle=":")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_ylabel("BWT, points of EM")
    _legend(axes)


def _general(axes: Any, report: Report) -> None:
    rows = [row for row in report.overall.general if row.system != "base"]
    means = [row.em_change.mean * 100 for row in rows]
    spans = [
        [(row.em_change.mean - row.em_change.low) * 100 for row in rows],
        [(row.em_change.high - row.em_change.mean) * 100 for row in rows],
    ]
    colours = [_COLOURS[row.system] for row in rows]
    axes.bar([row.system for row in rows], means, yerr=spans, color=colours, capsize=3)
    axes.axhline(-1, color="#c44e52", linewidth=0.8, linestyle=":")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_ylabel("points of EM (95 %)")


def _rocc(axes: Any, report: Report) -> None:
    shown = [*report.figures, report.overall]
    for number, name in enumerate(("base", report.main)):
        found = [[row for row in one.typing if row.system == name] for one in shown]
        axes.bar(
            [place + 0.35 * (number - 0.5) for place in range(len(shown))],
            [rows[0].rocc * 100 if rows else 0 for rows in found],
            width=0.33,
            label=name,
            color=_COLOURS[name],
        )
    _names(axes, shown)
    axes.set_ylabel("RoCC %")
    _legend(axes)


def _spent(axes: Any, report: Report) -> None:
    rows = report.overall.spent
    axes.bar([row.learner for row in rows], [row.seconds for row in rows],
             color=[_COLOURS[row.learner] for row in rows])  # fmt: skip
    axes.set_ylabel("seconds, mean")
    memory = axes.twinx()
    memory.plot([row.learner for row in rows], [row.peak_bytes / 2**20 for row in rows], "kD")
    memory.set_ylim(bottom=0)
    memory.set_ylabel("peak MiB (diamonds)")


def _names(axes: Any, shown: list[Figures]) -> None:
    names = [one.name.rpartition("/")[2] for one in shown]
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right")


def _legend(axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), fontsize=8, frameon=False, loc="upper left",
                bbox_to_anchor=(1.0, 1.0))  # fmt: skip
