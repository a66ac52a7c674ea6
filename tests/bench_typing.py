"""`make bench-typing`: a typing trace against NeuralForge, and against llama-server as llama.vim.

Both serve the same GGUF with the same threads and context. The segments of the trace alternate
between them in one run. Invariant: ratios compare only within that run, and count only where
NeuralForge's coverage (the share of keystrokes at which a fitting text is visible) is at least
llama-server's. Knows no reason for any figure.

    python tests/bench_typing.py --repository PATH [--seconds 120] [--base embedded random]
"""

from __future__ import annotations

import abc
import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench_fold import measure_fold
from gguf_maker import make_base
from llama_server import LlamaServer, LlamaServerError, find_llama_server
from llama_vim import N_PREDICT
from neuralforge_adapters.base import embedded_base
from neuralforge_server.engine.process import default_threads
from neuralforge_server.lsp_client import LspClient
from typing_figures import Result, Spent, as_json, compare, result
from typing_players import Editor, LlamaEditor, NeuralForgeEditor, Usage, metered, play
from typing_trace import Trace, make_trace, write_tree

_CONTEXT = 1024
_RANDOM_TOKENS = 24
"""Both systems' cap on random weights, which never say that a suggestion is complete."""
_QWEN_HALF: dict[str, Any] = {
    "layers": 24, "width": 896, "heads": 14, "kv_heads": 2, "hidden": 4864, "vocabulary": 151_936,
    "words": True,
}  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What both systems serve, and how."""

    name: str
    base: Path
    threads: int
    speed: float
    max_tokens: int | None = None
    """A cap for both; None leaves each its own."""


class System(abc.ABC):
    """One of the two that are compared."""

    name: str
    editor: Editor
    pid: int

    @abc.abstractmethod
    def spent(self) -> Spent:
        """What it has computed until now."""


class NeuralForge(System):
    """`neuralforge serve`, with a counter on its engine's pipe."""

    name = "neuralforge"

    def __init__(self, client: LspClient, workspace: Path, counts: Path) -> None:
        self.pid = client.process.pid
        self.editor: NeuralForgeEditor = NeuralForgeEditor(client, workspace)
        self._counts = counts

    @classmethod
    @asynccontextmanager
    async def started(cls, setup: Setup, folder: Path) -> AsyncIterator[NeuralForge]:
        """A server with a home of its own."""
        workspace, counts = folder / "workspace", folder / "counts.jsonl"
        workspace.mkdir()
        tap = str(Path(__file__).with_name("engine_tap.py"))
        command = [sys.executable, "-P", tap, str(counts), "serve", "--base", str(setup.base)]
        async with LspClient(home=folder / "home", command=command) as client:
            system = cls(client, workspace, counts)
            completion = {} if setup.max_tokens is None else {"max_tokens": setup.max_tokens}
            engine = {"threads": setup.threads, "context_tokens": _CONTEXT}
            learning = {"enabled": False}
            settings = {"completion": completion, "engine": engine, "learning": learning}
            await system.editor.start(settings)
            await system.editor.warm_up()
            yield system

    def spent(self) -> Spent:
        rows = [json.loads(line) for line in self._counts.read_text("utf-8").splitlines()]
        runs = sum(row["op"] == "complete" for row in rows)
        tokens = sum(row.get("evaluated_tokens", 0) for row in rows)
        return Spent(tokens, runs, len(self.editor.runs))


class Llama(System):
    """llama-server, driven as llama.vim does."""

    name = "llama-server"

    def __init__(self, server: LlamaServer, setup: Setup) -> None:
        self.pid = server.process.pid
        self.editor: LlamaEditor = LlamaEditor(server.url, setup.max_tokens)

    @classmethod
    @asynccontextmanager
    async def started(cls, setup: Setup, binary: Path) -> AsyncIterator[Llama]:
        """A server with llama.vim's own flags, but for the context that both get.

        Half of it is the batch, from which llama-server derives how much of the text around the
        cursor it takes; the rest is room for the ring of extra chunks and, by `--predict`, for
        what is generated: it would fill all of it with chunks otherwise, and refuse the prompt.
        """
        half = str(_CONTEXT // 2)
        flags = ["--ctx-size", str(_CONTEXT), "--batch-size", half, "--ubatch-size", half]
        flags += ["--cache-reuse", "256", "--parallel", "1", "--predict", str(N_PREDICT)]
        flags += ["--threads", str(setup.threads), "--threads-batch", str(setup.threads)]
        with LlamaServer(binary, setup.base, flags) as server:
            system = cls(server, setup)
            yield system
            await system.editor.vim.close()

    def spent(self) -> Spent:
        counts = self.editor.vim.counts
        tokens = counts.prompt_tokens + counts.generated_tokens
        return Spent(tokens, counts.runs, len(counts.used))


def main() -> None:
    options = _options()
    trace = options.trace and Trace.read(options.trace)
    trace = trace or make_trace(options.repository, options.seconds, options.seed)
    report = asyncio.run(measure(trace, options))
    print_report(report)
    text = json.dumps(report, indent=2) + "\n"
    if options.json:
        options.json.write_text(text, "utf-8")
    else:
        print(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repository", type=Path, default=Path(), help="whose commits are typed")
    parser.add_argument("--trace", type=Path, help="a recorded trace of that repository instead")
    parser.add_argument("--seconds", type=float, default=300.0, help="of typing, for each system")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", type=float, default=1.0, help="times as fast as recorded")
    parser.add_argument("--base", nargs="+", default=["embedded", "random"], help="or GGUF files")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--llama-server", type=Path, help="a binary of the same llama.cpp")
    parser.add_argument("--alone", action="store_true", help="leave llama-server out")
    parser.add_argument("--no-fold", action="store_true", help="leave the adapters' cost out")
    parser.add_argument("--json", type=Path, help="write the figures there instead of to stdout")
    return parser.parse_args()


async def measure(trace: Trace, options: argparse.Namespace) -> dict[str, Any]:
    """The whole report."""
    binary = _binary(options)
    with tempfile.TemporaryDirectory(prefix="neuralforge-bench-") as name:
        folder = Path(name)
        runs = []
        for base in options.base:
            setup = _setup(base, folder, options)
            results = await play_all(trace, setup, options.repository, binary, folder)
            runs.append(_run(setup, results))
        fold = None if options.no_fold else measure_fold(folder, options.threads)
    return {
        "machine": describe_machine(options.threads),
        "trace": describe_trace(trace, options.speed),
        "runs": runs,
        "fold": fold,
    }


def _binary(options: argparse.Namespace) -> Path | None:
    """llama-server's; None, said so, where there is none and none can be built."""
    if options.alone:
        return None
    try:
        return options.llama_server or find_llama_server()
    except LlamaServerError as error:
        print(f"without llama-server: {error}", file=sys.stderr)
        return None


def _setup(base: str, folder: Path, options: argparse.Namespace) -> Setup:
    if base == "embedded":
        return Setup(base, embedded_base(), options.threads, options.speed)
    if base == "random":
        path = make_base(folder / "random-0.5b-q8_0.gguf", **_QWEN_HALF)
        return Setup(base, path, options.threads, options.speed, _RANDOM_TOKENS)
    return Setup(Path(base).stem, Path(base), options.threads, options.speed)


async def play_all(
    trace: Trace, setup: Setup, repository: Path, binary: Path | None, folder: Path
) -> list[Result]:
    """Both systems' figures; only NeuralForge's where there is no `binary`."""
    own = folder / setup.name
    own.mkdir()
    async with AsyncExitStack() as stack:
        systems: list[System] = [await stack.enter_async_context(NeuralForge.started(setup, own))]
        if binary is not None:
            systems.append(await stack.enter_async_context(Llama.started(setup, binary)))
        before = [system.spent() for system in systems]
        with ExitStack() as meters:
            usages = [meters.enter_context(metered(system.pid)) for system in systems]
            await _alternate(trace, systems, setup.speed, repository, own / "workspace")
        return [_result(*row) for row in zip(systems, before, usages, strict=True)]


async def _alternate(
    trace: Trace, systems: list[System], speed: float, repository: Path, workspace: Path
) -> None:
    commit = ""
    for number, segment in enumerate(trace.segments):
        if segment.commit != commit:
            commit = segment.commit
            await asyncio.to_thread(write_tree, repository, commit, workspace)
        for system in systems if number % 2 == 0 else systems[::-1]:
            await play(segment, system.editor, speed)


def _result(system: System, before: Spent, usage: Usage) -> Result:
    now = system.spent()
    spent = Spent(now.tokens - before.tokens, now.runs - before.runs, now.used - before.used)
    return result(system.name, system.editor.screen.strokes, spent, usage)


def _run(setup: Setup, results: list[Result]) -> dict[str, Any]:
    compared = compare(*results) if len(results) == 2 else None
    return {
        "base": setup.name,
        "megabytes": round(setup.base.stat().st_size / 1e6, 1),
        "context": _CONTEXT,
        "max_tokens": setup.max_tokens,
        "systems": [as_json(one) for one in results],
        "comparison": compared,
    }


def describe_machine(threads: int) -> str:
    """What it was measured on."""
    cores = psutil.cpu_count(logical=False)
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, {threads} threads each, "
        f"load {psutil.getloadavg()[0]:.1f}, {time.strftime('%Y-%m-%d')}"
    )


def describe_trace(trace: Trace, speed: float) -> dict[str, Any]:
    """What was typed."""
    return {
        "repository": trace.repository,
        "seed": trace.seed,
        "speed": speed,
        "commits": len({s.commit for s in trace.segments}),
        "segments": len(trace.segments),
        "keystrokes": trace.keystrokes,
        "seconds": round(sum(s.seconds for s in trace.segments), 1),
    }


def print_report(report: dict[str, Any]) -> None:
    """The tables, on stderr."""
    console, trace = Console(stderr=True, width=110), report["trace"]
    console.print(
        f"{report['machine']}\n{trace['keystrokes']} keystrokes of {trace['commits']} commits of "
        f"{trace['repository']}, {trace['seconds']} s, played {trace['speed']:g} times as fast"
    )
    for run in report["runs"]:
        console.print(_table(run))
    if report["fold"]:
        console.print_json(json.dumps(report["fold"]))


def _table(run: dict[str, Any]) -> Table:
    comparison = run["comparison"]
    title = f"{run['base']}, {run['megabytes']} MB"
    if comparison and not comparison["counts"]:
        title += ": ratios do not count, coverage is lower"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("figure")
    for system in run["systems"]:
        table.add_column(system["system"], justify="right")
    for column in ("ratio", "goal"):
        table.add_column(column, justify="right")
    for name, path in _ROWS.items():
        values = [_at(system, path) for system in run["systems"]]
        table.add_row(name, *map(_shown, values), *_judged(comparison, path))
    return table


_ROWS = {
    "computed p50, ms": "computed.p50",
    "computed p95, ms": "computed.p95",
    "computed p99, ms": "computed.p99",
    "computed, keystrokes": "computed.count",
    "typed through p50, ms": "typed_through.p50",
    "typed through p95, ms": "typed_through.p95",
    "typed through, keystrokes": "typed_through.count",
    "all p50, ms": "every.p50",
    "all p95, ms": "every.p95",
    "all p99, ms": "every.p99",
    "coverage": "coverage",
    "any text visible": "visible",
    "tokens per keystroke": "tokens_per_keystroke",
    "generations": "runs",
    "share thrown away": "thrown_away",
    "CPU seconds": "cpu_seconds",
    "memory, MB": "peak_megabytes",
}
_RATIO_OF = {
    "computed.p50": "computed_p50_ms",
    "computed.p95": "computed_p95_ms",
    "tokens_per_keystroke": "tokens_per_keystroke",
    "cpu_seconds": "cpu_seconds",
}


def _at(values: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        values = values[name]
    return values


def _judged(comparison: dict[str, Any] | None, path: str) -> tuple[str, str]:
    name = _RATIO_OF.get(path)
    if comparison is None or name is None:
        return "", ""
    verdict = "met" if comparison["met"][name] else "missed"
    return _shown(comparison["ratios"][name]), f"{comparison['goals'][name]} {verdict}"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
