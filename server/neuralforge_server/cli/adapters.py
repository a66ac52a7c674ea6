"""`neuralforge adapters`: the adapter store and the stack in force, from a terminal.

Running servers watch both, so that a change here is served at once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from neuralforge_adapters.base import open_base
from neuralforge_adapters.export import export_version
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import (
    Entries,
    StackEntry,
    StackFile,
    usable,
    with_adapter,
    without_adapter,
)
from neuralforge_adapters.store import AdapterStore, AdapterVersion
from neuralforge_server.cli.common import (
    base_option,
    json_option,
    print_json,
    print_table,
    profile_option,
)


@click.group(name="adapters", epilog="Example: neuralforge adapters list")
def command() -> None:
    """List, show, load, unload, roll back and export adapters."""


@command.command(name="list", epilog="Example: neuralforge adapters list --json")
@profile_option
@json_option
def list_(home: Home, as_json: bool) -> None:
    """Every adapter with its versions, and which of them are in the stack."""
    store, loaded = AdapterStore(home), _scales(StackFile(home).read())
    rows = [
        _row(version, store, loaded) for name in store.names() for version in store.versions(name)
    ]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("No adapters yet. `neuralforge train --from-git .` makes your first one.")
    else:
        print_table("Adapters", list(rows[0]), [list(row.values()) for row in rows])


@command.command(epilog="Example: neuralforge adapters show personal@v0002")
@click.argument("reference")
@profile_option
@json_option
def show(reference: str, home: Home, as_json: bool) -> None:
    """One version: its base, its parents, what it learned from and how it was measured."""
    version = AdapterStore(home).get(reference)
    if as_json:
        print_json(version)
        return
    manifest = version.manifest
    click.echo(f"{version.reference}  rank {manifest.rank}  alpha {manifest.alpha:g}")
    click.echo(f"  base     {manifest.base_digest}")
    click.echo(f"  digest   {manifest.digest}")
    click.echo(f"  parent   {manifest.parent or '(the base)'}")
    click.echo(f"  made     {_when(manifest.created)}")
    for title, content in (("data", manifest.data), ("metrics", manifest.metrics)):
        for key, value in content.items():
            click.echo(f"  {title:8} {key}: {value}")


@command.command(epilog="Example: neuralforge adapters load personal --scale 0.8")
@click.argument("adapter")
@click.option("--scale", type=float, default=1.0, show_default=True)
@base_option
@profile_option
@json_option
def load(adapter: str, scale: float, base: Path | None, home: Home, as_json: bool) -> None:
    """Put ADAPTER (a name, name@version or file) on the stack, or change its scale."""
    entry = StackEntry(adapter, scale)
    _, problems = usable((entry,), AdapterStore(home), open_base(base, home).digest)
    if problems:
        raise problems[0]
    _report(StackFile(home).update(lambda old: with_adapter(old, entry)), as_json)


@command.command(epilog="Example: neuralforge adapters unload personal")
@click.argument("adapter")
@profile_option
@json_option
def unload(adapter: str, home: Home, as_json: bool) -> None:
    """Take ADAPTER off the stack; its files stay."""
    _report(StackFile(home).update(lambda old: without_adapter(old, adapter)), as_json)


@command.command(epilog="Example: neuralforge adapters rollback personal")
@click.argument("reference", default="personal")
@base_option
@profile_option
@json_option
def rollback(reference: str, base: Path | None, home: Home, as_json: bool) -> None:
    """Make an older version current: the one that was before, or the one named (name@v0001)."""
    store = AdapterStore(home)
    if "@" in reference:
        version = store.set_current(reference)
    else:
        version = store.roll_back(reference, open_base(base, home).digest)
    if as_json:
        print_json(version)
    else:
        click.echo(f"{version.reference} is in force now.")


@command.command(epilog="Example: neuralforge adapters export personal mine.zip")
@click.argument("reference")
@click.argument("target", type=click.Path(path_type=Path))
@profile_option
@json_option
def export(reference: str, target: Path, home: Home, as_json: bool) -> None:
    """Write a version to TARGET: a zip file where it ends in .zip, else a folder.

    It holds what PEFT and llama.cpp read. The manifest in it names no repository and no person.
    """
    version = AdapterStore(home).get(reference)
    written = export_version(version, target)
    if as_json:
        print_json({"adapter": version.reference, "path": written})
    else:
        click.echo(f"{version.reference} is in {written}")


def _scales(entries: Entries) -> dict[str, float]:
    return {entry.adapter: entry.scale for entry in entries}


def _row(version: AdapterVersion, store: AdapterStore, loaded: dict[str, float]) -> dict[str, Any]:
    current = store.current(version.name)
    is_current = current is not None and current.version == version.version
    scale = loaded.get(version.reference)
    if scale is None and is_current:
        scale = loaded.get(version.name)
    return {
        "adapter": version.reference,
        "current": "yes" if is_current else "",
        "scale": scale,
        "base": version.manifest.base_digest[:12],
        "rank": version.manifest.rank,
        "made": _when(version.manifest.created),
    }


def _report(entries: Entries, as_json: bool) -> None:
    if as_json:
        print_json(entries)
    elif not entries:
        click.echo("The stack is empty: the base alone is served.")
    else:
        print_table("Stack", ["adapter", "scale"], [[e.adapter, e.scale] for e in entries])


def _when(created: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(created))
