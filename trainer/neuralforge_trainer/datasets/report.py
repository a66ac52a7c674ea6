"""Analyses files of samples and shows what was found: a table for each.

Invariant: a file that cannot be used at all is an error, since nothing can be told of it. Knows
no measure from inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralforge_adapters.base import open_base
from neuralforge_adapters.home import Home
from neuralforge_trainer.datasets.advice import findings
from neuralforge_trainer.datasets.measure import Analysis, analyze
from neuralforge_trainer.learn.vocabulary import load_vocabulary
from neuralforge_trainer.samples.dataset import read_dataset
from neuralforge_trainer.settings import JobSettings

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 10
"""Broken lines that are named."""


def analyze_files(files: Sequence[Path], base: Path | None, home: Home) -> list[Analysis]:
    """The analysis of every file, its tokens counted for `base` or the base in use.

    Raises:
        DatasetError: a file cannot be read, or holds nothing that can be used.
        BaseFileError, BaseNotTrainableError: the base has no tokenizer that can be used here.
    """
    vocabulary = load_vocabulary(open_base(base, home), home)
    most = JobSettings.sequence_tokens // 2
    return [
        analyze(read_dataset(file), lambda text: len(vocabulary.encode(text)), most)
        for file in files
    ]


def as_record(found: Analysis) -> dict[str, Any]:
    """An analysis with its findings, as plain values."""
    what = [asdict(finding) for finding in findings(found)]
    return {**asdict(found), "path": str(found.path), "findings": what}


def print_analysis(found: Analysis) -> None:
    """Show an analysis on stdout: what was found and what to do, lengths, languages, lines."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"\n[bold]{found.path}[/bold]: {found.samples} samples in {found.lines} lines")
    rows = [(finding.what, f"{finding.count:,}", finding.advice) for finding in findings(found)]
    console.print(_table(("found", "number", "what to do"), rows))
    lengths = {f"{name}, characters": value for name, value in found.characters.items()}
    lengths["completion, tokens"] = found.tokens
    figures = [
        (name, f"{value.median:,.0f}", f"{value.p95:,.0f}", f"{value.longest:,}")
        for name, value in lengths.items()
    ]
    console.print(_table(("length", "median", "95 %", "longest"), figures))
    total = max(1, found.samples)
    rows = [(name, f"{n:,}", f"{n / total:.0%}") for name, n in found.languages.items()]
    console.print(_table(("language", "samples", "share"), rows))
    for kind, count in found.secrets.items():
        console.print(f"secret: {kind} in {count} samples", markup=False)
    for broken in found.broken[:_SHOWN]:
        console.print(str(broken), markup=False)
    if len(found.broken) > _SHOWN:
        console.print(f"… and {len(found.broken) - _SHOWN} more broken lines")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if number == 1 else "left")
    for row in rows:
        table.add_row(*row)
    return table
