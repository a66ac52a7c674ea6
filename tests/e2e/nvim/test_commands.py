"""`:NeuralForge` in Neovim: what serves is changed and seen, looked up, kept, and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.homes import publish, rows
from e2e.nvim.conftest import PLUGIN, Desk, Start
from git_maker import GitMaker, isolate


@pytest.fixture(scope="module")
def shared(start: Start) -> Desk:
    """A Neovim whose suggestions come from base and stack alone."""
    return start(settings={"memory": {"scale": 0}, "context": {"enabled": False}})


@pytest.fixture(autouse=True)
def _bare_stack(desk: Desk) -> Iterator[None]:
    desk.forget_messages()
    yield
    desk.nvim.type("<Esc>")
    desk.open("last.txt", "")
    desk.execute("adapter.swap")


def choose(desk: Desk, prompt: str, number: int) -> None:
    """Answer `vim.ui.select` as Neovim asks by itself: by the number."""
    desk.nvim.wait(prompt, lambda: prompt in desk.nvim.screen.text())
    desk.nvim.type(f"{number}<CR>")


def test_a_swapped_adapter_suggests_something_else_and_unloading_it_restores(desk: Desk) -> None:
    publish(desk.home, "babble", strength=0.3)
    desk.open()
    first = desk.type_until_ghost()
    desk.nvim.type("<C-]>")
    desk.nvim.command("NeuralForge swap babble")
    assert "babble@v0001" in desk.said("in force")
    desk.nvim.command("lua require('neuralforge').trigger()")
    desk.nvim.wait("another suggestion", lambda: desk.nvim.ghost() not in ("", first))
    desk.nvim.type("<C-]>")
    desk.nvim.command("NeuralForge unload babble")
    desk.said("no adapter")
    desk.nvim.type("t")
    desk.nvim.wait("the first again", lambda: desk.nvim.ghost() == first[1:])


def test_a_picker_shows_base_scale_and_metrics_and_loads_what_is_chosen(desk: Desk) -> None:
    publish(desk.home, "chosen")
    desk.open()
    desk.nvim.command("NeuralForge adapters")
    desk.nvim.wait("the list", lambda: "chosen@v0001" in desk.nvim.screen.text())
    listed = [line for line in desk.nvim.screen.text().splitlines() if "chosen@v0001" in line]
    assert "base embedded" in listed[0] and "not measured" in listed[0]
    desk.nvim.type(listed[0].strip().partition(":")[0] + "<CR>")
    choose(desk, "Serve it alone", 2)
    desk.nvim.wait("the stack", lambda: "in force: chosen@v0001" in desk.nvim.screen.text())
    desk.nvim.type("<CR>")
    desk.nvim.command("NeuralForge scale chosen 0.5")
    assert "×0.50" in desk.said("×")


def test_a_stack_is_saved_and_used_by_name(desk: Desk) -> None:
    publish(desk.home, "kept")
    desk.open()
    desk.nvim.command("NeuralForge load kept 0.5")
    desk.said("in force: kept")
    desk.nvim.command("NeuralForge stack-save half")
    desk.said("kept as half")
    desk.nvim.command("NeuralForge unload kept")
    desk.said("no adapter")
    desk.forget_messages()
    desk.nvim.command("NeuralForge stack-use half")
    assert "kept@v0001 ×0.50" in desk.said("in force")


def test_what_the_server_refuses_is_said_in_its_words(desk: Desk) -> None:
    desk.open()
    desk.nvim.command("NeuralForge load nobody")
    assert "nobody" in desk.said("nobody")


def test_subcommands_and_their_arguments_are_completed(desk: Desk) -> None:
    publish(desk.home, "completed")
    desk.open()
    complete = "return vim.fn.getcompletion(..., 'cmdline')"
    assert desk.nvim.lua(complete, "NeuralForge stack") == [
        "stack-remove",
        "stack-save",
        "stack-use",
        "stacks",
    ]
    assert "completed@v0001" in desk.nvim.lua(complete, "NeuralForge load com")
    assert desk.nvim.lua(complete, "NeuralForge toggle w") == ["workspace"]


def test_the_log_is_shown_and_purged(desk: Desk) -> None:
    path = desk.open()
    desk.type_until_ghost()
    desk.nvim.type("<Tab>")
    desk.nvim.wait_lua("it is written", "#vim.fn.getline(10) > 20")
    desk.nvim.type("<Esc>")
    assert desk.logged(path)
    desk.nvim.command("NeuralForge log source.py")
    desk.nvim.wait("the rows", lambda: "accepted" in desk.nvim.screen.text())
    desk.nvim.type("<CR>")
    desk.nvim.command("call feedkeys(\":NeuralForge purge everything\\<CR>\", 't')")
    desk.nvim.wait("the question", lambda: "(Y)es" in desk.nvim.screen.text())
    desk.nvim.type("y")
    desk.said("deleted")
    assert rows(desk.home) == []


def test_consent_is_given_for_the_repository_of_the_file(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    GitMaker(desk.folder).commit({"a.py": "x = 1\n"})
    desk.open()
    desk.nvim.command("NeuralForge consent no")
    assert desk.folder.name in desk.said("learning from")
    uri = (desk.folder / "a.py").as_uri()
    assert desk.execute("consent.state", uri)["answer"] == "no"


def test_status_shows_base_stack_learning_and_the_log(desk: Desk) -> None:
    desk.open()
    desk.type_until_ghost()
    desk.nvim.type("<Esc>")
    desk.nvim.command("NeuralForge")
    desk.nvim.wait("the window", lambda: "Home " in desk.nvim.screen.text())
    shown = desk.nvim.screen.text()
    assert "no adapter" in shown and "p50" in shown and str(desk.home.root)[:20] in shown
    desk.nvim.type("q")


def test_the_statusline_shows_base_stack_learning_latency(desk: Desk) -> None:
    desk.open()
    desk.nvim.command("set laststatus=2 statusline=%{v:lua.require'neuralforge'.statusline()}")
    desk.type_until_ghost()
    desk.nvim.wait("the line", lambda: "NF embedded · idle · " in desk.nvim.screen.text())
    desk.nvim.wait("the latency", lambda: " ms" in desk.nvim.screen.text())
    desk.nvim.command("NeuralForge pause")
    desk.nvim.wait("the pause", lambda: "learning paused" in desk.nvim.screen.text())
    desk.nvim.command("NeuralForge resume")
    desk.nvim.wait("no pause", lambda: "learning paused" not in desk.nvim.screen.text())


def test_the_report_is_written_and_opened(desk: Desk) -> None:
    desk.open()
    desk.nvim.lua("vim.ui.open = function(uri) vim.g.opened = uri end")
    desk.nvim.type(":NeuralForge report<CR>")
    desk.nvim.wait_lua("it is opened", "vim.g.opened ~= nil")
    page = Path(desk.said("the report is").partition("is ")[2])
    assert page.as_uri() == desk.nvim.lua("return vim.g.opened")
    assert "<html" in page.read_text(encoding="utf-8")


def test_the_personal_adapter_is_exported(desk: Desk, tmp_path: Path) -> None:
    publish(desk.home, "personal")
    desk.open()
    desk.nvim.type(f":NeuralForge export {tmp_path}/mine.zip<CR>")
    desk.said("exported to")
    assert (tmp_path / "mine.zip").stat().st_size > 0


def test_an_unknown_subcommand_is_named(desk: Desk) -> None:
    desk.nvim.type(":NeuralForge frobnicate<CR>")
    assert "frobnicate" in desk.said("there is no subcommand")


def test_the_help_has_tags_for_every_subcommand(desk: Desk) -> None:
    tags = desk.nvim.lua("return vim.tbl_keys(require('neuralforge.command').subcommands)")
    text = (PLUGIN / "doc/neuralforge.txt").read_text()
    assert [name for name in tags if f":NeuralForge {name}" not in text] == []
