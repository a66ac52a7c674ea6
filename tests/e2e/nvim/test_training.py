"""Learning from Neovim: asked for, begun by command, watched, held up, ended, and its result."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from e2e.homes import publish, publish_again
from e2e.nvim.conftest import ATTACHED, Desk, Start
from gguf_maker import make_base
from neuralforge_adapters.store import PERSONAL
from neuralforge_adapters.trainer_files import TrainerState, read_state
from neuralforge_server.session.log import SessionLog

LINE = "require('neuralforge').statusline()"
BY_COMMAND = {"idle_seconds": 86_400, "quiet_seconds": 0, "nice": 0}
"""Nothing is learned unasked, and nothing waits for the typist."""
_PATIENT = 600.0
"""Seconds: a training gets what the machine has left, which may be little."""


@pytest.fixture
def desk(start: Start, house_repository: Path) -> Desk:
    """A Neovim at work in a repository with a history."""
    desk = start(settings={"learning": BY_COMMAND})
    return Desk(desk.nvim, desk.home, house_repository)


@pytest.fixture
def learning(start: Start, house_repository: Path, tmp_path: Path) -> Desk:
    """A Neovim in a clone with a short history, with a base that is trained quickly."""
    base = make_base(
        tmp_path / "small.gguf", layers=2, width=64, heads=2, kv_heads=1, hidden=128,
        vocabulary=12_288,
    )  # fmt: skip
    desk = start(settings={"engine": {"base": str(base)}, "learning": BY_COMMAND})
    own = ["-c", "user.email=ada@example.com"]
    clone = ["git", "clone", "--quiet", "--depth", "16", *own, house_repository.as_uri(), "house"]
    subprocess.run(clone, cwd=tmp_path, check=True, capture_output=True)
    return Desk(desk.nvim, desk.home, tmp_path / "house")


def shows(desk: Desk, text: str, seconds: float = _PATIENT) -> None:
    desk.nvim.wait_lua(f"{text!r}", f"{LINE}:find([==[{text}]==], 1, true)", seconds)


def last_of(desk: Desk) -> TrainerState:
    """What the trainer wrote last."""
    state = read_state(desk.home)
    assert state is not None
    return state


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_is_agreed_to_begun_watched_paused_and_ended_and_its_version_serves(
    desk: Desk,
) -> None:
    source = next(desk.folder.rglob("*.py"))
    desk.nvim.type(f":edit {source}<CR>")
    desk.nvim.wait("the question", lambda: desk.folder.name in desk.nvim.screen.text())
    desk.nvim.wait("the answers", lambda: "1:" in desk.nvim.screen.text())
    desk.nvim.type("1<CR>")
    desk.nvim.wait("the end of the question", lambda: "1:" not in desk.nvim.screen.text())
    desk.nvim.type(":NeuralForge train<CR>")
    desk.said("the training has started")
    shows(desk, "learning 0 %")
    desk.nvim.type(":NeuralForge pause<CR>")
    shows(desk, "learning paused")
    desk.nvim.type(":NeuralForge resume<CR>")
    shows(desk, "learning 0 %")
    desk.nvim.type(":NeuralForge cancel<CR>")
    shows(desk, "idle")
    assert last_of(desk).message == "stopped by `cancel`"
    desk.nvim.type(":NeuralForge train<CR>")
    shows(desk, "learning 0 %")
    desk.nvim.type(":NeuralForge skip<CR>")
    shows(desk, "idle")
    assert last_of(desk).message == "stopped by `skip`"
    desk.nvim.type(":NeuralForge train session<CR>")
    assert "too little is new: 0 new events" in desk.said("Nothing was learnt from", _PATIENT)
    assert not [line for line in desk.messages if "the training has ended" in line]
    with SessionLog.open_to_read(desk.home.session_log) as log:
        assert log.consent(desk.folder) == "yes"
    publish(desk.home, PERSONAL)
    shows(desk, "personal@v0001")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_runs_to_its_end_and_its_version_serves_and_is_rolled_back_to(
    learning: Desk,
) -> None:
    with SessionLog.open(learning.home.session_log) as log:  # else the question may come between
        log.set_consent(learning.folder, "yes")
    source = next(learning.folder.rglob("*.py"))
    learning.nvim.command(f"edit {source}")
    learning.nvim.wait_lua("the server is attached", ATTACHED)
    engine = learning.execute("status")["engine"]
    learning.nvim.type(":NeuralForge train<CR>")
    learning.nvim.wait_lua("progress", f"{LINE}:match('learning [1-9]%d? %%')", _PATIENT)
    shows(learning, "personal@v0001")
    assert "personal@v0001: " in learning.said("the training has ended", _PATIENT)
    (promoted,) = learning.execute("adapter.list")["adapters"]
    assert promoted["current"] and promoted["em"] is not None, "the gate has measured it"
    publish_again(learning.home, PERSONAL)
    shows(learning, "personal@v0002")
    learning.nvim.type(":NeuralForge rollback<CR>")
    assert "personal@v0001" in learning.said("in force")
    shows(learning, "personal@v0001")
    served = learning.execute("status")["engine"]
    assert (served["pid"], served["restarts"]) == (engine["pid"], 0)
