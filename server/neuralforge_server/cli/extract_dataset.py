"""`neuralforge extract-dataset`: its options are the trainer's, shown by --help."""

from __future__ import annotations

from neuralforge_server.cli.datasets import dataset_command

command = dataset_command(
    "extract-dataset",
    "Write down what was learnt, or is there to be learnt, as a dataset.",
    "neuralforge extract-dataset learnt.jsonl --adapter personal",
)
