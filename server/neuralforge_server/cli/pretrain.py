"""`neuralforge pretrain`: make a base of one's own; the stages are the trainer's.

Invariant: the trainer runs in a process of its own, so that nothing here imports torch; its
output, its signals and its status pass through unchanged.
"""

from __future__ import annotations

import click

from neuralforge_server.cli.common import run_trainer
from neuralforge_server.learning.trainer_process import require_packages


@click.command(
    name="pretrain",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: neuralforge pretrain train embedded",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Make a base: fetch a corpus, train a tokenizer and a model, export a GGUF."""
    require_packages()
    run_trainer("neuralforge_trainer.pretrain", arguments)
