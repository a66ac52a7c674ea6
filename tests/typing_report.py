"""What the typing benchmark prints: Markdown tables that stand on their own.

Invariant: a verdict is only read from the report, never made here, but for the goals in
milliseconds. Knows no system and measures nothing.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psutil

from typing_trace import Trace

Json = dict[str, Any]

LABELS = {
    "neuralforge": "NeuralForge",
    "llama-server": "llama-server, as llama.vim does",
    "llama-server-own-order": "llama-server, in the base's own order",
}
_SMALL_MEGABYTES = 25.0
"""About 20 M parameters in Q8_0: up to there the goals in milliseconds hold."""
_ROWS = {
    "computed_p50": "key to text, computed, p50, ms",
    "computed_p95": "key to text, computed, p95, ms",
    "computed_p99": "key to text, computed, p99, ms",
    "computed_count": "keystrokes with computed text",
    "typed_through_p50": "key to text, typed through, p50, ms",
    "typed_through_p95": "key to text, typed through, p95, ms",
    "typed_through_count": "keystrokes with text typed through",
    "all_p50": "key to text, all, p50, ms",
    "all_p95": "key to text, all, p95, ms",
    "all_p99": "key to text, all, p99, ms",
    "coverage": "coverage: keystrokes with a fitting text",
    "visible": "keystrokes with any text",
    "tokens_per_keystroke": "tokens evaluated per keystroke",
    "runs": "generations",
    "thrown_away": "generations thrown away",
    "cpu_seconds": "CPU seconds",
}
_SHARES = ("coverage", "visible", "thrown_away")
_RATIOS = ("computed_p50", "computed_p95", "tokens_per_keystroke", "cpu_seconds")
_MILLISECONDS = {"computed_p50": 40.0, "typed_through_p50": 5.0}
_OWN = {"p50": 2.0, "p95": 5.0}


def describe_machine(threads: int) -> Json:
    """What it is measured on, and how busy that is."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(logical=False),
        "threads": threads,
        "python": platform.python_version(),
        "load": round(psutil.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def describe_trace(trace: Trace, speed: float) -> Json:
    """What is typed."""
    return {
        "repository": trace.repository,
        "seed": trace.seed,
        "speed": speed,
        "commits": len({s.commit for s in trace.segments}),
        "segments": len(trace.segments),
        "keystrokes": trace.keystrokes,
        "seconds": round(sum(s.seconds for s in trace.segments), 1),
    }


def markdown(report: Json) -> str:
    """The whole report."""
    parts = [_heading(report)]
    for run in report["runs"]:
        parts += [_base(run), _figures(run), *_goals(run)]
    if report["fold"]:
        parts += ["### Adapters", *_fold(report["fold"])]
    return "\n\n".join(parts) + "\n"


def _heading(report: Json) -> str:
    machine, trace = report["machine"], report["trace"]
    pace = "as recorded" if trace["speed"] == 1 else f"{trace['speed']:g} times as fast"
    kernels = " llama.cpp uses the same features of the CPU in all." if report["kernels"] else ""
    return (
        f"`make bench-typing`, {machine['date']}: {machine['system']}, {machine['cores']} cores; "
        f"threads of each system: {machine['threads']}; load average at the start: "
        f"{machine['load']:g}.\n"
        f"Typed: {trace['keystrokes']} keystrokes in {trace['segments']} segments of "
        f"{trace['commits']} commits of {trace['repository']}, {trace['seconds']:g} s, {pace}, "
        f"seed {trace['seed']}; the systems take turns segment by segment. In brackets: 95 % "
        f"intervals by bootstrap over segments.{kernels}"
    )


def _base(run: Json) -> str:
    cap = run["max_tokens"]
    capped = f", at most {cap} tokens each" if cap else ""
    return f"### Base `{run['base']}`, {run['megabytes']:.1f} MB{capped}"


def _figures(run: Json) -> str:
    systems = run["systems"]
    rows = [
        [label, *(_valued(name, system["figures"][name]) for system in systems)]
        for name, label in _ROWS.items()
    ]
    rows.append(["memory, MB", *(f"{s['peak_megabytes']:.0f}" for s in systems)])
    before = "CPU seconds before the first key"
    rows.append([before, *(f"{s['cpu_seconds_before']:.1f}" for s in systems)])
    return _table(["", *(LABELS[s["system"]] for s in systems)], rows)


def _goals(run: Json) -> list[str]:
    """Ratios against each peer, then the goals in milliseconds, then what one must know."""
    parts, compared = [], run["comparisons"]
    if compared:
        titles = [f"against {LABELS[one['peer']]}" for one in compared]
        rows = [_condition(compared), *(_ratio_row(name, compared) for name in _RATIOS)]
        parts.append(_table(["NeuralForge, as a ratio", "goal", *titles], rows))
    if run["megabytes"] <= _SMALL_MEGABYTES:
        parts.append(_table(["NeuralForge", "goal", "measured"], _absolute(run["systems"][0])))
    return [*parts, *_remarks(run)]


def _condition(compared: Sequence[Json]) -> list[str]:
    """Whether the ratios count, and by which figures."""
    cells = []
    for one in compared:
        condition = one["condition"]
        words = "they count" if condition["holds"] else "they do not count"
        shares = f"{condition['ours']:.1%} against {condition['theirs']:.1%}"
        cells.append(f"{shares}: {words}")
    name = _ROWS[compared[0]["condition"]["of"]].partition(":")[0]
    return [name, "at least equal", *cells]


def _ratio_row(name: str, compared: Sequence[Json]) -> list[str]:
    ratios = [one["ratios"][name] for one in compared]
    cells = [f"{_bracketed(r, '{:.2f}'.format)}: {r['verdict']}" for r in ratios]
    return [_ROWS[name].removesuffix(", ms"), f"at most {ratios[0]['goal']:g}", *cells]


def _absolute(ours: Json) -> list[list[str]]:
    rows = []
    for name, goal in _MILLISECONDS.items():
        figure = ours["figures"][name]
        verdict = _met(figure["value"], goal)
        rows.append([_ROWS[name], f"at most {goal:g}", f"{_valued(name, figure)}: {verdict}"])
    for name, goal in _OWN.items():
        value = ours["own_ms"].get(name)
        label = f"own share of a request, retrieval included, {name}, ms"
        rows.append([label, f"at most {goal:g}", f"{_shown(value)}: {_met(value, goal)}"])
    return rows


def _remarks(run: Json) -> list[str]:
    """What makes a figure say less than it seems to."""
    values = {s["system"]: {n: f["value"] for n, f in s["figures"].items()} for s in run["systems"]}
    said = [
        f"«{LABELS[name]}» showed no text, so there is no latency."
        for name, figures in values.items()
        if not figures["visible"]
    ]
    for one in run["comparisons"]:
        condition, peer = one["condition"], LABELS[one["peer"]]
        if condition["ours"] == condition["theirs"] == 0:
            said.append(f"Neither NeuralForge nor «{peer}» showed any text that counts.")
        elif condition["theirs"] == 0:
            said.append(f"«{peer}» showed no text that counts: it is easily equalled.")
    return said


def _fold(fold: Json) -> list[str]:
    rows = [
        [row["name"], f"at most {row['goal']:g}" if row["goal"] else "–", _judged(row)]
        for row in fold["rows"]
    ]
    return [_table(["adapters of rank 16 on the embedded base", "goal", "measured"], rows)]


def _judged(row: Json) -> str:
    verdict = f": {_met(row['value'], row['goal'])}" if row["goal"] else ""
    return f"{_bracketed(row, _shown)}{verdict}"


def _met(value: float | None, goal: float) -> str:
    if value is None:
        return "not measured"
    return "met" if value <= goal else "missed"


def _valued(name: str, figure: Json) -> str:
    whole = name.endswith("_count") or name == "runs"
    if whole:
        return f"{figure['value']:.0f}"
    return _bracketed(figure, "{:.1%}".format if name in _SHARES else _shown)


def _bracketed(figure: Json, shape: Callable[[float], str]) -> str:
    """A value with its interval."""
    if figure["value"] is None:
        return "–"
    text = shape(figure["value"])
    if figure["interval"] is None:
        return text
    low, high = (shape(bound) for bound in figure["interval"])
    return f"{text} ({low} to {high})"


def _shown(value: float | None) -> str:
    """Three digits, and no fewer before the point than there are."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, ruler, *rows])
