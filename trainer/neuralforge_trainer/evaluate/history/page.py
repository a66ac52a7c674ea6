"""The report as one page of HTML that needs nothing else.

Invariant: what comes from a repository is escaped; nothing is loaded from anywhere. Knows no
figure: it shows the Markdown's tables and the plots.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from neuralforge_trainer.evaluate.history.plots import plots
from neuralforge_trainer.evaluate.history.report import Report, markdown

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
td, th { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         white-space: nowrap; }
td.long { white-space: normal; }
th { border-bottom: 2px solid #888; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; } svg { max-width: 100%; height: auto; }
"""

_LONG = 60
"""Characters from which on a cell may take several lines."""


def page(report: Report) -> str:
    """One HTML document."""
    figures = "".join(
        f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>\n"
        for title, svg in plots(report).items()
    )
    head, _, rest = markdown(report).partition("\n### ")
    body = "\n".join(_blocks(head)) + figures + "\n".join(_blocks(f"### {rest}" if rest else ""))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>neuralforge replay</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>What learning brought, window by window</h1>\n{body}\n</body></html>\n"
    )


def _blocks(text: str) -> Iterator[str]:
    """HTML of the little Markdown that reports are made of."""
    for block in filter(None, text.split("\n\n")):
        for part in _apart(block.strip("\n").split("\n")):
            yield _html(part)


def _apart(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines of one kind: table, heading, text."""
    run: list[str] = []
    for line in lines:
        if run and line.startswith("|") != run[-1].startswith("|"):
            yield run
            run = []
        run.append(line)
    if run:
        yield run


def _html(lines: list[str]) -> str:
    if lines[0].startswith("|"):
        return _table(lines)
    if lines[0].startswith("### "):
        return f"<h2>{escape(lines[0][4:])}</h2>"
    return f"<p>{'<br>'.join(_words(line.removeprefix('- ')) for line in lines)}</p>"


def _table(lines: list[str]) -> str:
    rows = [line[2:-2].split(" | ") for line in lines if not line.startswith("| ---")]
    cells = [
        "".join(_cell(tag, text) for text in row)
        for tag, row in zip(["th"] + ["td"] * len(rows), rows, strict=False)
    ]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _cell(tag: str, text: str) -> str:
    kind = ' class="long"' if len(text) > _LONG else ""
    return f"<{tag}{kind}>{_words(text)}</{tag}>"


def _words(text: str) -> str:
    """Escaped, with `**` and backticks as they are meant."""
    for mark, tag in (("**", "strong"), ("`", "code")):
        text = _marked(escape(text) if tag == "strong" else text, mark, tag)
    return text


def _marked(text: str, mark: str, tag: str) -> str:
    parts = text.split(mark)
    return "".join(p if n % 2 == 0 else f"<{tag}>{p}</{tag}>" for n, p in enumerate(parts))
