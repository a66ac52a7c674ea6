"""`neuralforge train`: one training job in the foreground, or a word to one that runs.

The work is the trainer's, in a process of its own; it shows its own progress.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import click

from neuralforge_adapters.home import HOME_VARIABLE, PROFILE_VARIABLE, Home
from neuralforge_adapters.trainer_files import Command, read_state, request
from neuralforge_server.cli.common import (
    base_option,
    json_option,
    print_json,
    profile_option,
    run_trainer,
)
from neuralforge_server.learning.trainer_process import require_packages
from neuralforge_server.settings import Arm

Order = Literal["pause", "resume", "cancel", "skip"]


@click.command(name="train", epilog="Example: neuralforge train --from-git ~/src/project")
@click.option("--from-git", type=click.Path(path_type=Path), metavar="PATH", help="A repository.")
@click.option("--session", is_flag=True, help="Your own editing sessions, from the session log.")
@click.option("--author", help="Whose commits, by name or e-mail; otherwise your git identity.")
@click.option("--all", "everything", is_flag=True, help="Also what was trained on before.")
@click.option("--arm", type=click.Choice(get_args(Arm)), help="What guards against forgetting.")
@click.option("--pause", "order", flag_value="pause", help="Let the trainer wait.")
@click.option("--resume", "order", flag_value="resume", help="Let it go on.")
@click.option("--cancel", "order", flag_value="cancel", help="End the run; nothing is published.")
@click.option("--skip", "order", flag_value="skip", help="End it, and never train on its samples.")
@base_option
@profile_option
@json_option
def command(
    from_git: Path | None,
    session: bool,
    author: str | None,
    everything: bool,
    arm: Arm | None,
    order: Order | None,
    base: Path | None,
    home: Home,
    as_json: bool,
) -> None:
    """Learn from a repository's history or from your sessions.

    A candidate that passes the gate becomes the current version of the personal adapter, and
    every running server swaps it in. Your own keystrokes always come first: while you type, in
    any editor, the trainer waits.
    """
    if order is not None:
        _give(home, order, as_json)
        return
    if (from_git is None) == (not session):
        raise click.UsageError("say what to learn from: --from-git PATH or --session")
    require_packages()
    source = ["--session"] if from_git is None else ["--from-git", str(from_git)]
    options = {"--author": author, "--arm": arm, "--base": None if base is None else str(base)}
    arguments = [*source, *(part for pair in options.items() if pair[1] for part in pair if part)]
    switches = {"--all": everything, "--json": as_json, "--foreground": True}
    arguments += [name for name, given in switches.items() if given]
    run_trainer(
        "neuralforge_trainer",
        arguments,
        {HOME_VARIABLE: str(home.root), PROFILE_VARIABLE: home.profile},
    )


def _give(home: Home, order: Order, as_json: bool) -> None:
    given: Command = "run" if order == "resume" else order
    result = request(home, given)
    state = read_state(home)
    if as_json:
        print_json({"order": result, "trainer": state})
    else:
        doing = "no trainer has run yet" if state is None else f"the trainer is {state.state}"
        click.echo(f"Told: {given}; {doing}.")
