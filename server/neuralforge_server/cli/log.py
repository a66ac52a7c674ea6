"""`neuralforge log`: what is remembered, shown to its owner and forgotten on request."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click

from neuralforge_adapters.home import Home
from neuralforge_server.cli.common import json_option, print_json, print_table, profile_option
from neuralforge_server.indexing import forget_indexes
from neuralforge_server.learning.trainer_process import forget
from neuralforge_server.session.log import DAY_S, SessionLog
from neuralforge_server.session.rows import Outcome, Tally

_COLUMNS = [
    "language",
    "shown",
    "accepted",
    "partly",
    "typed",
    "dismissed",
    "rate",
    "kept-5-min",
    "p50",
    "p95",
]


@click.group(name="log", epilog="Example: neuralforge log show --limit 5")
def command() -> None:
    """Show, count and purge what is remembered."""


@command.command(epilog="Example: neuralforge log show --outcome accepted --limit 20")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--language", help="Only this language, by its LSP name.")
@click.option("--outcome", type=click.Choice(get_args(Outcome)), help="Only those that ended so.")
@click.option("--text", help="Only those with this in the text or in the file's path.")
@click.option("--days", type=click.FloatRange(0), help="Only those of so many days until now.")
@profile_option
@json_option
def show(
    limit: int,
    language: str | None,
    outcome: Outcome | None,
    text: str | None,
    days: float | None,
    home: Home,
    as_json: bool,
) -> None:
    """The latest suggestions, and what became of each."""
    since = 0.0 if days is None else time.time() - days * DAY_S
    with SessionLog.open_to_read(home.session_log) as log:
        rows = log.show(limit, language=language, outcome=outcome, text=text, since=since)
    if as_json:
        print_json(rows)
        return
    table: list[list[object]] = [
        [
            time.strftime("%m-%d %H:%M:%S", time.localtime(row.created)),
            f"{(row.path or row.uri).rpartition('/')[2]}:{row.line + 1}",
            row.outcome or "sent",
            f"{row.latency_ms:.0f} ms",
            row.text.replace("\n", "⏎")[:60],
        ]
        for row in rows
    ]
    print_table("Suggestions, newest first", ["when", "where", "outcome", "time", "text"], table)


@command.command(epilog="Example: neuralforge log stats --json")
@profile_option
@json_option
def stats(home: Home, as_json: bool) -> None:
    """How much was shown, taken and kept, over all and for each language."""
    with SessionLog.open_to_read(home.session_log) as log:
        figures = log.stats()
    if as_json:
        print_json(figures)
        return
    tallies = {"all": figures.overall, **figures.languages}
    columns = [
        "language",
        "shown",
        "accepted",
        "partly",
        "typed",
        "dismissed",
        "rate",
        "kept 5 min",
        "p50",
        "p95",
    ]
    print_table("Suggestions", columns, [_tally_row(name, t) for name, t in tallies.items()])
    click.echo(
        f"{figures.new_samples} new samples to learn from; {figures.bytes / 1e6:.1f} MB on disk."
    )


@command.command(epilog="Example: neuralforge log purge --repository ~/src/secret-project")
@click.option(
    "--repository",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Everything that came from this repository.",
)
@click.option("--older-than-days", type=click.FloatRange(0), metavar="N", help="Everything older.")
@click.option("--everything", is_flag=True, help="The whole log of this profile.")
@profile_option
@json_option
def purge(
    repository: str | None,
    older_than_days: float | None,
    everything: bool,
    home: Home,
    as_json: bool,
) -> None:
    """Forget, for good: what is purged is overwritten on the disk.

    On a disk too full for that, --everything deletes the log's file instead.

    That goes for the session log, for the trainer's replay buffer and unfinished runs, and (but
    for --older-than-days) for the context index and the fast memory. Adapter
    versions that were trained on it stay: roll them back, or unload the adapter.
    """
    if not (repository or older_than_days is not None or everything):
        raise click.UsageError("say what: --repository PATH, --older-than-days N or --everything")
    if everything:
        repository = older_than_days = None
    with SessionLog.open(home.session_log) as log:
        gone = log.purge(
            repository=repository, older_than_days=older_than_days, everything=everything
        )
    forgotten = forget(home, repository, older_than_days)
    if older_than_days is None:
        forget_indexes(home, None if repository is None else Path(repository))
    if as_json:
        print_json({**asdict(gone), **forgotten})
    else:
        counts = f"{gone.suggestions} suggestions, {gone.edits} edits"
        click.echo(f"Forgotten: {counts}, {forgotten['replayed']} replayed samples.")


def _tally_row(name: str, tally: Tally) -> list[object]:
    kept = tally.retained.get(300)
    return [
        name,
        tally.shown,
        tally.accepted,
        tally.partial,
        tally.typed_through,
        tally.dismissed,
        _share(tally.acceptance_rate),
        _share(kept),
        _milliseconds(tally.latency_p50_ms),
        _milliseconds(tally.latency_p95_ms),
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"
