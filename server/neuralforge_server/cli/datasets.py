"""What the dataset commands share: each is the trainer's, run in a process of its own.

Invariant: nothing here imports the trainer; its output and its status pass through unchanged.
"""

from __future__ import annotations

import click

from neuralforge_server.cli.common import run_trainer
from neuralforge_server.learning.trainer_process import require_packages


def dataset_command(name: str, about: str, example: str) -> click.Command:
    """The command `name`, whose arguments are the trainer's."""

    def run(arguments: tuple[str, ...]) -> None:
        require_packages()
        run_trainer("neuralforge_trainer.datasets", [name, *arguments])

    return click.Command(
        name,
        callback=run,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=about,
        epilog=f"Example: {example}",
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
    )
