"""The documentation of the server's commands is made from their code."""

from __future__ import annotations

from pathlib import Path

from neuralforge_server.commands import COMMANDS, docs_table


def test_the_docs_of_the_commands_are_not_stale() -> None:
    docs = Path(__file__).parents[2] / "docs" / "lsp-commands.md"
    assert docs.read_text("utf-8") == docs_table()


def test_every_command_says_its_arguments_and_its_result() -> None:
    assert all("→" in (handler.__doc__ or "") for handler in COMMANDS.values())
