"""`neuralforge bases`: the base models, and what each is worth.

Invariant: nothing here imports torch; what measures runs in the trainer's process.
"""

from __future__ import annotations

import subprocess
import sys

import click

from neuralforge_server.learning.trainer_process import require_packages


@click.group(name="bases", epilog="Example: neuralforge bases evaluate --repository ~/src/project")
def command() -> None:
    """Compare base models."""


@command.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: neuralforge bases evaluate --base new.gguf --repository ~/src/project",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def evaluate(arguments: tuple[str, ...]) -> None:
    """Measure bases on repositories that none was trained on."""
    require_packages()
    module = "neuralforge_trainer.evaluate.bases"
    sys.exit(subprocess.call([sys.executable, "-P", "-m", module, *arguments]))
