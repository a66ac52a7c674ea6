"""`neuralforge doctor`: what works on this machine, and the next step for what does not.

Each check is a function from a home to a finding; one that raises counts as failed with the
error's message, so that a single broken part never hides the others.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from neuralforge_adapters.base import open_base
from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import Home, private_dir
from neuralforge_adapters.stack import StackFile, resolve, usable
from neuralforge_adapters.store import AdapterStore
from neuralforge_adapters.trainer_files import read_state
from neuralforge_server.cli.common import base_option, json_option, print_json, profile_option
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest
from neuralforge_server.errors import EngineError
from neuralforge_server.learning.trainer_process import HOW_TO_ADD
from neuralforge_server.session.log import SessionLog

_LOW_DISK_MB = 500
_COMPILERS = ("c++", "g++", "clang++", "cl")
_TRAINING = ("torch", "transformers", "peft", "accelerate")


@dataclass(frozen=True)
class Finding:
    """One check's outcome; `advice` is the step that mends it."""

    check: str
    ok: bool
    detail: str
    advice: str = ""


@click.command(name="doctor", epilog="Example: neuralforge doctor --base ~/models/coder.gguf")
@base_option
@profile_option
@json_option
def command(base: Path | None, home: Home, as_json: bool) -> None:
    """Check this machine, and say what to mend; status 1 where something is broken."""
    findings = examine(home, base)
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            mark = click.style("ok  ", "green") if finding.ok else click.style("FAIL", "red")
            click.echo(f"{mark} {finding.check:10} {finding.detail}")
            if not finding.ok and finding.advice:
                click.echo(f"     {'':10} → {finding.advice}")
    sys.exit(0 if all(f.ok for f in findings) else 1)


def examine(home: Home, base: Path | None) -> list[Finding]:
    """All checks, in the order in which the parts depend on each other."""
    checks: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "home": lambda: _home(home),
        "engine": lambda: _engine(home, base),
        "stack": lambda: _stack(home, base),
        "log": lambda: _log(home),
        "git": _git,
        "training": _training,
        "trainer": lambda: _trainer(home),
        "set aside": lambda: _set_aside(home),
    }
    return [_run(name, check) for name, check in checks.items()]


def _run(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (NeuralForgeError, OSError) as error:
        return Finding(name, False, str(error))


def _python() -> Finding:
    cores, memory = psutil.cpu_count(logical=False), psutil.virtual_memory().total / 2**30
    return Finding(
        "python", True, f"{sys.version.split()[0]}, {cores} cores, {memory:.0f} GiB of memory"
    )


def _home(home: Home) -> Finding:
    folder = private_dir(home.profile_dir)
    with tempfile.NamedTemporaryFile(dir=folder) as probe:
        probe.write(b"\0")
    free = shutil.disk_usage(folder).free / 2**20
    detail = f"{folder}, {free:,.0f} MB free"
    return Finding("home", free > _LOW_DISK_MB, detail, f"free at least {_LOW_DISK_MB} MB there")


def _engine(home: Home, base: Path | None) -> Finding:
    chosen = open_base(base, home)
    try:
        with EngineClient(chosen) as engine:
            answer = engine.complete(CompleteRequest("def add(a, b):\n    return a", "\n"))
            info = engine.info
    except EngineError as error:
        return Finding("engine", False, str(error), _compiler_advice())
    detail = (
        f"{info.name}: {info.parameters / 1e6:.1f} M parameters, {info.fim_order}, "
        f"context {info.context}; completed in {answer.milliseconds:.0f} ms"
    )
    return Finding("engine", True, detail)


def _compiler_advice() -> str:
    """llama-cpp-python is compiled where it is installed, unless a built one fits."""
    if any(map(shutil.which, _COMPILERS)):
        return ""
    return (
        "install a C++ compiler first, to compile llama-cpp-python with: `apt-get install g++`, "
        "`xcode-select --install`, or the Build Tools for Visual Studio"
    )


def _stack(home: Home, base: Path | None) -> Finding:
    store, digest = AdapterStore(home), open_base(base, home).digest
    good, problems = usable(StackFile(home).read(), store, digest)
    names = ", ".join(a.reference for a in resolve(good, store, digest).adapters)
    if problems:
        return Finding("stack", False, "; ".join(map(str, problems)), "unload what is damaged")
    return Finding("stack", True, names or "the base alone")


def _log(home: Home) -> Finding:
    with SessionLog.open(home.session_log) as log:
        broken, size = log.verify(), log.stats().bytes / 1e6
    if broken:
        return Finding("log", False, "; ".join(broken), "run `neuralforge log purge --everything`")
    mode = home.session_log.stat().st_mode & 0o077
    private = os.name == "nt" or mode == 0
    detail = f"{home.session_log}, {size:.1f} MB"
    return Finding("log", private, detail, f"make it yours alone: chmod 600 {home.session_log}")


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", found is not None, found or "not found", "install git to learn from it")


def _training() -> Finding:
    versions, missing = [], []
    for package in _TRAINING:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        detail = f"missing: {', '.join(missing)} (completion works without)"
        return Finding("training", False, detail, HOW_TO_ADD)
    return Finding("training", True, ", ".join(versions))


def _trainer(home: Home) -> Finding:
    state = read_state(home)
    if state is None:
        return Finding("trainer", True, "has not run yet")
    advice = "start it again with `neuralforge train`; it goes on from its last checkpoint"
    detail = f"{state.state}: {state.message}".rstrip(": ")
    return Finding("trainer", state.state != "failed", detail, advice)


def _set_aside(home: Home) -> Finding:
    notes = sorted(home.set_aside.glob("*.json")) if home.set_aside.is_dir() else []
    detail = "no file" if not notes else f"{len(notes)} file(s) that killed an engine"
    advice = f"replace the files named in {home.set_aside}, or delete the notes there"
    return Finding("set aside", not notes, detail, advice)
