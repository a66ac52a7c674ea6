"""`make bench-typing`: a typing trace against NeuralForge, and against llama-server.

A trace of keystrokes with their times, made from real commits of a repository, is played over
real stdio into `neuralforge serve`, and over HTTP into llama-server by a driver that does what
llama.vim does (`llama_vim`). All serve the same GGUF by the same kernels, with the same threads and
context. For a base that was trained suffix first, llama-server is played twice: «as llama.vim
does», whose `/infill` lays the prompt out prefix first, and «in the base's own order», in which the
same driver sends the prompt as token ids. Each has a process of its own. The segments of the trace
(hunks of the commits) alternate: every system plays segment n before any plays n + 1, and another
one begins each time. A Markdown table goes to stdout, all figures to a JSON file. What the words
mean stands in docs/benchmarks.md.

Invariant: ratios compare only within one run, and count only where NeuralForge's coverage is at
least the peer's. Knows no reason for any figure.

    python tests/bench_typing.py --repository PATH [--seconds 80] [--base embedded random]

    --repository PATH   whose commits are typed: a clone with history, bare or not
    --trace FILE        a trace that `typing_trace.py` recorded of that repository
    --seconds N         of typing, for each system and base; five times that, and some seconds for
                        each segment, are a run with both bases (about ten minutes by default)
    --seed N            draws the commits and the typist's pauses
    --speed X           times as fast as recorded; the time limits stay, so only for a quick look
    --base NAME …       `embedded`, `random` (Qwen2.5-Coder-0.5B's shape in Q8_0, made on the spot:
                        cost, not quality), or GGUF files
    --threads N         of each system
    --llama-server FILE a binary of the same llama.cpp; one is built and cached otherwise
    --alone             NeuralForge only: no ratios
    --no-fold           leave the cost of adapters (`bench_fold`) out
    --json FILE         where all figures go
"""

from __future__ import annotations

import abc
import argparse
import asyncio
import itertools
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_fold import measure_fold
from gguf_maker import make_base
from llama_prompt import Infill, OwnOrder, Prompting, fim_order
from llama_server import (
    KernelsDifferError,
    LlamaServer,
    LlamaServerError,
    check_kernels,
    find_llama_server,
)
from llama_vim import N_PREDICT
from neuralforge_adapters.base import embedded_base
from neuralforge_server.engine.process import default_threads
from neuralforge_server.lsp_client import LspClient
from typing_figures import Spent, Tally, compare, summary
from typing_players import Editor, LlamaEditor, Meter, NeuralForgeEditor, play
from typing_report import describe_machine, describe_trace, markdown
from typing_trace import Segment, Trace, make_trace, write_tree

_CONTEXT = 1024
_RANDOM_TOKENS = 12
"""Every system's cap on random weights, which never say that a line is complete: about a line."""
_RANDOM_DEADLINE_MS = 10_000
"""NeuralForge's, of which prompts are a part; llama-server takes all the time it needs for them."""
_LOOK_SECONDS, _RANDOM_LOOK_SECONDS = 1.0, 4.0
"""How long one looks at the end of a segment; so large a base seldom answers while one types."""
_QWEN_HALF: dict[str, Any] = {
    "layers": 24, "width": 896, "heads": 14, "kv_heads": 2, "hidden": 4864, "vocabulary": 151_936,
    "words": True,
}  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What all systems serve, and how."""

    name: str
    base: Path
    threads: int
    speed: float
    max_tokens: int | None = None
    """A cap for all; None leaves each its own."""
    condition: str = "coverage"
    """Of which NeuralForge must have as much as a peer; random weights cover nothing."""
    look: float = _LOOK_SECONDS


class System(abc.ABC):
    """One of those that are compared."""

    name: str
    editor: Editor

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._marks: list[tuple[int, Spent]] = []

    def mark(self) -> None:
        """A segment begins, or all have ended."""
        self._marks.append((len(self.editor.screen.strokes), self.spent()))

    def tallies(self) -> list[Tally]:
        """What the segments so far came to."""
        strokes = self.editor.screen.strokes
        pairs = itertools.pairwise(self._marks)
        return [Tally(strokes[a:b], now.since(before)) for (a, before), (b, now) in pairs]

    async def describe(self) -> dict[str, Any]:
        """Its part of the report."""
        tallies = self.tallies()
        return {
            "system": self.name,
            "figures": summary(tallies),
            "peak_megabytes": self.meter.peak_bytes / 1e6,
            "cpu_seconds_before": self._marks[0][1].cpu_seconds,
            "segments": [segment.describe() for segment in tallies],
        }

    @abc.abstractmethod
    def spent(self) -> Spent:
        """What it has computed until now."""


class NeuralForge(System):
    """`neuralforge serve`, with a counter on its engine's pipe."""

    name = "neuralforge"

    def __init__(self, meter: Meter, client: LspClient, workspace: Path, counts: Path) -> None:
        super().__init__(meter)
        self.editor: NeuralForgeEditor = NeuralForgeEditor(client, workspace)
        self._counts = counts

    @classmethod
    @asynccontextmanager
    async def started(
        cls, setup: Setup, folder: Path, workspace: Path
    ) -> AsyncIterator[NeuralForge]:
        """A server with a home of its own, which has read the workspace."""
        counts = folder / "counts.jsonl"
        tap = str(Path(__file__).with_name("engine_tap.py"))
        command = [sys.executable, "-P", tap, str(counts), "serve", "--base", str(setup.base)]
        async with LspClient(home=folder / "home", command=command) as client:
            with Meter(client.process.pid) as meter:
                system = cls(meter, client, workspace, counts)
                await system.editor.start(_settings(setup))
                await system.editor.warm_up()
                await system.editor.settle()
                yield system

    def spent(self) -> Spent:
        """As the tap has counted.

        Raises:
            ValueError: the engine kept from it what it computed, so that nothing can be compared.
        """
        rows = [json.loads(line) for line in self._counts.read_text("utf-8").splitlines()]
        answered = [row["evaluated_tokens"] for row in rows if "error" not in row]
        if None in answered or not rows:
            raise ValueError("the engine does not say how many tokens it has evaluated")
        runs = sum(row["op"] == "complete" for row in rows)
        tokens = sum(answered)
        return Spent(tokens, runs, len(self.editor.runs), self.meter.cpu_seconds)

    async def describe(self) -> dict[str, Any]:
        own = (await self.editor.status())["own_ms"]
        return {**await super().describe(), "own_ms": own}


def _settings(setup: Setup) -> dict[str, Any]:
    """The defaults, but for what all systems share."""
    capped = {"max_tokens": setup.max_tokens, "deadline_ms": _RANDOM_DEADLINE_MS}
    return {
        "completion": {} if setup.max_tokens is None else capped,
        "engine": {"threads": setup.threads, "context_tokens": _CONTEXT},
        "learning": {"enabled": False},
    }


class Llama(System):
    """llama-server, driven as llama.vim does."""

    def __init__(self, meter: Meter, server: LlamaServer, setup: Setup, name: str) -> None:
        super().__init__(meter)
        self.name = name
        prompting = _PROMPTINGS[name](setup)
        self.editor: LlamaEditor = LlamaEditor(server.url, prompting, setup.max_tokens)

    @classmethod
    @asynccontextmanager
    async def started(cls, setup: Setup, binary: Path, name: str) -> AsyncIterator[Llama]:
        """A server with llama.vim's own flags, but for the context that all get.

        Half of it is the batch, from which llama-server derives how much of the text around the
        cursor it takes; the rest is room for the ring of extra chunks and, by `--predict`, for
        what is generated: it would fill all of it with chunks otherwise, and refuse the prompt.
        """
        half = str(_CONTEXT // 2)
        flags = ["--ctx-size", str(_CONTEXT), "--batch-size", half, "--ubatch-size", half]
        flags += ["--cache-reuse", "256", "--parallel", "1", "--predict", str(N_PREDICT)]
        flags += ["--threads", str(setup.threads), "--threads-batch", str(setup.threads)]
        with LlamaServer(binary, setup.base, flags) as server, Meter(server.process.pid) as meter:
            system = cls(meter, server, setup, name)
            yield system
            await system.editor.vim.close()

    def spent(self) -> Spent:
        counts = self.editor.vim.counts
        tokens = counts.prompt_tokens + counts.generated_tokens
        return Spent(tokens, counts.runs, len(counts.used), self.meter.cpu_seconds)


def _own_order(setup: Setup) -> Prompting:
    return OwnOrder(setup.base, context=_CONTEXT, batch=_CONTEXT // 2, predict=N_PREDICT)


_PROMPTINGS = {"llama-server": lambda _: Infill(), "llama-server-own-order": _own_order}


def main() -> None:
    options = _options()
    trace = options.trace and Trace.read(options.trace)
    trace = trace or make_trace(options.repository, options.seconds, options.seed)
    try:
        report = asyncio.run(measure(trace, options))
    except KernelsDifferError as error:
        sys.exit(f"not comparable: {error}")
    options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(markdown(report))
    print(f"all figures: {options.json}", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repository", type=Path, default=Path(), help="whose commits are typed")
    parser.add_argument("--trace", type=Path, help="a recorded trace of that repository instead")
    parser.add_argument("--seconds", type=float, default=80.0, help="of typing, for each system")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", type=float, default=1.0, help="times as fast as recorded")
    parser.add_argument("--base", nargs="+", default=["embedded", "random"], help="or GGUF files")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--llama-server", type=Path, help="a binary of the same llama.cpp")
    parser.add_argument("--alone", action="store_true", help="leave llama-server out")
    parser.add_argument("--no-fold", action="store_true", help="leave the adapters' cost out")
    parser.add_argument("--json", type=Path, default=Path("bench-typing.json"))
    return parser.parse_args()


async def measure(trace: Trace, options: argparse.Namespace) -> dict[str, Any]:
    """The whole report.

    Raises:
        KernelsDifferError: llama-server computes with other kernels.
    """
    machine = describe_machine(options.threads)
    binary = None if options.alone else _binary(options.llama_server)
    kernels = None if binary is None else check_kernels(binary)
    with tempfile.TemporaryDirectory(prefix="neuralforge-bench-") as name:
        folder = Path(name)
        runs = []
        for base in options.base:
            setup = _setup(base, folder, options)
            runs.append(await play_all(trace, setup, options.repository, binary, folder))
        fold = None if options.no_fold else measure_fold(folder, options.threads)
    return {
        "machine": machine,
        "kernels": kernels,
        "trace": describe_trace(trace, options.speed),
        "runs": runs,
        "fold": fold,
    }


def _binary(given: Path | None) -> Path | None:
    """llama-server's; None, said so, where there is none and none can be built."""
    try:
        return given or find_llama_server()
    except KernelsDifferError:
        raise
    except LlamaServerError as error:
        print(f"without llama-server: {error}", file=sys.stderr)
        return None


def _setup(base: str, folder: Path, options: argparse.Namespace) -> Setup:
    if base == "embedded":
        return Setup(base, embedded_base(), options.threads, options.speed)
    if base == "random":
        path = make_base(folder / "random-0.5b-q8_0.gguf", **_QWEN_HALF)
        look = _RANDOM_LOOK_SECONDS
        return Setup(
            base, path, options.threads, options.speed, _RANDOM_TOKENS, "visible", look
        )  # fmt: skip
    return Setup(Path(base).stem, Path(base), options.threads, options.speed)


async def play_all(
    trace: Trace, setup: Setup, repository: Path, binary: Path | None, folder: Path
) -> dict[str, Any]:
    """One base's part of the report; only NeuralForge's figures where there is no `binary`."""
    own, workspace = folder / setup.name, folder / setup.name / "workspace"
    workspace.mkdir(parents=True)
    write_tree(repository, trace.segments[0].commit, workspace)
    async with AsyncExitStack() as stack:
        started = NeuralForge.started(setup, own, workspace)
        systems: list[System] = [await stack.enter_async_context(started)]
        for name in peers(setup) if binary is not None else ():
            assert binary is not None
            systems.append(await stack.enter_async_context(Llama.started(setup, binary, name)))
        await _alternate(trace, systems, setup, repository, workspace)
        described = [await system.describe() for system in systems]
    ours, *theirs = systems
    return {
        "base": setup.name,
        "megabytes": setup.base.stat().st_size / 1e6,
        "context": _CONTEXT,
        "max_tokens": setup.max_tokens,
        "systems": described,
        "comparisons": [
            {"peer": peer.name, **compare(ours.tallies(), peer.tallies(), setup.condition)}
            for peer in theirs
        ],
    }


def peers(setup: Setup) -> list[str]:
    """Which llama-servers are played: another order only where the base has one."""
    return list(_PROMPTINGS) if fim_order(setup.base) == "suffix-first" else ["llama-server"]


async def _alternate(
    trace: Trace, systems: list[System], setup: Setup, repository: Path, workspace: Path
) -> None:
    commit = trace.segments[0].commit
    for number, segment in enumerate(trace.segments):
        if segment.commit != commit:
            commit = segment.commit
            await asyncio.to_thread(write_tree, repository, commit, workspace)
        first = number % len(systems)
        for system in [*systems[first:], *systems[:first]]:
            system.mark()
            await play(segment, system.editor, setup.speed, setup.look)
            await system.meter.calm()  # or it would be in the next one's way
        _tell(setup.name, number, segment, len(trace.segments))
    for system in systems:
        system.mark()


def _tell(name: str, number: int, segment: Segment, count: int) -> None:
    print(f"{name}: segment {number + 1} of {count}, {segment.path}", file=sys.stderr)


if __name__ == "__main__":
    main()
