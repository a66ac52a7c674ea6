"""Who draws the ghost text: the plugin in Neovim 0.11 and 0.12, or Neovim 0.12 by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.nvim.conftest import Desk, Start

LINE = 'with open(path, encoding="utf-8") as handle:'
BUILTIN = "vim.api.nvim_set_hl(0, 'ComplHint', { link = 'NeuralForgeGhost' })"


@pytest.fixture(scope="module", params=["0.11", "builtin"])
def shared(start: Start, old_nvim_program: Path, request: pytest.FixtureRequest) -> Desk:
    """A Neovim that is too old to draw itself, and one that does."""
    if request.param == "0.11":
        return start(program=old_nvim_program)
    desk = start(ghost_text="builtin")
    desk.nvim.lua(BUILTIN)
    return desk


def test_ghost_text_is_drawn_and_taken_by_word_and_whole(desk: Desk) -> None:
    path = desk.open()
    assert desk.type_until_ghost().startswith(LINE.removeprefix("wi"))
    desk.nvim.type("<M-Right>")
    desk.nvim.wait_lua("a word is written", "vim.fn.getline(10) == '    with'")
    desk.becomes(path, ("partial", "client"))
    desk.nvim.wait("the rest", lambda: desk.nvim.ghost().startswith(LINE.removeprefix("with")))
    desk.nvim.type("<Tab>")
    desk.nvim.wait_lua("the line is written", "vim.fn.getline(10):match('handle:$')")
    desk.becomes(path, ("accepted", "client"))


def test_text_right_of_the_cursor_stays_in_order(desk: Desk) -> None:
    desk.open()
    desk.nvim.type("Gowith open()<Left>")
    desk.type_until_ghost("pa")
    desk.nvim.type("<Tab>")
    desk.nvim.wait_lua("it is written", "#vim.fn.getline(10) > 20")
    assert desk.nvim.lines[9].strip().startswith("with open(path")
    assert desk.nvim.lines[9].count(")") == 1
