"""Typing in Neovim: ghost text is drawn, taken whole or in part, and what became of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from e2e.nvim.conftest import Desk
from e2e.nvim.driver import GHOST
from e2e.nvim.picture import svg

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
LINE = 'with open(path, encoding="utf-8") as handle:'
WRITTEN = "vim.fn.getline(10):match('handle:$')"


def ghost(desk: Desk, typed: str) -> Callable[[], bool]:
    """Whether the ghost text goes on after what is typed of the line."""
    return lambda: desk.nvim.ghost().startswith(LINE.removeprefix(typed))


def test_ghost_text_stands_on_the_screen_and_not_in_the_buffer(desk: Desk) -> None:
    desk.open()
    assert desk.type_until_ghost().startswith(LINE.removeprefix("wi"))
    assert "    " + LINE in desk.nvim.look()
    assert desk.nvim.lines[-1] == "    wi"


def test_a_picture_of_the_screen_is_kept(desk: Desk) -> None:
    desk.open()
    desk.nvim.command("set laststatus=2 statusline=%t%=%{v:lua.require'neuralforge'.statusline()}")
    desk.nvim.command("syntax on")
    desk.type_until_ghost()
    desk.nvim.wait("the latency", lambda: " ms" in desk.nvim.screen.text())
    picture = svg(desk.nvim.screen)
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / "nvim-ghost-text.svg").write_text(picture, encoding="utf-8")
    assert f'fill="#{GHOST:06x}"' in picture and "th\u00a0open(path" in picture


def test_tab_writes_the_suggestion_and_the_log_knows(desk: Desk) -> None:
    path = desk.open()
    desk.type_until_ghost()
    desk.nvim.type("<Tab>")
    desk.nvim.wait_lua("the line is written", WRITTEN)
    assert desk.nvim.lines[9] == "    " + LINE
    desk.becomes(path, ("accepted", "client"))


def test_a_word_and_then_a_line_are_taken(desk: Desk) -> None:
    path = desk.open()
    desk.type_until_ghost()
    desk.nvim.type("<M-Right>")
    desk.nvim.wait_lua("a word is written", "vim.api.nvim_get_current_line():match('with$')")
    desk.nvim.wait("the rest", ghost(desk, "with"))
    assert desk.becomes(path, ("partial", "client")).accepted_length == 2
    desk.nvim.type("<M-C-Right>")
    desk.nvim.wait_lua("the line is written", WRITTEN)
    desk.becomes(path, ("accepted", "client"))


def test_tab_is_tab_where_nothing_is_suggested(desk: Desk) -> None:
    desk.open("plain.py", "")
    desk.nvim.command("lua require('neuralforge').dismiss()")
    desk.nvim.type("i<C-]><Tab>x")
    desk.nvim.wait_lua("a tab is typed", "vim.api.nvim_get_current_line():match('x')")
    assert desk.nvim.lines[0].strip(" \t") == "x" and desk.nvim.lines[0] != "x"


def test_dismissed_text_is_gone_until_something_is_typed_and_the_log_knows(desk: Desk) -> None:
    path = desk.open()
    desk.type_until_ghost()
    desk.nvim.type("<C-]>")
    desk.nvim.wait("no ghost text", lambda: not desk.nvim.ghost())
    desk.becomes(path, ("dismissed", "client"))
    desk.nvim.type("t")
    desk.nvim.wait("ghost text", ghost(desk, "wit"))


def test_candidates_are_asked_for_and_looked_through(desk: Desk) -> None:
    desk.open()
    desk.type_until_ghost()
    desk.nvim.type("<M-\\>")
    desk.nvim.wait("several", lambda: "(1/" in desk.nvim.screen.text())
    first = desk.nvim.ghost()
    desk.nvim.type("<M-]>")
    other = desk.nvim.wait(
        "the second", lambda: "(2/" in desk.nvim.screen.text() and desk.nvim.ghost()
    )
    assert other != first
    desk.nvim.type("<M-[>")
    desk.nvim.wait("the first again", lambda: desk.nvim.ghost() == first)


def test_one_undo_takes_back_what_was_accepted(desk: Desk) -> None:
    desk.open()
    desk.type_until_ghost()
    desk.nvim.type("<Tab>")
    desk.nvim.wait_lua("the line is written", WRITTEN)
    desk.nvim.type("<Esc>u")
    desk.nvim.wait_lua("only what was typed stays", "vim.api.nvim_get_current_line() == '    wi'")
