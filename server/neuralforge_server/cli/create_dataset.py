"""`neuralforge create-dataset`: its options are the trainer's, shown by --help."""

from __future__ import annotations

from neuralforge_server.cli.datasets import dataset_command

command = dataset_command(
    "create-dataset",
    "Make a dataset of your history, your sessions or the files of a folder.",
    "neuralforge create-dataset own.jsonl --from-git ~/src/project --since 365d",
)
