"""Line charts as inline SVG.

Invariant: elements and not strings, so that whatever stands in a label is text and never markup.
Knows no figure's meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

_WIDTH, _HEIGHT = 640, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 24


@dataclass(frozen=True)
class Line:
    """One line of a chart: a value for each place on the x axis; None leaves a gap."""

    name: str
    values: Sequence[float | None]


def line_chart(
    labels: Sequence[str], lines: Sequence[Line], top: float, shown: Callable[[float], str]
) -> Element:
    """A chart with `labels` along x, and y from 0 to `top`, written by `shown`."""
    view = f"0 0 {_WIDTH} {_HEIGHT}"
    svg = Element("svg", {"viewBox": view, "role": "img", "class": "chart"})
    for share in (0.0, 0.5, 1.0):
        _level(svg, _y(share), shown(top * share))
    for number, line in enumerate(lines):
        points = [
            (_x(at, len(labels)), _y(min(1.0, value / top if top else 0.0)))
            for at, value in enumerate(line.values)
            if value is not None
        ]
        _draw(svg, points, f"line{number}")
    for at in sorted({0, len(labels) - 1} if labels else ()):
        _label(svg, _x(at, len(labels)), labels[at], "start" if at == 0 else "end")
    return svg


def _level(svg: Element, y: float, text: str) -> None:
    ends = {"x1": str(_LEFT), "x2": str(_WIDTH - _RIGHT), "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
    SubElement(svg, "line", {**ends, "class": "level"})
    place = {"x": str(_LEFT - 6), "y": f"{y + 4:.1f}", "text-anchor": "end"}
    SubElement(svg, "text", place).text = text


def _draw(svg: Element, points: Sequence[tuple[float, float]], name: str) -> None:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    SubElement(svg, "polyline", {"points": path, "class": name})
    for x, y in points:
        SubElement(svg, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "2.5", "class": name})


def _label(svg: Element, x: float, text: str, anchor: str) -> None:
    place = {"x": f"{x:.1f}", "y": str(_HEIGHT - 6), "text-anchor": anchor}
    SubElement(svg, "text", place).text = text


def _x(at: int, count: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (at / (count - 1) if count > 1 else 0.5)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share
