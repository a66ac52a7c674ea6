"""What a running training costs the typist: part of `make bench-typing`.

A recorded trace is typed into two servers that differ in one thing: beside the one a trainer is at
work. Before each segment both rest for longer than the trainer waits, so that it computes at the
moment of the first key; the trainer of the other server is suspended meanwhile. The segments
alternate, and another server begins each time. A Markdown table goes to stdout, all figures to a
JSON file.

Invariant: ratios compare only within one run. Intervals are percentile bootstraps over segments,
the same for both sides. Knows no reason for any figure.

    python tests/bench_while_training.py --repository PATH [--seconds 100] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import TrainerState, read_state
from neuralforge_server.learning.trainer_process import start_trainer
from neuralforge_server.lsp_client import LspClient
from neuralforge_trainer.house_style import make_repository
from typing_players import NeuralForgeEditor, play
from typing_report import describe_machine, describe_trace
from typing_trace import Segment, Trace, make_trace, write_tree

GOAL = 1.10
QUIET_SECONDS = 5.0
_REST_SECONDS = QUIET_SECONDS + 3.0
_LOOK_SECONDS = 1.0
_FIRST_KEYS = 3
_START_SECONDS = 300.0
_RESAMPLES = 2000

Values = Sequence[Sequence[float]]
"""Milliseconds from a key to a text, by segment."""


@dataclass
class Side:
    """One of the two servers."""

    name: str
    home: Home
    editor: NeuralForgeEditor
    all_keys: list[list[float]]
    first_keys: list[list[float]]
    """Of the keys with which a segment begins."""
    trainer_seconds: float = 0.0
    """Processor time of the trainer while keys were hit."""

    def note(self, begun: int) -> None:
        """A segment has been typed, whose strokes begin at `begun`."""
        strokes = self.editor.screen.strokes[begun:]
        self.all_keys.append(_milliseconds(strokes))
        self.first_keys.append(_milliseconds(strokes[:_FIRST_KEYS]))


def _milliseconds(strokes: Sequence[Any]) -> list[float]:
    return [stroke.seconds * 1e3 for stroke in strokes if stroke.seconds is not None]


async def measure(trace: Trace, repository: Path) -> dict[str, Any]:
    """The whole report."""
    with tempfile.TemporaryDirectory(prefix="neuralforge-bench-") as name:
        folder = Path(name)
        workspace = folder / "workspace"
        workspace.mkdir()
        write_tree(repository, trace.segments[0].commit, workspace)
        async with (
            _side("with", folder, workspace) as one,
            _side("without", folder, workspace) as two,
        ):
            trainer = _start(one.home, folder)
            try:
                await _until_training(one.home, trainer)
                trainer.suspend()
                for number, segment in enumerate(trace.segments):
                    await asyncio.to_thread(write_tree, repository, segment.commit, workspace)
                    for side in (one, two) if number % 2 == 0 else (two, one):
                        await _type(side, segment, trainer if side is one else None)
            finally:
                with contextlib.suppress(psutil.NoSuchProcess):
                    trainer.kill()
                trainer.wait()
        return {
            "machine": describe_machine(1),
            "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
            "trace": describe_trace(trace, 1.0),
            "quiet_seconds": QUIET_SECONDS,
            "trainer_cpu_seconds_while_typing": round(one.trainer_seconds, 3),
            "figures": {
                "all keys": compare(one.all_keys, two.all_keys),
                f"first {_FIRST_KEYS} keys after a pause": compare(one.first_keys, two.first_keys),
            },
        }


@asynccontextmanager
async def _side(name: str, folder: Path, workspace: Path) -> AsyncIterator[Side]:
    home = Home(folder / f"home-{name}")
    settings = {"learning": {"enabled": False}, "log": {"enabled": False}}
    async with LspClient(home=home.root) as client:
        editor = NeuralForgeEditor(client, workspace)
        await editor.start(settings)
        await editor.warm_up()
        await editor.settle()
        yield Side(name, home, editor, [], [])


def _start(home: Home, folder: Path) -> psutil.Popen:
    """A training, of whatever, that does not end by itself."""
    make_repository(folder / "learnt", commits=40)
    job = folder / "job.json"
    settings = {"epochs": 1000, "quiet_seconds": QUIET_SECONDS, "max_samples": 200}
    content = {"repository": str(folder / "learnt"), "settings": settings}
    job.write_text(json.dumps(content), "utf-8")
    return start_trainer(home, [str(job)])


async def _until_training(home: Home, trainer: psutil.Popen) -> TrainerState:
    """Wait until it has made its first steps.

    Raises:
        RuntimeError: it ended, or did not get there.
    """
    for _ in range(int(_START_SECONDS / 0.5)):
        state = read_state(home)
        if state is not None and state.state == "training" and state.step > 0:
            return state
        if trainer.poll() is not None:
            break
        await asyncio.sleep(0.5)
    raise RuntimeError(f"the trainer did not come to train: {read_state(home)}")


async def _type(side: Side, segment: Segment, trainer: psutil.Popen | None) -> None:
    if trainer is not None:
        trainer.resume()
    await asyncio.sleep(_REST_SECONDS)
    before, begun = _cpu(trainer), len(side.editor.screen.strokes)
    await play(segment, side.editor, 1.0, _LOOK_SECONDS)
    side.trainer_seconds += _cpu(trainer) - before
    side.note(begun)
    if trainer is not None:
        trainer.suspend()


def _cpu(trainer: psutil.Popen | None) -> float:
    return 0.0 if trainer is None else sum(trainer.cpu_times()[:2])


def compare(ours: Values, theirs: Values) -> dict[str, Any]:
    """p50 and p95 of both sides, and their ratios with 95 % intervals."""
    found: dict[str, Any] = {"n": [sum(map(len, ours)), sum(map(len, theirs))]}
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        one, other = _quantile(ours, share), _quantile(theirs, share)
        interval = _bootstrap(len(ours), partial(_ratio, ours, theirs, share))
        found[name] = {"with": one, "without": other, "ratio": one / other, "interval": interval}
    return found


def _ratio(ours: Values, theirs: Values, share: float, at: Sequence[int]) -> float:
    one, other = ([values[i] for i in at] for values in (ours, theirs))
    return _quantile(one, share) / _quantile(other, share)


def _quantile(values: Values, share: float) -> float:
    flat = sorted(v for segment in values for v in segment)
    if len(flat) < 2:
        return float("nan")
    return statistics.quantiles(flat, n=100, method="inclusive")[round(share * 100) - 1]


def _bootstrap(count: int, figure: Callable[[Sequence[int]], float]) -> tuple[float, float]:
    source = random.Random(0)
    found = sorted(figure(source.choices(range(count), k=count)) for _ in range(_RESAMPLES))
    return found[int(0.025 * _RESAMPLES)], found[int(0.975 * _RESAMPLES)]


def markdown(report: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "| typing | n | p50 with, without | p95 with, without | p95 ratio (95 %) | goal |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in report["figures"].items():
        p50, p95 = found["p50"], found["p95"]
        low, high = p95["interval"]
        verdict = "met" if p95["ratio"] <= GOAL else "missed"
        lines.append(
            f"| {name} | {found['n'][0]}, {found['n'][1]} "
            f"| {p50['with']:.1f}, {p50['without']:.1f} ms "
            f"| {p95['with']:.1f}, {p95['without']:.1f} ms "
            f"| {p95['ratio']:.2f} ({low:.2f}–{high:.2f}) | ≤ {GOAL:.2f}: {verdict} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repository", type=Path, default=Path(), help="whose commits are typed")
    parser.add_argument("--seconds", type=float, default=100.0, help="of typing, for each server")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("bench-while-training.json"))
    options = parser.parse_args()
    trace = make_trace(options.repository, options.seconds, options.seed)
    report = asyncio.run(measure(trace, options.repository.absolute()))
    options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(markdown(report))
    print(f"all figures: {options.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
