"""`neuralforge analyze-dataset`: its options are the trainer's, shown by --help."""

from __future__ import annotations

from neuralforge_server.cli.datasets import dataset_command

command = dataset_command(
    "analyze-dataset",
    "Tell what datasets are worth, and what to do about what lowers it.",
    "neuralforge analyze-dataset own.jsonl --json",
)
