"""The report as one page of HTML that needs nothing else: no script, no font, no request.

Invariant: built from elements, so that every name on it is text and never markup; a policy in the
page forbids scripts and requests. Knows no log.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from neuralforge_adapters.home import Home, write_atomic
from neuralforge_server.report.charts import Line, line_chart
from neuralforge_server.report.figures import Figures
from neuralforge_server.session.rows import DEADLINES_S, Tally

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
.chart { width: 100%; font-size: 11px; fill: currentColor; }
.level { stroke: #8886; } polyline { fill: none; stroke-width: 1.5; }
.line0 { stroke: #2f7ed8; } .line1 { stroke: #d9822b; } .line2 { stroke: #4f9d5d; }
circle.line0 { fill: #2f7ed8; } circle.line1 { fill: #d9822b; } circle.line2 { fill: #4f9d5d; }
.key0 { color: #2f7ed8; } .key1 { color: #d9822b; } .key2 { color: #4f9d5d; }
.key { margin-right: 1rem; } .note { opacity: .75; }
"""


def report_file(home: Home) -> Path:
    """Where the report of a profile is written unless another place is named."""
    return home.profile_dir / "report.html"


def write_report(figures: Figures, path: Path) -> str:
    """Write the page to a file, which is replaced in one step; returns the page.

    Raises:
        HomeError: the file cannot be written.
    """
    text = page(figures)
    write_atomic(path, text)
    return text


def page(figures: Figures) -> str:
    """The whole page."""
    html = Element("html", {"lang": "en"})
    head, body = SubElement(html, "head"), SubElement(html, "body")
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width"})
    SubElement(head, "title").text = "NeuralForge report"
    SubElement(head, "style").text = _STYLE
    SubElement(body, "h1").text = "What NeuralForge suggested, and what you kept"
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(figures.made))
    about = f"Profile {figures.profile}, base {figures.base}; made {made} on this machine."
    SubElement(body, "p", {"class": "note"}).text = about
    _fill(body, figures)
    return "<!DOCTYPE html>\n" + tostring(html, encoding="unicode", method="html") + "\n"


def _fill(body: Element, figures: Figures) -> None:
    stats, days = figures.stats, figures.days
    if not stats.overall.suggestions:
        SubElement(body, "p").text = "Nothing was suggested yet."
    else:
        _tallies(body, "language", [("all", stats.overall), *stats.languages.items()])
        labels, tallies = [day for day, _ in days], [tally for _, tally in days]
        rate = [Line("accepted", [tally.acceptance_rate for tally in tallies])]
        _chart(body, "Accepted, of those shown", labels, rate, share=True)
        kept = [Line(f"after {s} s", [t.retained.get(s) for t in tallies]) for s in DEADLINES_S]
        _chart(body, "How much of what you accepted still stood", labels, kept, share=True)
        latency = [
            Line("p50", [tally.latency_p50_ms for tally in tallies]),
            Line("p95", [tally.latency_p95_ms for tally in tallies]),
        ]
        _chart(body, "Milliseconds to a suggestion", labels, latency, share=False)
        SubElement(body, "h2").text = "By what was served"
        _tallies(body, "stack", figures.stacks)
    _versions(body, figures)


def _chart(
    body: Element, title: str, labels: Sequence[str], lines: Sequence[Line], *, share: bool
) -> None:
    SubElement(body, "h2").text = title
    values = [value for line in lines for value in line.values if value is not None]
    top = 1.0 if share else max(values, default=0.0)
    body.append(line_chart(labels, lines, top, _share if share else _milliseconds))
    keys = SubElement(body, "p")
    for number, line in enumerate(lines):
        SubElement(keys, "span", {"class": f"key key{number}"}).text = f"● {line.name}"


def _tallies(body: Element, what: str, rows: Sequence[tuple[str, Tally]]) -> None:
    columns = [what, "shown", "accepted", "rate", "kept 5 min", "p50", "p95"]
    cells = [
        [
            name,
            str(tally.shown),
            str(tally.accepted + tally.partial),
            _share(tally.acceptance_rate),
            _share(tally.retained.get(DEADLINES_S[-1])),
            _milliseconds(tally.latency_p50_ms),
            _milliseconds(tally.latency_p95_ms),
        ]
        for name, tally in rows
    ]
    _table(body, columns, cells)


def _versions(body: Element, figures: Figures) -> None:
    SubElement(body, "h2").text = "Adapters"
    if not figures.versions:
        SubElement(body, "p").text = "None yet: your first training makes one."
        return
    columns = ["adapter", "in force", "base", "made", "samples", "EM", "ES"]
    cells = [
        [
            row["adapter"],
            "" if row["scale"] is None else f"× {row['scale']:g}",
            row["base"],
            time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"])),
            str(row["data"].get("samples", "")),
            _share(row["em"]),
            _share(row["es"]),
        ]
        for row in figures.versions
    ]
    _table(body, columns, cells)
    note = "EM: exact match, ES: edit similarity, on your newest code, which it had not seen."
    SubElement(body, "p", {"class": "note"}).text = note


def _table(body: Element, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = SubElement(body, "table")
    head = SubElement(table, "tr")
    for column in columns:
        SubElement(head, "th").text = column
    for row in rows:
        line = SubElement(table, "tr")
        for cell in row:
            SubElement(line, "td").text = cell


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"
