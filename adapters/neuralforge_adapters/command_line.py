"""How every command line of the project ends. Knows no command."""

from __future__ import annotations

import sys

import click

from neuralforge_adapters.errors import NeuralForgeError


def run_command(command: click.Command, name: str = "neuralforge") -> None:
    """Run a command line; an error that the user can mend is one message and status 1.

    `-h` is `--help` in all of them, since one passes its arguments on to another.

    Args:
        name: of the program, as its help shows it.
    """
    try:
        command(prog_name=name, help_option_names=["-h", "--help"])
    except NeuralForgeError as error:
        click.echo(f"neuralforge: {error}", err=True)
        sys.exit(1)
