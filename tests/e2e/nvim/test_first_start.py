"""The first start in Neovim: the server is installed after asking; what fails is one message."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.nvim.conftest import ATTACHED, READERS, Desk, Start
from e2e.package_index import PackageIndex

ONLY_PATH = "vim.env.PATH = ..."
"""Programs are found there and nowhere else."""


def open_without_server(start: Start, path: str, text: str = READERS, **server: Any) -> Desk:
    """A Neovim that finds no server on its PATH, with a file open."""
    desk = start(welcomed=False, server=server)
    desk.nvim.lua(ONLY_PATH, path)
    file = desk.folder / "source.py"
    file.parent.mkdir()
    file.write_text(text)
    desk.nvim.type(f":edit {file}<CR>")
    return desk


def answer(desk: Desk, number: int) -> None:
    desk.nvim.wait("the question", lambda: "Not now" in desk.nvim.screen.text())
    desk.nvim.type(f"{number}<CR>")


def only(folder: Path, **programs: str) -> str:
    """A PATH on which there are only these scripts."""
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_it_is_installed_from_an_index_after_asking_and_works_at_once(
    start: Start, package_index: PackageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_without_server(start, "/usr/bin:/bin", index_url=package_index.url)
    assert not [path for path in package_index.requests if "neuralforge" in path]
    answer(desk, 1)
    desk.nvim.wait("progress", lambda: "Installing NeuralForge" in desk.nvim.screen.text())
    desk.nvim.wait_lua("the server is attached", ATTACHED, seconds=240)
    desk.nvim.wait("the screen", lambda: "What is kept" in desk.nvim.screen.text())
    assert str(desk.home.root)[-20:] in desk.nvim.screen.text()
    desk.nvim.type("q")
    assert desk.type_until_ghost()
    assert [path for path in package_index.requests if "neuralforge" in path]


def test_uv_installs_it_where_there_is_uv(
    start: Start, package_index: PackageIndex, uv_folder: Path, tmp_path: Path
) -> None:
    path = f"{uv_folder}:{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"
    desk = open_without_server(start, path, index_url=package_index.url)
    answer(desk, 1)
    desk.nvim.wait_lua("the server is attached", ATTACHED, seconds=240)
    (environment,) = desk.folder.parent.rglob("pyvenv.cfg")
    assert "uv = " in environment.read_text()
    desk.nvim.wait("the screen", lambda: "What is kept" in desk.nvim.screen.text())
    desk.nvim.type("q")
    assert desk.type_until_ghost()


def test_not_now_installs_nothing_and_says_how(start: Start, tmp_path: Path) -> None:
    desk = open_without_server(start, only(tmp_path / "bin"))
    answer(desk, 3)
    desk.nvim.wait("the way", lambda: ":NeuralForge install" in desk.nvim.screen.text())


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({}, "no Python was found"),
        ({"python3": "echo Python 3.8.10"}, "Python 3.8.10 is too old"),
        (
            {"uv": "echo 'error: Failed to build `llama-cpp-python`'; exit 1"},
            "install a C++ compiler",
        ),
        ({"uv": "echo 'error sending request: Connection refused'; exit 1"}, "check the network"),
    ],
    ids=["no Python", "an old Python", "no compiler", "no network"],
)
def test_what_is_missing_is_one_message_with_the_step_that_mends_it(
    start: Start, tmp_path: Path, programs: dict[str, str], said: str
) -> None:
    desk = start(server={})
    desk.nvim.lua(ONLY_PATH, only(tmp_path / "bin", **programs))
    desk.nvim.type(":NeuralForge install<CR>")
    assert ":NeuralForge install" in desk.said(said)
    assert len(desk.messages) == 1


def test_a_folder_that_cannot_be_written_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    desk = start(server={})
    desk.nvim.lua("vim.env.XDG_DATA_HOME = ...", str(tmp_path / "file"))
    desk.nvim.type(":NeuralForge install<CR>")
    assert "make it writable" in desk.said("cannot be written")


def test_a_home_that_cannot_be_written_is_named_and_completion_works(
    start: Start, tmp_path: Path
) -> None:
    from neuralforge_adapters.home import Home

    (tmp_path / "file").touch()
    desk = start(home=Home(tmp_path / "file" / "home"))
    desk.open()
    desk.said("home")
    assert len(desk.messages) == 1


def test_a_server_of_another_version_is_named(start: Start) -> None:
    desk = start()
    desk.nvim.lua("require('neuralforge.server').VERSION = '9.9'")
    desk.open()
    assert ":NeuralForge install" in desk.said("needs 9.9")


def test_the_health_check_names_server_engine_and_keys(start: Start) -> None:
    desk = start()
    desk.open()
    desk.nvim.lua("vim.cmd.checkhealth('neuralforge')")
    report = "\n".join(desk.nvim.lines)
    assert "engine:" in report and "Running: version" in report and "accept: <Tab>" in report
