"""The report: right figures, one page that stands on its own, and nothing in it is markup."""

from __future__ import annotations

import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from gguf_maker import make_adapter
from neuralforge_adapters.base import open_base
from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import GGUF_FILE, PERSONAL, AdapterStore, Manifest
from neuralforge_server.cli import group
from neuralforge_server.report.figures import Figures, read_figures
from neuralforge_server.report.page import page, write_report
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.rows import Suggestion

SECRET = "return the_text_of_a_suggestion"
DAY = 86_400.0
NOON = 1_750_000_000.0 // DAY * DAY + DAY / 2
"""Far from any midnight, wherever the tests run."""


class Page(HTMLParser):
    """The tags and the cells of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self._cell = tag in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.cells.append(data)
        self._cell = False


def suggest(log: SessionLog, name: str, at: float, outcome: str, **more: object) -> None:
    row = {
        "base": "b", "stack": "s", "stack_json": "[]", "uri": f"file:///{name}.py",
        "path": f"/{name}.py", "repository": None, "language": "python", "line": 0,
        "character": 0, "trigger": "automatic", "prefix_tail": "", "suffix_head": "",
        "text": SECRET, "latency_ms": 40.0, "tokens": 3, **more,
    }  # fmt: skip
    log.record_suggestion(Suggestion(id=name, created=at, **row))  # type: ignore[arg-type]
    log.record_outcome(name, outcome, "client", at=at)  # type: ignore[arg-type]


@pytest.fixture
def figures(home: Home) -> Figures:
    store, digest = AdapterStore(home), open_base(None, home).digest
    metrics = {"rows": [{"system": "candidate", "items": "held-out", "em": 0.25, "es": 0.5}]}
    with store.staging(PERSONAL) as folder:
        make_adapter(folder / GGUF_FILE, base_digest=digest)
        store.publish(
            folder, Manifest(PERSONAL, digest, 8, 8.0, data={"samples": 77}, metrics=metrics)
        )
    evil = '[{"adapter": "<script>alert(1)</script>", "scale": 0.5}]'
    with SessionLog.open(home.session_log) as log:
        suggest(log, "a", NOON - DAY, "accepted")
        log.record_retention("a", 30, 0.9, "open", at=NOON)
        suggest(log, "b", NOON, "dismissed", latency_ms=60.0)
        suggest(log, "c", NOON, "accepted", stack_json=evil, language="<b>go</b>")
        return read_figures(home, log)


def test_figures_are_counted_by_day_and_by_what_was_served(figures: Figures) -> None:
    days = [time.strftime("%Y-%m-%d", time.localtime(at)) for at in (NOON - DAY, NOON)]
    assert [(day, t.shown, t.accepted) for day, t in figures.days] == [
        (days[0], 1, 1), (days[1], 2, 1),
    ]  # fmt: skip
    assert figures.days[0][1].retained[30] == 0.9
    assert [(name, t.shown) for name, t in figures.stacks] == [
        ("the base alone", 2), ("<script>alert(1)</script> × 0.5", 1),
    ]  # fmt: skip
    (version,) = figures.versions
    assert (version["adapter"], version["em"], version["scale"]) == ("personal@v0001", 0.25, 1.0)


def test_the_page_shows_them_and_every_name_is_text(figures: Figures) -> None:
    text = page(figures)
    found = Page(text)
    assert not {"script", "b", "link", "img"} & set(found.tags)
    assert found.tags.count("svg") == 3 and "polyline" in found.tags
    assert "<script>alert(1)</script> × 0.5" in found.cells and "<b>go</b>" in found.cells
    assert {"67%", "25%", "50%", "77", "personal@v0001"} <= set(found.cells)
    assert "Content-Security-Policy" in text and "default-src 'none'" in text
    assert "http://" not in text and "https://" not in text
    assert SECRET not in text and ".py" not in text


def test_a_fresh_log_makes_a_page_too(home: Home) -> None:
    with SessionLog.open(home.session_log) as log:
        text = page(read_figures(home, log))
    assert "Nothing was suggested yet." in text and "None yet" in text


def test_the_command_writes_where_it_is_told(home: Home, figures: Figures, tmp_path: Path) -> None:
    target = tmp_path / "out" / "report.html"
    done = CliRunner().invoke(group, ["report", "--output", str(target)])
    assert (done.exit_code, done.output.strip()) == (0, str(target))
    assert Page(target.read_text("utf-8")).tags.count("svg") == 3
    done = CliRunner().invoke(group, ["report"])
    assert Path(done.output.strip()) == home.profile_dir / "report.html"


def test_a_place_that_cannot_be_written_is_named(figures: Figures, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="cannot create the folder"):
        write_report(figures, tmp_path / "file" / "report.html")
