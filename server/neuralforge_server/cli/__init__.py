"""The `neuralforge` command.

Each subcommand is a module of this package, imported by name when it is called, so that help and
start-up stay quick and no command pays for what another needs.
"""

from __future__ import annotations

import importlib
import logging
import sys
from importlib.metadata import version

import click

from neuralforge_adapters.command_line import run_command

COMMANDS = {
    "serve": "Serve completions to an editor over LSP (also without a subcommand).",
    "complete": "Complete once at FILE:LINE:COLUMN.",
    "train": "Learn from a repository's history, from your sessions or from datasets.",
    "create-dataset": "Make a dataset of your history, your sessions or the files of a folder.",
    "extract-dataset": "Write down what was learnt, or is there to be learnt, as a dataset.",
    "analyze-dataset": "Tell what datasets are worth, and what to do about what lowers it.",
    "daemon": "Learn in the background without an editor: repositories and an inbox.",
    "adapters": "List, show, load, unload, roll back and export adapters.",
    "stacks": "List, save, use and remove stacks that have a name.",
    "log": "Show, count and purge what is remembered.",
    "report": "Write a page of what was suggested, taken and kept.",
    "status": "Show the base, the stack, the log and the trainer.",
    "doctor": "Check this machine, and say what to mend.",
    "bases": "List, show, pull, use, remove and compare base models.",
    "evaluate": "Measure completions on a history, with and without context and memory.",
    "replay": "Travel through a history: what learning brings, window by window.",
    "pretrain": "Make a base: corpus, tokenizer, training, GGUF.",
    "demo": "Watch a history change what is suggested, in five minutes.",
}
"""What help shows, without importing the modules."""


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is asked for (a pattern of click's documentation)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"neuralforge_server.cli.{name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`neuralforge --adapter x.lora` means `neuralforge serve --adapter x.lora`."""
        own = {"--help", "-h", "--version"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: neuralforge train --from-git . && neuralforge complete app.py:12:9",
)
@click.version_option(version("neuralforge"), prog_name="neuralforge")
def group() -> None:
    """Code completion that runs on your own machine and learns you."""


def main() -> None:
    """Run the command line."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    run_command(group)
