"""What subcommands share: options, homes, running the trainer, and printing a result."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Table

from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import StackEntry

Function = TypeVar("Function", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

base_option = click.option(
    "--base",
    type=click.Path(path_type=Path),
    help="A GGUF base instead of the one in use.",
)

adapter_option = click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="NAME|PATH[*SCALE]",
    help="An adapter on top of the stack in force; may be given several times.",
)


def profile_option(function: Function) -> Function:
    """`--profile NAME`, handed to the command as its `home`."""
    return click.option(
        "--profile",
        "home",
        callback=lambda _context, _parameter, name: Home.find(name),
        help="Which of your profiles to use (each has its own log, adapters and stack).",
    )(function)


def stack_entry(text: str) -> StackEntry:
    """The stack entry that `name`, `name@v0003`, `path` or any of them with `*0.5` means."""
    name, star, scale = text.rpartition("*")
    if not star:
        return StackEntry(text)
    try:
        return StackEntry(name, float(scale))
    except ValueError as error:
        raise click.BadParameter(f"{scale!r} is no scale; write for example {name}*0.5") from error


def print_json(value: Any) -> None:
    """One JSON document on stdout; dataclasses and paths as plain values."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def print_table(title: str, columns: list[str], rows: list[list[object]]) -> None:
    """A table on stdout, as wide as the terminal, plain where it is no terminal."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(soft_wrap=False).print(table)


def run_trainer(
    module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> NoReturn:
    """Run a module of the trainer in the foreground, then exit with its status.

    Being asked to end (SIGTERM) is passed on, so that it can save first.

    Args:
        environment: what it gets besides this process's own environment.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments], env=os.environ | (environment or {})
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            sys.exit(process.wait())
        except KeyboardInterrupt:  # the trainer got it too: it saves, then ends
            continue


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
