"""`neuralforge status`: what is in force and what is going on, read from the home alone."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from neuralforge_adapters.allowance import read_spent
from neuralforge_adapters.base import open_base
from neuralforge_adapters.errors import AdapterError, HomeError
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import StackFile, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_adapters.trainer_files import Waiting, read_control, read_state, read_waiting
from neuralforge_adapters.trainer_runs import FinishedRun, finished_runs
from neuralforge_server.cli.common import base_option, json_option, print_json, profile_option
from neuralforge_server.errors import SessionLogError
from neuralforge_server.session.log import SessionLog

_RUNS = 5
"""Trainings that have ended, of which the results are shown."""


@click.command(name="status", epilog="Example: neuralforge status --json")
@base_option
@profile_option
@json_option
def command(base: Path | None, home: Home, as_json: bool) -> None:
    """Show the base, the stack, the log and the trainer."""
    status = read_status(home, base)
    if as_json:
        print_json(status)
        return
    for name, value in _lines(status):
        click.echo(f"{name:8} {value}")


def read_status(home: Home, base: Path | None) -> dict[str, Any]:
    """Everything that `status` shows, as plain values."""
    chosen = open_base(base, home)
    return {
        "home": str(home.root),
        "profile": home.profile,
        "base": {"path": str(chosen.path), "digest": chosen.digest},
        "stack": _stack(home, chosen.digest),
        "log": _log(home),
        "trainer": read_state(home),
        "runs": finished_runs(home, _RUNS),
        "waiting": read_waiting(home),
        "spent": read_spent(home).on(datetime.now()),
        "order": read_control(home).command,
    }


def _stack(home: Home, base_digest: str) -> dict[str, Any]:
    entries = StackFile(home).read()
    try:
        stack = resolve(entries, AdapterStore(home), base_digest)
    except AdapterError as error:
        return {"adapters": [], "error": str(error)}
    return {"adapters": stack.describe(), "digest": stack.digest}


def _log(home: Home) -> dict[str, Any]:
    try:
        with SessionLog.open_to_read(home.session_log) as log:
            stats = log.stats()
    except (SessionLogError, HomeError) as error:
        return {"error": str(error)}
    return {
        "shown": stats.overall.shown,
        "accepted": stats.overall.accepted + stats.overall.partial,
        "new_samples": stats.new_samples,
        "bytes": stats.bytes,
    }


def _lines(status: dict[str, Any]) -> list[tuple[str, str]]:
    stack, log, trainer = status["stack"], status["log"], status["trainer"]
    adapters = ", ".join(f"{a['adapter']} × {a['scale']:g}" for a in stack["adapters"])
    doing = "has not run yet"
    if trainer is not None:
        doing = f"{trainer.state} {trainer.percent} %: {trainer.job}. {trainer.message}".rstrip()
    if status["order"] == "pause":
        doing += " (paused by command; `neuralforge train --resume` goes on)"
    spent = status["spent"]
    today = f"{spent.seconds / 60:.1f} min of training, {spent.cpu_seconds / 60:.1f} of processor"
    return [
        ("home", f"{status['home']} (profile {status['profile']})"),
        ("base", f"{status['base']['path']} ({status['base']['digest'][:12]})"),
        ("stack", stack.get("error") or adapters or "the base alone"),
        ("log", log.get("error") or _figures(log)),
        ("trainer", doing),
        ("runs", _runs(status["runs"])),
        ("waiting", _waiting(status["waiting"])),
        ("today", today),
    ]


def _runs(runs: list[FinishedRun]) -> str:
    if not runs:
        return "none has ended yet"
    return f"{', '.join(run.result for run in runs)} (newest first; see `neuralforge train --runs`)"


def _waiting(waiting: Waiting | None) -> str:
    if waiting is None:
        return "no editor or daemon is open that would start a training"
    since = time.strftime("%H:%M", time.localtime(waiting.at))
    return f"{waiting.reason or 'a training runs'} (since {since}, process {waiting.pid})"


def _figures(log: dict[str, Any]) -> str:
    return (
        f"{log['shown']} shown, {log['accepted']} accepted, "
        f"{log['new_samples']} new samples, {log['bytes'] / 1e6:.1f} MB"
    )
