"""The plugin as its README says to install it, from a git repository that holds it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.nvim.conftest import ATTACHED, PLUGIN
from e2e.nvim.driver import Neovim
from git_maker import GitMaker, isolate
from neuralforge_adapters.home import HOME_VARIABLE, Home

BLOCKS = re.findall(r"```lua\n(.*?)```", (PLUGIN / "README.md").read_text(encoding="utf-8"), re.S)
HELP = "vim.fn.getcompletion(':NeuralForge-train', 'help')[1] ~= nil"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with the plugin where ours has it."""
    isolate(monkeypatch, tmp_path)
    folder = tmp_path / "repository"
    shutil.copytree(PLUGIN, folder / "editor-clients/neovim", ignore=shutil.ignore_patterns("tags"))
    git = GitMaker(folder)
    git.git("add", "--all")
    git.git("commit", "--quiet", "--message", "The plugin")
    return folder


@pytest.fixture
def nvim(nvim_program: Path, home: Home, tmp_path: Path) -> Iterator[Neovim]:
    """A Neovim without the plugin that finds the server on its path."""
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    variables = {HOME_VARIABLE: str(home.root), "PATH": programs}
    with Neovim(nvim_program, tmp_path / "nvim", variables) as nvim:
        yield nvim


def configure(nvim: Neovim, lines: str, folder: Path) -> None:
    """Let Neovim run lines of a configuration, which says when it is done."""
    lines += "vim.api.nvim_echo({ { 'configured' } }, false, {})\n"
    (folder / "init.lua").write_text(lines, encoding="utf-8")
    nvim.type(f":luafile {folder}/init.lua<CR>")


def works(nvim: Neovim, folder: Path) -> None:
    nvim.wait("the configuration", lambda: "configured" in nvim.screen.text())
    assert nvim.lua("return vim.fn.exists(':NeuralForge')") == 2
    (folder / "source.py").write_text("import os\n")
    nvim.command(f"edit {folder}/source.py")
    nvim.wait_lua("the server is attached", ATTACHED)


def test_by_vim_pack_after_its_question(nvim: Neovim, repository: Path, tmp_path: Path) -> None:
    (lines,) = (block for block in BLOCKS if "vim.pack.add" in block)
    configure(nvim, lines.replace("<this repository>", repository.as_uri()), tmp_path)
    nvim.wait("the question", lambda: "will be installed" in nvim.screen.text())
    nvim.type("y")
    works(nvim, tmp_path)
    nvim.wait_lua("its help is found", HELP)


def test_without_a_plugin_manager(nvim: Neovim, repository: Path, tmp_path: Path) -> None:
    (lines,) = (block for block in BLOCKS if block.startswith("vim.opt.runtimepath"))
    lines = lines.replace("<this repository>", str(repository))
    configure(nvim, lines + "vim.cmd.runtime('plugin/neuralforge.lua')\n", tmp_path)
    works(nvim, tmp_path)
