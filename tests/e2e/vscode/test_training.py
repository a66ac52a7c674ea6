"""VS Code: a training from its command to its end, what it brings, and the way back.

The base is a small one with random weights, so that a training takes seconds; trainer, gate and
store are the real ones.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.vscode.conftest import READERS, SETTINGS, Desk, Start
from e2e.vscode.driver import Window
from gguf_maker import make_base
from histories import commit_the_rest, older_clone
from neuralforge_adapters.trainer_files import read_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

_TRAINING_MS = 600_000
_PERCENT = re.compile(r"learning (\d+) %")


@pytest.fixture
def desk(start: Start, house_repository: Path, tmp_path: Path) -> Desk:
    """A VS Code at work in a repository, whose server trains only when it is told to."""
    base = make_base(
        tmp_path / "small.gguf", layers=2, width=64, heads=2, kv_heads=1, hidden=128,
        vocabulary=12288,
    )  # fmt: skip
    learning = {"idle_seconds": 86_400, "quiet_seconds": 0.5, "nice": 0}
    desk = start(
        settings=SETTINGS
        | {"neuralforge.engine.base": str(base)}
        | {f"neuralforge.learning.{name}": value for name, value in learning.items()}
    )
    repository = older_clone(house_repository, tmp_path / "project", 9)
    return Desk(desk.code, desk.home, desk.browser, repository)


def test_a_training_runs_to_its_end_its_version_serves_and_is_rolled_back(desk: Desk) -> None:
    with desk.window() as window:
        servers = desk.processes("neuralforge serve")
        window.run("View: Show NeuralForge")
        window.widen_side_bar()
        assert served(desk, window, "base.py") == "[]"

        train(desk, window, "personal@v0001")
        assert "personal@v0001" in served(desk, window, "first.py")
        commit_the_rest(desk.folder)
        train(desk, window, "personal@v0002")
        assert "personal@v0002" in served(desk, window, "second.py")

        window.run("NeuralForge: Adapters…")
        newest = window.choices().filter(has_text="personal@v0002")
        expect(newest).to_contain_text(re.compile(r"loaded.*exact \d+ %"))
        window.screenshot("adapters")
        window.press("Escape")
        window.run("NeuralForge: Status…")
        expect(window.choices().filter(has_text="Stack")).to_contain_text("personal@v0002")
        window.screenshot("status")
        window.press("Escape")
        window.run("NeuralForge: Roll Back an Adapter…")
        expect(window.choices()).to_have_count(1)
        expect(window.choices()).to_contain_text("personal@v0001")
        window.press("Enter")
        expect(window.choices()).to_have_count(0)
        assert "personal@v0001" in served(desk, window, "back.py")
        assert desk.processes("neuralforge serve") == servers, "nothing was restarted"

        window.run("NeuralForge: What Is Logged, and Where")
        expect(window.webview.get_by_text(str(desk.home.root)).first).to_be_visible()
        window.screenshot("privacy")


def train(desk: Desk, window: Window, version: str) -> None:
    """Train by command, and watch the progress until `version` is there."""
    told = window.follow_status()
    window.run("NeuralForge: Train Now from This Repository")
    window.wait_status("learning [1-9]", _TRAINING_MS)
    window.screenshot("training")
    expect(window.status()).not_to_contain_text("learning", timeout=_TRAINING_MS)
    state = read_state(desk.home)
    assert state is not None and (state.state, state.version) == ("done", version), state
    percents = [int(found[1]) for text in told() if (found := _PERCENT.search(text))]
    assert percents == sorted(percents), "it only goes up"
    assert any(0 < percent < 100 for percent in percents), percents


def served(desk: Desk, window: Window, name: str) -> str:
    """The stack that suggests in a new file."""
    window.show(desk.write(READERS, name))
    window.press("Control+End")
    window.type("wi")
    window.run("NeuralForge: Suggest Now")
    return desk.wait_logged(lambda rows: rows, name)[-1].stack_json
