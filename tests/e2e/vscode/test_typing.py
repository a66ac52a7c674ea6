"""VS Code: what a user types, sees, accepts and dismisses, and what the log keeps of it."""

from __future__ import annotations

import os
import re

import pytest
from playwright.sync_api import expect

from e2e.vscode.conftest import READERS, Desk
from e2e.vscode.driver import Window
from neuralforge_server.session.rows import LoggedSuggestion


def test_ghost_text_is_on_the_screen_and_tab_accepts_it(desk: Desk, window: Window) -> None:
    window.show(desk.write(READERS))
    text = window.type_until_ghost("wi")
    window.screenshot("ghost-text")
    assert text.startswith("th open(path")
    window.press("Tab")
    expect(window.ghost).to_have_count(0)
    assert window.save(desk.file()) == READERS + "wi" + text
    rows = desk.wait_logged(lambda rows: rows[0].outcome == "accepted")
    assert rows[0].outcome_source == "client" and rows[0].text.endswith(text)
    assert (rows[0].trigger, rows[0].language) == ("automatic", "python")


def test_word_by_word_is_reported_to_the_character(desk: Desk, window: Window) -> None:
    window.show(desk.write(READERS))
    window.type_until_ghost("wi")
    window.press("Control+ArrowRight")
    desk.wait_logged(lambda rows: _taken(rows).endswith("th"))
    window.press("Control+ArrowRight")
    rows = desk.wait_logged(lambda rows: _taken(rows).endswith("th "))
    assert {row.outcome for row in rows} == {"partial"}
    assert {row.outcome_source for row in rows} == {"client"}


def _taken(rows: list[LoggedSuggestion]) -> str:
    """What was accepted, by the client's own reports."""
    told = [row for row in rows if row.outcome_source == "client" and row.accepted_length]
    return "".join(row.text[: row.accepted_length] for row in told)


def test_line_by_line(desk: Desk, window: Window) -> None:
    window.show(desk.write(READERS))
    window.type_until_ghost("wi")
    window.press("Tab")
    window.wait_ghost(lambda text: text.strip().startswith("return"))
    window.press("Control+Alt+ArrowRight")
    rows = desk.wait_logged(lambda rows: any(row.outcome == "partial" for row in rows))
    taken = next(row for row in rows if row.outcome == "partial")
    assert taken.text[: taken.accepted_length] == "\n"


def test_escape_dismisses(desk: Desk, window: Window) -> None:
    window.show(desk.write(READERS))
    window.type_until_ghost("wi")
    window.press("Escape")
    expect(window.ghost).to_have_count(0)
    rows = desk.wait_logged(lambda rows: rows[0].outcome == "dismissed")
    assert rows[0].outcome_source == "client"


def test_candidates_on_demand(desk: Desk, window: Window) -> None:
    window.show(desk.write("import "))
    window.press("Control+End")
    window.run("NeuralForge: Suggest Now")
    first = window.ghost_text()
    window.press("Alt+BracketRight")
    window.wait_ghost(lambda text: text != first)
    second = window.ghost_text()
    window.press("Alt+BracketLeft")
    window.wait_ghost(lambda text: text == first)
    rows = desk.wait_logged(lambda rows: len(rows) >= 2)
    assert {row.text for row in rows if row.trigger == "invoked"} >= {first, second}


@pytest.mark.parametrize(
    "scope", ["in This File", "for This Language", "in This Workspace", "Everywhere"]
)
def test_turned_off_nothing_comes_and_turned_on_it_does(
    desk: Desk, window: Window, scope: str
) -> None:
    title = f"NeuralForge: Turn On or Off {scope}"
    window.show(desk.write(READERS))
    window.run(title)
    expect(window.status()).to_contain_text("off here")
    window.press("Control+End")
    window.type("wi")
    window.run(title)
    expect(window.status()).not_to_contain_text("off here")
    expect(window.ghost).to_have_count(0)
    assert desk.logged() == []
    window.press("Backspace")
    window.type_until_ghost("i", end=False)


def test_emoji_and_crlf(desk: Desk, window: Window) -> None:
    text = READERS.replace("read_lines(path):", "read_lines(path):  # 🎉🎉 déjà").replace(
        "\n", "\r\n"
    )
    window.show(desk.write(text))
    shown = window.type_until_ghost("wi")
    window.press("Tab")
    expect(window.ghost).to_have_count(0)
    window.type("  # 🎉 ")
    saved = window.save(desk.file())
    assert saved.startswith(text + "wi" + shown)
    assert saved.count("\r\n") == saved.count("\n")
    desk.wait_logged(lambda rows: rows[0].outcome == "accepted")


def test_activation_waits_for_no_server(window: Window) -> None:
    window.page.set_viewport_size({"width": 1100, "height": 2000})  # rows out of sight are not made
    window.run("Developer: Show Running Extensions")
    rows = window.page.locator(".runtime-extensions-editor .monaco-list-row")
    told = rows.filter(has_text="NeuralForge").locator(".activation-time")
    expect(told).to_have_text(re.compile(r"Activation: \d+ms"))
    milliseconds = int("".join(filter(str.isdigit, told.inner_text())))
    assert milliseconds <= 50 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
