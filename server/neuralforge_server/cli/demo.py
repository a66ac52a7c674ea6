"""`neuralforge demo`: starts the demonstration, which lives with the trainer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from neuralforge_server.learning.trainer_process import require_packages


@click.command(name="demo", epilog="Example: neuralforge demo --repo ~/src/project")
@click.option("--repo", type=click.Path(path_type=Path), default=Path(), help="Default: here.")
@click.option("--author", help="Whose commits, by name or e-mail; otherwise your git identity.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
def command(repo: Path, author: str | None, json_file: Path | None) -> None:
    """Watch a history change what is suggested: complete, accept, train, swap, compare.

    Works in a temporary home; neither your settings nor your adapters are touched.
    """
    require_packages()
    arguments = ["--repo", str(repo)]
    if author:
        arguments += ["--author", author]
    if json_file:
        arguments += ["--json", str(json_file)]
    demo = [sys.executable, "-P", "-m", "neuralforge_trainer.demo", *arguments]
    sys.exit(subprocess.call(demo))
