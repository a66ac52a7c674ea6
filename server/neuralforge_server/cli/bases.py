"""`neuralforge bases`: which base models there are, what each takes, and which one is in use.

Invariant: nothing here imports torch; what measures or trains runs in the trainer's process.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neuralforge_adapters.bases import BaseList, locate
from neuralforge_adapters.home import HOME_VARIABLE, PROFILE_VARIABLE, Home
from neuralforge_adapters.trainer_files import is_running
from neuralforge_server.base_rows import base_rows
from neuralforge_server.cli.common import (
    json_option,
    print_json,
    print_table,
    profile_option,
    run_trainer,
)
from neuralforge_server.learning.trainer_process import require_packages, start_trainer

if TYPE_CHECKING:
    from neuralforge_server.base_change import Change


@click.group(name="bases", epilog="Example: neuralforge bases pull qwen2.5-coder-0.5b")
def command() -> None:
    """List, show, pull, use, remove and compare base models."""


@command.command(name="list", epilog="Example: neuralforge bases list --json")
@profile_option
@json_option
def list_(home: Home, as_json: bool) -> None:
    """The embedded base, those that were pulled, and those that one command pulls."""
    rows = base_rows(home)
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "bytes": f"{row['bytes'] / 1e6:,.0f} MB"} for row in rows]
    columns = ["name", "state", "bytes", "licence", "source"]
    print_table("Bases", columns, [[row[column] for column in columns] for row in shown])


@command.command(epilog="Example: neuralforge bases show qwen2.5-coder-1.5b")
@click.argument("base")
@click.option("--context", type=click.IntRange(1), default=1024, show_default=True,
              help="Tokens of context to compute the memory for.")  # fmt: skip
@profile_option
@json_option
def show(base: str, context: int, home: Home, as_json: bool) -> None:
    """BASE (a name or a file): shape, FIM, licence, memory, and whether it can be trained here."""
    from neuralforge_server.base_report import lines, report_on

    report = report_on(base, context, home)
    if as_json:
        print_json(report)
        return
    for name, value in lines(report):
        click.echo(f"{name:11} {value}")


@command.command(epilog="Example: neuralforge bases pull qwen2.5-coder-0.5b")
@click.argument("base", metavar="NAME|REPOSITORY[:FILE]")
@json_option
def pull(base: str, as_json: bool) -> None:
    """Fetch a preset, or a GGUF file of a repository on the Hugging Face Hub.

    It goes on where an earlier call was interrupted, and verifies the checksum that the hub
    states. HF_ENDPOINT, HF_HOME and HF_TOKEN are honoured.
    """
    from huggingface_hub.utils import disable_progress_bars

    from neuralforge_adapters import hub

    if as_json:
        disable_progress_bars()
    pulled = hub.pull(base, hub.Hub.of_environment(), Home.find())
    if as_json:
        print_json(pulled)
    else:
        click.echo(f"{pulled.name} is here: {pulled.path}")
        click.echo(f"Use it with `neuralforge bases use {pulled.name}`.")


@command.command(epilog="Example: neuralforge bases use qwen2.5-coder-0.5b")
@click.argument("base")
@click.option("--now", is_flag=True, help="At once, without waiting for your adapter.")
@click.option("--wait", is_flag=True, help="Retrain your adapter here and now, and wait for it.")
@profile_option
@json_option
def use(base: str, now: bool, wait: bool, home: Home, as_json: bool) -> None:
    """Make BASE (a name or a file) the base of this profile.

    Where you have a personal adapter, it is first retrained for BASE from what was learnt
    before; the old base and adapter stay until the new pair has passed the gate. The setting
    `engine.base` of an editor stays stronger.
    """
    from neuralforge_server.base_change import change_base

    change = change_base(locate(base, home), home, now=now)
    training = _train(change.base.path, home, wait) if change.result == "awaited" else None
    if as_json:
        print_json({**dataclasses.asdict(change), "training": training})
    else:
        click.echo(_told(change, base, training))
        trained = change.info.trained_context
        click.echo(f"Its context is {trained} tokens; a longer setting is taken down to that.")
    if training == "wait":
        _retrain(change.base.path, home, as_json)


@command.command(epilog="Example: neuralforge bases remove qwen2.5-coder-7b")
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Delete the pulled base NAME; one that was in the hub's cache before only leaves the list."""
    base = BaseList(Home.find()).remove(name)
    if as_json:
        print_json(base)
    elif base.own:
        click.echo(f"{name} is deleted; {base.bytes / 1e6:,.0f} MB are free again.")
    else:
        click.echo(f"{name} left the list; its file was in the hub's cache before and stays.")


@command.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: neuralforge bases evaluate --base new.gguf --repository ~/src/project",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def evaluate(arguments: tuple[str, ...]) -> None:
    """Measure bases on repositories that none was trained on."""
    require_packages()
    run_trainer("neuralforge_trainer.evaluate.bases", arguments)


def _train(base: Path, home: Home, wait: bool) -> str:
    """Start the retraining, unless the caller does it or another training is at work."""
    if wait:
        return "wait"
    if is_running(home):
        return "later"
    start_trainer(home, ["--again", "--own-only", "--base", str(base)])
    return "started"


def _told(change: Change, name: str, training: str | None) -> str:
    adapter = f", with {change.personal}" if change.personal else ""
    if change.result == "already":
        return f"{name} is in use already{adapter}."
    if change.result == "switched":
        return f"{name} is in use now{adapter}."
    how = {
        "wait": "It is retrained now.",
        "started": "It is being retrained; `neuralforge status` shows how far it is.",
        "later": "Another training is at work; an open editor starts this one after it.",
    }
    return (
        f"{name} will be used once your personal adapter has been retrained for it and has passed "
        f"the gate; until then nothing changes. {how[training or 'later']}"
    )


def _retrain(base: Path, home: Home, as_json: bool) -> None:
    arguments = ["--again", "--base", str(base), "--foreground", *(["--json"] if as_json else [])]
    run_trainer(
        "neuralforge_trainer",
        arguments,
        {HOME_VARIABLE: str(home.root), PROFILE_VARIABLE: home.profile},
    )
