"""`neuralforge replay`: what learning brings on a history, window by window.

Invariant: the measuring runs in the trainer's process, so that nothing here imports torch.
"""

from __future__ import annotations

import click

from neuralforge_server.cli.common import run_trainer
from neuralforge_server.learning.trainer_process import require_packages


@click.command(
    name="replay",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: neuralforge replay ~/src/project --updates 4 --output proof",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Travel through a history: learn a window, be asked about the next, window by window."""
    require_packages()
    run_trainer("neuralforge_trainer.evaluate.history", arguments)
