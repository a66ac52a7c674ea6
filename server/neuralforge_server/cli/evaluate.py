"""`neuralforge evaluate`: what context and memory bring on a history of one's own.

Invariant: the measuring runs in the trainer's process, so that nothing here imports torch.
"""

from __future__ import annotations

import click

from neuralforge_server.cli.common import run_trainer
from neuralforge_server.learning.trainer_process import require_packages


@click.command(
    name="evaluate",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: neuralforge evaluate --repository ~/src/project --items 200",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Measure completions on a history's newest lines, with and without context and memory."""
    require_packages()
    run_trainer("neuralforge_trainer.evaluate.fitness", arguments)
