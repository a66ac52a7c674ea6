"""Learning from Neovim: asked for, begun by command, watched, held up, ended, and its result."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.homes import publish
from e2e.nvim.conftest import Desk, Start
from neuralforge_adapters.store import PERSONAL
from neuralforge_server.session.log import SessionLog

LINE = "require('neuralforge').statusline()"


@pytest.fixture
def desk(start: Start, house_repository: Path) -> Desk:
    """A Neovim at work in a repository with a history."""
    desk = start(settings={"learning": {"idle_seconds": 86_400, "quiet_seconds": 0}})
    return Desk(desk.nvim, desk.home, house_repository)


def shows(desk: Desk, text: str, seconds: float = 60.0) -> None:
    desk.nvim.wait_lua(f"{text!r}", f"{LINE}:find([==[{text}]==], 1, true)", seconds)


def test_a_training_is_agreed_to_begun_watched_paused_and_ended_and_its_version_serves(
    desk: Desk,
) -> None:
    source = next(desk.folder.rglob("*.py"))
    desk.nvim.type(f":edit {source}<CR>")
    desk.nvim.wait("the question", lambda: desk.folder.name in desk.nvim.screen.text())
    desk.nvim.wait("the answers", lambda: "1:" in desk.nvim.screen.text())
    desk.nvim.type("1<CR>")
    desk.nvim.type(":NeuralForge train<CR>")
    desk.said("the training has started")
    shows(desk, "learning 0 %")
    desk.nvim.type(":NeuralForge pause<CR>")
    shows(desk, "learning paused")
    desk.nvim.type(":NeuralForge resume<CR>")
    shows(desk, "learning 0 %")
    desk.nvim.type(":NeuralForge cancel<CR>")
    shows(desk, "idle")
    with SessionLog.open_to_read(desk.home.session_log) as log:
        assert log.consent(desk.folder) == "yes"
    publish(desk.home, PERSONAL)
    shows(desk, "personal@v0001")
