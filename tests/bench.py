"""`make bench`: what NeuralForge costs, as a table and as JSON.

Drives a real server over real stdio with the embedded base. Timings depend on the machine and on
what else runs there: quote medians, with the spread, from one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from gguf_maker import make_adapter
from neuralforge_adapters.base import open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedStack, StackEntry, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.lsp_client import LspClient

_STARTS = 7
_SWAPS = 30
_KEYS = 400
_DOCUMENTS = 20


@dataclass(frozen=True)
class Figure:
    """One measured quantity over `count` runs."""

    name: str
    unit: str
    goal: float
    """What it should stay under, by the 95th percentile where that is what `name` says."""
    value: float
    low: float
    high: float
    count: int

    @property
    def met(self) -> bool:
        return self.value <= self.goal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    figures = asyncio.run(measure())
    machine = describe_machine()
    print_table(machine, figures)
    report = {"machine": machine, "figures": [{**asdict(f), "met": f.met} for f in figures]}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    else:
        print(json.dumps(report))


async def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        starts = [await first_suggestion(home) for _ in range(_STARTS)]
        own, keys, memory, after_large = await typing_session(home)
        swaps = swap_times(home, Path(folder))
    return [
        figure("process start to first suggestion", "s", 2.0, starts),
        own_share("p50", 2.0, own),
        own_share("p95", 5.0, own),
        figure("keystroke to suggestion, p50", "ms", 40.0, keys, 0.5),
        figure("keystroke to suggestion, p95", "ms", 150.0, keys, 0.95),
        figure("swap of a stack", "ms", 20.0, swaps),
        figure(f"server's memory, {_DOCUMENTS} documents open", "MB", 150.0, [memory]),
        figure("server's memory after a 20 MB document", "MB", 150.0, [after_large]),
    ]


async def first_suggestion(home: Home) -> float:
    """Seconds from starting the process to a suggestion."""
    started = time.perf_counter()
    async with LspClient(("serve",), home=home.root) as editor:
        await editor.initialize()
        editor.open("file:///bench/start.py", "import os\n\n\ndef main():\n    pri")
        while not await editor.complete("file:///bench/start.py", (4, 7)):
            pass
        return time.perf_counter() - started


async def typing_session(home: Home) -> tuple[dict[str, float], list[float], float, float]:
    """(own share by the server's count, time of each keystroke in ms, memory before and after)."""
    sources = [path.read_text("utf-8") for path in ordinary_files(_DOCUMENTS)]
    async with LspClient(("serve",), home=home.root) as editor:
        await editor.initialize()
        for number, source in enumerate(sources):
            editor.open(f"file:///bench/{number}.py", source)
        keys = await type_out(editor, "file:///bench/typed.py", sources[0], _KEYS)
        own = (await editor.execute("neuralforge.status"))["own_ms"]
        memory = resident_megabytes(editor)
        editor.open("file:///bench/large.py", "x = 1\n" * (20_000_000 // 6))
        await editor.execute("neuralforge.status")
        return own, keys, memory, resident_megabytes(editor)


async def type_out(editor: LspClient, uri: str, source: str, count: int) -> list[float]:
    """Type `count` characters missing in the middle of `source`, asking after each; times in ms."""
    lines = source.splitlines(keepends=True)
    row = len(lines) // 2
    text, rest = "".join(lines[:row]), "".join(lines[row:])
    editor.open(uri, text + "\n" + rest[count:].partition("\n")[2])
    times, column = [], 0
    for character in rest[:count]:
        editor.change(uri, character, (row, column))
        row, column = (row + 1, 0) if character == "\n" else (row, column + 1)
        asked = time.perf_counter()
        await editor.complete(uri, (row, column))
        times.append((time.perf_counter() - asked) * 1000)
    return times


def swap_times(home: Home, folder: Path) -> list[float]:
    """Milliseconds to swap between two stacks of one adapter of rank 16."""
    base = open_base(None, home)
    paths = [make_adapter(folder / f"{seed}.gguf", seed=seed, rank=16) for seed in (1, 2)]
    times = []
    with EngineClient(base) as engine:
        for turn in range(_SWAPS):
            engine.set_stack(ResolvedStack())
            entry = StackEntry(str(paths[turn % 2]))
            started = time.perf_counter()
            engine.set_stack(resolve([entry], AdapterStore(home), base.digest))
            times.append((time.perf_counter() - started) * 1000)
    return times


def ordinary_files(count: int) -> list[Path]:
    """Middle-sized modules of the running interpreter's standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = [p for p in sorted(folder.glob("*.py")) if 10_000 < p.stat().st_size < 60_000]
    return [p for p in files if p.read_text("utf-8", "replace").isascii()][:count]


def resident_megabytes(editor: LspClient) -> float:
    return float(psutil.Process(editor.process.pid).memory_info().rss) / 1e6


def figure(
    name: str, unit: str, goal: float, values: Sequence[float], quantile: float | None = None
) -> Figure:
    ordered = sorted(values)
    value = statistics.median(ordered)
    if quantile is not None:
        value = ordered[min(len(ordered) - 1, int(len(ordered) * quantile))]
    return Figure(name, unit, goal, value, ordered[0], ordered[-1], len(ordered))


def own_share(quantile: str, goal: float, own: dict[str, float]) -> Figure:
    """What the server counted itself, outside llama.cpp, for suggestions that were computed."""
    name, value = f"server's own share of a request, {quantile}", own[quantile]
    return Figure(name, "ms", goal, value, value, value, int(own["requests"]))


def describe_machine() -> str:
    cores = psutil.cpu_count(logical=False)
    load = psutil.getloadavg()[0]
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, Python "
        f"{platform.python_version()}, load {load:.1f}, {time.strftime('%Y-%m-%d')}"
    )


def print_table(machine: str, figures: Sequence[Figure]) -> None:
    table = Table(title=machine, title_justify="left", box=None)
    for column in ("figure", "median or quantile", "min", "max", "n", "goal", ""):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for f in figures:
        numbers = [f"{value:.3g}" for value in (f.value, f.low, f.high)]
        verdict = "met" if f.met else "MISSED"
        table.add_row(
            f.name, f"{numbers[0]} {f.unit}", *numbers[1:], str(f.count), f"{f.goal:g}", verdict
        )
    Console(stderr=True).print(table)


if __name__ == "__main__":
    main()
