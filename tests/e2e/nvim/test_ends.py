"""What ends while one types in Neovim: server and engine are said once and come back."""

from __future__ import annotations

import os
import signal

import psutil

from e2e.homes import publish
from e2e.nvim.conftest import ATTACHED, Desk, Start

LINE = 'with open(path, encoding="utf-8") as handle:'
NEXT = "#vim.lsp.get_clients({ name = 'neuralforge' }) > 0 and " + ATTACHED


def server_of(desk: Desk) -> psutil.Process:
    """The server's process: the parent of its engine."""
    parent = psutil.Process(desk.execute("status")["engine"]["pid"]).parent()
    assert parent is not None
    return parent


def test_a_killed_server_is_said_once_and_completes_again(desk: Desk) -> None:
    desk.open()
    desk.type_until_ghost()
    server = server_of(desk)
    server.send_signal(signal.SIGKILL)
    desk.said("the server ended by signal 9")
    desk.nvim.type("t")
    desk.nvim.wait_lua("another server", NEXT)
    assert server_of(desk).pid != server.pid
    desk.until("its engine is ready", desk.engine_is_ready)
    desk.nvim.type("h")
    desk.nvim.wait("ghost text", lambda: desk.nvim.ghost().startswith(LINE.removeprefix("with")))
    assert len(desk.messages) == 1
    assert "quit" not in desk.nvim.lua("return vim.fn.execute('messages')")


def test_a_killed_engine_is_said_once_and_completes_again(desk: Desk) -> None:
    desk.open()
    desk.type_until_ghost()
    desk.forget_messages()
    os.kill(desk.execute("status")["engine"]["pid"], signal.SIGKILL)
    desk.said("engine")
    desk.nvim.type("t")  # while it starts again, nothing is suggested
    desk.until("the engine is back", desk.engine_is_ready)
    desk.nvim.type("h")
    desk.nvim.wait("ghost text", lambda: desk.nvim.ghost().startswith(LINE.removeprefix("with")))
    assert len(desk.messages) == 1


def test_an_adapter_that_is_loaded_in_one_neovim_serves_in_another(
    desk: Desk, start: Start
) -> None:
    publish(desk.home, "both")
    other = start(home=desk.home)
    for one in (desk, other):
        path = one.open()
        one.type_until_ghost()
        assert one.logged(path)
    desk.nvim.command("NeuralForge load both")
    line = "require('neuralforge').statusline():find('both@v0001', 1, true)"
    other.nvim.wait_lua("the other knows", line)
    desk.execute("adapter.swap")


def test_restart_by_command(desk: Desk) -> None:
    desk.open()
    desk.type_until_ghost()
    before = server_of(desk).pid
    desk.nvim.type("<Esc>")
    desk.nvim.command("NeuralForge restart")
    desk.nvim.wait_lua("another server", NEXT)
    assert server_of(desk).pid != before
