"""The plugin's Lua as luacheck and StyLua want it, and a help whose tags all lead somewhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from e2e.conftest import had
from e2e.install.lua import luacheck, unformatted
from e2e.nvim.conftest import PLUGIN
from e2e.nvim.driver import Neovim


def test_luacheck_finds_nothing() -> None:
    done = had(lambda: luacheck(PLUGIN))
    assert done.returncode == 0 and "0 warnings / 0 errors" in done.stdout, done.stdout


def test_stylua_would_change_nothing() -> None:
    assert had(lambda: unformatted(PLUGIN)) == []


@pytest.fixture
def nvim(nvim_program: Path, tmp_path: Path) -> Neovim:
    return Neovim(nvim_program, tmp_path / "nvim", {})


def test_the_help_has_a_tag_for_whatever_it_refers_to(nvim: Neovim, tmp_path: Path) -> None:
    shutil.copytree(PLUGIN / "doc", tmp_path / "plugin/doc")
    text = (PLUGIN / "doc/neuralforge.txt").read_text(encoding="utf-8")
    with nvim:
        nvim.command(f"set runtimepath+={tmp_path}/plugin")
        nvim.command(f"helptags {tmp_path}/plugin/doc")
        known = "return vim.fn.getcompletion(..., 'help')"
        for name in {*re.findall(r"(?<!\w)\|([^\s|]+)\|(?!\w)", text), "neuralforge"}:
            assert name in nvim.lua(known, name), name
