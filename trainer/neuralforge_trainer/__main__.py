"""`python -P -m neuralforge_trainer`: one training job, as its own process.

Invariant: the exit status is 0 for a job that ended as it should (published, refused by the gate,
nothing new, cancelled), 1 for a failure that has a message, 2 for arguments that cannot be used,
3 for another trainer at work, 130 for Ctrl-C. The home and the profile come from the environment.
Knows no server; a killed job goes on when it is started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import TrainerState
from neuralforge_trainer.control import NICE, lower_priority
from neuralforge_trainer.errors import JobError, TrainerBusyError
from neuralforge_trainer.job import INTERRUPTED, Outcome, run_job
from neuralforge_trainer.samples.selection import parse_languages, parse_since
from neuralforge_trainer.settings import Job, JobSettings, make_limits, make_settings, read_job

_INTERRUPTED_STATUS = 130
"""What a shell gives for a program that SIGINT has ended."""

_LIMITS_HELP = (
    "of a training that nobody asked for: "
    "hours, on_battery, minutes_per_day, cpu_minutes_per_day (default: none)"
)

_SETTING_FLAGS: dict[str, Callable[[str], Any]] = {
    "arm": str,
    "quiet_seconds": float,
    "epochs": int,
    "learning_rate": float,
    "max_samples": int,
    "threads": int,
    "time_budget": float,
    "seed": int,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job that the arguments name; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        job = _job(options)
    except JobError as error:
        print(f"neuralforge_trainer: {error}", file=sys.stderr)  # noqa: T201
        return 2
    lower_priority(options.nice)
    try:
        with _listener(options.json) as listener:
            outcome = run_job(Home.find(), job, listener)
    except NeuralForgeError as error:
        print(f"neuralforge_trainer: {error}", file=sys.stderr)  # noqa: T201
        return 3 if isinstance(error, TrainerBusyError) else 1
    except KeyboardInterrupt:
        print(f"neuralforge_trainer: {INTERRUPTED}", file=sys.stderr)  # noqa: T201
        return _INTERRUPTED_STATUS
    except Exception:
        logging.exception("neuralforge_trainer: the job failed")
        return 1
    _print_outcome(outcome, options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -P -m neuralforge_trainer",
        description="Train the personal adapter once.",
        epilog="Example: python -P -m neuralforge_trainer --from-git .",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("job", nargs="?", type=Path, help="a job as JSON; no other flag but --json")
    source.add_argument("--from-git", type=Path, metavar="PATH", help="learn from a repository")
    source.add_argument("--session", action="store_true", help="learn from the session log")
    source.add_argument(
        "--dataset", type=Path, action="append", metavar="FILE", help="learn from samples (JSONL)"
    )
    source.add_argument(
        "--again", action="store_true", help="learn all that was learnt before, for another base"
    )
    parser.add_argument("--author", help="whose commits (default: your git identity)")
    parser.add_argument(
        "--own-only", action="store_true", help="learn nothing where no commit is known to be yours"
    )
    parser.add_argument("--all", action="store_true", help="also what was trained before")
    _add_selection(parser)
    parser.add_argument("--base", type=Path, metavar="GGUF", help="default: the base in use")
    parser.add_argument("--foreground", action="store_true", help="use all cores")
    parser.add_argument("--nice", type=int, choices=range(20), default=NICE, metavar="N",
                        help="how far to give way, to 19 (default: %(default)s)")  # fmt: skip
    parser.add_argument("--limits", type=json.loads, default={}, metavar="JSON", help=_LIMITS_HELP)
    parser.add_argument(
        "--set", type=json.loads, default={}, metavar="JSON", help="other settings of a job"
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    defaults = JobSettings()
    for name, kind in _SETTING_FLAGS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, help=f"default: {getattr(defaults, name)}"
        )
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="DATE|DAYSd", help="nothing older")
    parser.add_argument("--languages", default="", metavar="A,B", help="only these")
    parser.add_argument("--pattern", action="append", default=[], help="only such files; ! for not")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="never such files of git"
    )
    parser.add_argument("--balance", action="store_true", help="equally much of each language")


def _since(text: str | None) -> float | None:
    try:
        return None if text is None else parse_since(text)
    except ValueError as error:
        raise JobError(f"--since: {error}") from error


def _job(options: argparse.Namespace) -> Job:
    if options.job is not None:
        return read_job(options.job)
    chosen = {n: getattr(options, n) for n in _SETTING_FLAGS if getattr(options, n) is not None}
    return Job(
        repository=options.from_git,
        datasets=tuple(options.dataset or ()),
        author=options.author,
        own_only=options.own_only,
        since=_since(options.since),
        languages=parse_languages(options.languages),
        patterns=tuple(options.pattern),
        exclude=tuple(options.exclude),
        balance=options.balance,
        everything=options.all,
        again=options.again,
        base=options.base,
        foreground=options.foreground,
        limits=make_limits(options.limits),
        settings=make_settings({**options.set, **chosen}),
    )


@contextmanager
def _listener(as_json: bool) -> Iterator[Callable[[TrainerState], None]]:
    """Shows states: JSON lines, or a progress bar on stderr."""
    if as_json:
        yield lambda state: _print_json({"state": asdict(state)})
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("collecting", total=100)
        yield lambda state: progress.update(task, description=state.state, completed=state.percent)


def _print_outcome(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        _print_json({"outcome": asdict(outcome)})
        return
    named = f" {outcome.version}" if outcome.version else ""
    print(f"{outcome.result}{named}: {outcome.message}")  # noqa: T201
    for row in outcome.gate.rows if outcome.gate else ():
        print(  # noqa: T201
            f"  {row.system:9} {row.items:8} EM {row.em:6.1%}  ES {row.es:6.1%}  "
            f"perplexity {row.perplexity:7.2f}  (n {row.count})"
        )


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)  # noqa: T201 - the result of --json


if __name__ == "__main__":
    sys.exit(main())
