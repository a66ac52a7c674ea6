"""Suggestions switched off and on from Neovim: the server follows, and most of it lasts."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.nvim.conftest import Desk, Start

SHOWN = "Gowi"


def engine(desk: Desk) -> str:
    state: str = desk.execute("status")["engine"]["state"]
    return state


@pytest.mark.parametrize("scope", ["global", "language", "workspace", "buffer"])
def test_suggestions_are_switched_off_and_on(desk: Desk, scope: str) -> None:
    desk.open()
    desk.forget_messages()
    desk.nvim.command(f"NeuralForge toggle {scope}")
    desk.said("off")
    before = desk.execute("status")["completion"]["requests"]
    desk.nvim.type(SHOWN)
    desk.nvim.wait_lua("it is typed", "vim.fn.getline(10) == '    wi'")
    assert desk.execute("status")["completion"]["requests"] == before
    desk.nvim.command(f"NeuralForge toggle {scope}")
    desk.type_until_ghost("t")


def test_switched_off_everywhere_there_is_no_engine_also_after_a_restart(
    desk: Desk, start: Start
) -> None:
    first = start()
    first.open()
    first.type_until_ghost()
    first.nvim.type("<Esc>:NeuralForge toggle<CR>")
    first.said("off")
    assert engine(first) == "stopped"
    first.nvim.close()
    again = start(home=first.home, folder=first.folder.parent)
    again.open()
    assert engine(again) == "stopped"
    again.nvim.type(":NeuralForge toggle<CR>")
    again.said("on")
    again.type_until_ghost()


def test_the_most_specific_word_counts_and_the_server_knows_it(desk: Desk) -> None:
    opened = [desk.open("other.py"), desk.open()]
    desk.nvim.command("NeuralForge toggle language")
    assert [allowed(desk, path) for path in opened] == [False, False]
    desk.nvim.command("NeuralForge toggle buffer")
    assert [allowed(desk, path) for path in opened] == [False, True]
    desk.type_until_ghost(SHOWN)
    desk.nvim.command("NeuralForge toggle language")
    assert [allowed(desk, path) for path in opened] == [True, True]


def allowed(desk: Desk, path: Path) -> bool:
    """What the server has been told of a document, which is switched over and back to learn it."""
    request = {"scope": "document", "target": path.as_uri()}
    other = desk.execute("completion.toggle", request)["enabled"]
    assert desk.execute("completion.toggle", request)["enabled"] is not other
    return not other


def test_a_scope_that_there_is_not_is_named(desk: Desk) -> None:
    desk.nvim.type(":NeuralForge toggle galaxy<CR>")
    assert "galaxy" in desk.said("there is no scope")
