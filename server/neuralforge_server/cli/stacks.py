"""`neuralforge stacks`: the stacks that have a name, from a terminal.

Running servers watch the stack in force, so that one that is used here is served at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neuralforge_adapters.base import open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.named_stacks import NamedStack, NamedStacks
from neuralforge_adapters.stack import ResolvedStack, StackFile, usable
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.cli.common import (
    adapter_option,
    base_option,
    json_option,
    print_json,
    print_table,
    profile_option,
    stack_entry,
)
from neuralforge_server.pickers import Shelf


@click.group(name="stacks", epilog="Example: neuralforge stacks save work")
def command() -> None:
    """List, save, use and remove stacks that have a name."""


@command.command(name="list", epilog="Example: neuralforge stacks list --json")
@base_option
@profile_option
@json_option
def list_(base: Path | None, home: Home, as_json: bool) -> None:
    """Every named stack, what is on it, and whether it fits the base in use."""
    rows = Shelf(home, open_base(base, home), ResolvedStack()).stacks()
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(
            "No stack has a name yet. `neuralforge stacks save NAME` names the one in force."
        )
    else:
        columns = ["name", "in force", "adapters", "base", "problem"]
        print_table("Stacks", columns, [_cells(row) for row in rows])


@command.command(epilog="Example: neuralforge stacks save work --adapter 'personal*0.8'")
@click.argument("name")
@adapter_option
@base_option
@profile_option
@json_option
def save(
    name: str, adapters: tuple[str, ...], base: Path | None, home: Home, as_json: bool
) -> None:
    """Keep the stack in force as NAME; with --adapter, exactly those instead."""
    entries = tuple(map(stack_entry, adapters)) or StackFile(home).read()
    stack = NamedStacks(home).save(name, entries, open_base(base, home).digest)
    _report(stack, f"Saved {name!r}: {_described(stack)}.", as_json)


@command.command(epilog="Example: neuralforge stacks use work")
@click.argument("name")
@base_option
@profile_option
@json_option
def use(name: str, base: Path | None, home: Home, as_json: bool) -> None:
    """Put exactly the stack NAME in force, if the base in use can serve it."""
    stack = NamedStacks(home).get(name)
    _, problems = usable(stack.entries, AdapterStore(home), open_base(base, home).digest)
    if problems:
        raise problems[0]
    StackFile(home).write(stack.entries)
    _report(stack, f"In force: {_described(stack)}.", as_json)


@command.command(epilog="Example: neuralforge stacks remove work")
@click.argument("name")
@profile_option
@json_option
def remove(name: str, home: Home, as_json: bool) -> None:
    """Forget the stack NAME; its adapters stay."""
    stack = NamedStacks(home).remove(name)
    _report(stack, f"Forgotten: {name!r} ({_described(stack)}).", as_json)


def _cells(row: dict[str, Any]) -> list[object]:
    adapters = ", ".join(f"{a['adapter']} × {a['scale']:g}" for a in row["adapters"])
    in_force = "yes" if row["in_force"] else ""
    return [row["name"], in_force, adapters or "the base alone", row["base"], row["problem"]]


def _described(stack: NamedStack) -> str:
    return ", ".join(f"{e.adapter} × {e.scale:g}" for e in stack.entries) or "the base alone"


def _report(stack: NamedStack, words: str, as_json: bool) -> None:
    if as_json:
        print_json(stack)
    else:
        click.echo(words)
