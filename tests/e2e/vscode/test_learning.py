"""VS Code: adapters swapped and trainings steered by command, with suggestions that follow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.homes import publish
from e2e.vscode.conftest import READERS, SETTINGS, Desk, Start
from e2e.vscode.driver import Window
from neuralforge_adapters.store import PERSONAL
from neuralforge_adapters.trainer_files import read_state

pytestmark = pytest.mark.slow

_TRAINING_MS = 180_000


@pytest.fixture(scope="module")
def shared(start: Start) -> Desk:
    return start(settings=SETTINGS | {"neuralforge.memory.scale": 0})


def test_a_swapped_adapter_suggests_something_else(desk: Desk, window: Window) -> None:
    window.show(desk.write(READERS, "before.py"))
    before = window.type_until_ghost("wi")
    publish(desk.home, "babbler", seed=1, strength=0.4)
    window.run("NeuralForge: Load an Adapter…")
    expect(window.choices().first).to_contain_text("babbler@v0001")
    window.press("Enter")
    expect(window.choices()).to_have_count(0)
    expect(window.page.locator(".statusbar")).to_contain_text("NeuralForge: babbler@v0001")
    window.run("NeuralForge: Status…")
    expect(window.choices().filter(has_text="Stack")).to_contain_text("babbler@v0001")
    window.press("Escape")
    window.show(desk.write(READERS, "after.py"))
    window.press("Control+End")
    window.type("wi")
    rows = desk.wait_logged(lambda rows: rows, "after.py")
    assert rows[0].text not in (before, "w" + before)
    assert "babbler@v0001" in rows[0].stack_json
    window.run("NeuralForge: Unload an Adapter…")
    expect(window.choices()).to_contain_text("babbler@v0001")
    window.press("Enter")
    expect(window.choices()).to_have_count(0)
    window.show(desk.write(READERS, "again.py"))
    assert window.type_until_ghost("wi") == before


@pytest.fixture
def repository(house_repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(house_repository, tmp_path / "house"))


def test_a_training_is_started_paused_resumed_cancelled_and_skipped(
    desk: Desk, repository: Path
) -> None:
    at = Desk(desk.code, desk.home, desk.browser, repository)
    with at.window() as window:
        window.run("NeuralForge: Train Now from This Repository")
        expect(window.status()).to_contain_text("learning", timeout=_TRAINING_MS)
        window.run("NeuralForge: Pause Training")
        expect(window.status()).to_contain_text("paused", timeout=_TRAINING_MS)
        window.run("NeuralForge: Resume Training")
        expect(window.status()).to_contain_text("learning", timeout=_TRAINING_MS)
        window.run("NeuralForge: Cancel This Training")
        expect(window.status()).not_to_contain_text("learning", timeout=_TRAINING_MS)
        assert said(desk) == ("cancelled", "stopped by `cancel`")
        window.run("NeuralForge: Train Now from This Repository")
        expect(window.status()).to_contain_text("learning", timeout=_TRAINING_MS)
        window.run("NeuralForge: Skip This Training: Never Train on Its Samples")
        expect(window.status()).not_to_contain_text("learning", timeout=_TRAINING_MS)
        assert said(desk) == ("cancelled", "stopped by `skip`")


def said(desk: Desk) -> tuple[str, str] | None:
    """The trainer's state and message."""
    state = read_state(desk.home)
    return None if state is None else (state.state, state.message)


def test_a_new_version_serves_without_a_restart_and_the_report_opens(
    desk: Desk, window: Window
) -> None:
    servers = desk.processes("neuralforge serve")
    publish(desk.home, PERSONAL, seed=2)
    window.run("NeuralForge: Adapters…")
    expect(window.choices().filter(has_text="personal@v0001")).to_contain_text("loaded")
    window.press("Escape")
    assert desk.processes("neuralforge serve") == servers
    window.run("NeuralForge: Open the Report")
    expect(window.page.locator(".tab.active")).to_contain_text("NeuralForge Report")
    expect(window.webview.locator("h1").first).to_be_visible()
    window.screenshot("report")


def test_a_session_with_too_little_to_learn_says_so(window: Window) -> None:
    for _ in range(2):
        window.run("NeuralForge: Train Now from the Session")
        told = window.notice("Nothing was learnt from")
        expect(told).to_contain_text("too little is new", timeout=_TRAINING_MS)
        window.refused("Nothing was learnt from")
        expect(told).to_have_count(0)
