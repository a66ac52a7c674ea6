"""`neuralforge train`: one training job in the foreground, or a word to one that runs.

The work is the trainer's, in a process of its own; it shows its own progress.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import click

from neuralforge_adapters.home import HOME_VARIABLE, PROFILE_VARIABLE, Home
from neuralforge_adapters.trainer_files import Command, read_state, request
from neuralforge_adapters.trainer_runs import FinishedRun, finished_runs
from neuralforge_server.cli.common import (
    base_option,
    json_option,
    print_json,
    print_table,
    profile_option,
    run_trainer,
)
from neuralforge_server.learning.trainer_process import require_packages
from neuralforge_server.settings import Arm

Order = Literal["pause", "resume", "cancel", "skip"]


@click.command(name="train", epilog="Example: neuralforge train --from-git ~/src/project")
@click.option("--from-git", type=click.Path(path_type=Path), metavar="PATH", help="A repository.")
@click.option("--session", is_flag=True, help="Your own editing sessions, from the session log.")
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A file of samples, JSONL (repeatable).",
)
@click.option("--since", metavar="DATE|DAYSd", help="Nothing older: 2026-01-31, or 90d.")
@click.option("--languages", metavar="A,B", help="Only these, by their LSP names.")
@click.option(
    "--pattern",
    multiple=True,
    help="Only files that match, as in .gitignore; !PATTERN leaves out (repeatable).",
)
@click.option("--balance", is_flag=True, help="Take equally much of each language.")
@click.option("--author", help="Whose commits, by name or e-mail; otherwise your git identity.")
@click.option("--all", is_flag=True, help="Also what was trained on before.")
@click.option("--arm", type=click.Choice(get_args(Arm)), help="What guards against forgetting.")
@click.option(
    "--set",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda _context, _parameter, given: _settings(given),
    help="A setting of the training, as in epochs=2; a name that is none lists all (repeatable).",
)
@click.option("--pause", "order", flag_value="pause", help="Let the trainer wait.")
@click.option("--resume", "order", flag_value="resume", help="Let it go on.")
@click.option("--cancel", "order", flag_value="cancel", help="End the run; nothing is published.")
@click.option("--skip", "order", flag_value="skip", help="End it, and never train on its samples.")
@click.option("--runs", is_flag=True, help="Show the trainings that have ended.")
@base_option
@profile_option
@json_option
def command(order: Order | None, runs: bool, home: Home, as_json: bool, **options: Any) -> None:
    """Learn from a repository's history, from your sessions or from datasets.

    A candidate that passes the gate becomes the current version of the personal adapter, and
    every running server swaps it in. Your own keystrokes always come first: while you type, in
    any editor, the trainer waits.
    """
    if order is not None:
        _give(home, order, as_json)
        return
    if runs:
        _show_runs(home, as_json)
        return
    if sum(bool(options[name]) for name in ("from_git", "session", "dataset")) != 1:
        raise click.UsageError(
            "say what to learn from, one of: --from-git PATH, --session, --dataset FILE"
        )
    require_packages()
    run_trainer(
        "neuralforge_trainer",
        list(_flags({**options, "json": as_json, "foreground": True})),
        {HOME_VARIABLE: str(home.root), PROFILE_VARIABLE: home.profile},
    )


def _settings(given: tuple[str, ...]) -> str:
    """The settings as one JSON object; what is no JSON is a text. The trainer checks them."""
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} has no value; write for example epochs=2")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return json.dumps(values) if values else ""


def _flags(options: dict[str, Any]) -> Iterator[str]:
    """The trainer's flags; `--name=value`, so that no value is taken for another flag."""
    for name, given in options.items():
        flag = f"--{name.replace('_', '-')}"
        if given is True:
            yield flag
        elif given not in (None, False, ""):
            yield from (f"{flag}={v}" for v in (given if isinstance(given, tuple) else (given,)))


def _give(home: Home, order: Order, as_json: bool) -> None:
    given: Command = "run" if order == "resume" else order
    result = request(home, given)
    state = read_state(home)
    if as_json:
        print_json({"order": result, "trainer": state})
    else:
        doing = "no trainer has run yet" if state is None else f"the trainer is {state.state}"
        click.echo(f"Told: {given}; {doing}.")


def _show_runs(home: Home, as_json: bool) -> None:
    runs = finished_runs(home)
    if as_json:
        print_json(runs)
    elif not runs:
        click.echo("No training has ended yet. `neuralforge train --from-git .` is a first one.")
    else:
        columns = ["began", "took", "result", "version", "source", "reason"]
        print_table("Trainings", columns, [_row(run) for run in runs])


def _row(run: FinishedRun) -> list[object]:
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
    took = f"{run.seconds / 60:.1f} min"
    return [began, took, run.result, run.version, run.source, run.reason]
