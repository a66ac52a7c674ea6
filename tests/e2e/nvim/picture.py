"""A Neovim screen as an SVG picture: what was drawn, in the colours it was drawn in."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import Any

from e2e.nvim.driver import Cell, Screen

_WIDTH, _HEIGHT, _SIZE, _MARGIN = 8.4, 18, 14, 12
_FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def svg(screen: Screen, rows: int | None = None) -> str:
    """The first `rows` lines of the screen, or all of them."""
    lines = screen.cells[:rows]
    width = screen.width * _WIDTH + 2 * _MARGIN
    height = len(lines) * _HEIGHT + 2 * _MARGIN
    body = "\n".join(_line(screen, row, cells) for row, cells in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'font-family="{_FONT}" font-size="{_SIZE}">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{_color(screen.colors[1])}"/>\n'
        f"{body}\n{_cursor(screen)}\n</svg>\n"
    )


def _line(screen: Screen, row: int, cells: list[Cell]) -> str:
    parts, column = [], 0
    for highlight, run in groupby(cells, key=lambda cell: cell.highlight):
        text = "".join(cell.text for cell in run)
        parts.append(_run(screen, row, column, text, screen.highlights.get(highlight, {})))
        column += len(text)
    return "".join(parts)


def _run(screen: Screen, row: int, column: int, text: str, look: dict[str, Any]) -> str:
    foreground = look.get("foreground", screen.colors[0])
    background = look.get("background", screen.colors[1])
    if look.get("reverse"):
        foreground, background = background, foreground
    x, y, width = _MARGIN + column * _WIDTH, _MARGIN + row * _HEIGHT, len(text) * _WIDTH
    parts = []
    if background != screen.colors[1]:
        parts.append(
            f'<rect x="{x:g}" y="{y}" width="{width:g}" height="{_HEIGHT}" '
            f'fill="{_color(background)}"/>'
        )
    if text.strip():
        style = ' font-style="italic"' if look.get("italic") else ""
        weight = ' font-weight="bold"' if look.get("bold") else ""
        parts.append(
            f'<text x="{x:g}" y="{y + _SIZE:g}" textLength="{width:g}" '
            f'fill="{_color(foreground)}"{style}{weight}>{_kept(text)}</text>'
        )
    return "".join(parts)


def _kept(text: str) -> str:
    """With spaces that no viewer folds."""
    return escape(text).replace(" ", "\u00a0")


def _cursor(screen: Screen) -> str:
    row, column = screen.cursor
    x, y = _MARGIN + column * _WIDTH, _MARGIN + row * _HEIGHT
    return f'<rect x="{x:g}" y="{y}" width="2" height="{_HEIGHT}" fill="{_color(0xFFFFFF)}"/>'


def _color(value: int) -> str:
    return f"#{value:06x}"
