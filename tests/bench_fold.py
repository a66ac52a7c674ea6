"""What adapters cost: time per token with none, one and four of rank 16, and how long swaps take.

Alternates between the stacks in one engine, so that what else the machine does falls on all of
them alike; ratios are taken within a round. Three kinds of swap: to a stack that is loaded; to one
that is not, of files that the engine has read before (another scale, another choice: this is
what folding takes); and to one of files that it has never read, which it checks number by number
first. Invariant: the time of a swap is the caller's, from asking to the answer; the first token
after it was found to take no longer than any other. Knows random adapters only: cost does not
depend on what they say.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gguf_maker import make_adapter
from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedStack, StackEntry, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest, Completion
from neuralforge_server.engine.stopping import StopRules
from typing_figures import median_interval

_RANK = 16
_TOKENS = 48
_ADAPTERS = 4
_COST_GOAL, _SWAP_GOAL = 1.25, 20.0

Stacks = Mapping[str, ResolvedStack]
Row = dict[str, Any]


def measure_fold(folder: Path, threads: int, rounds: int = 12) -> dict[str, Any]:
    """Rows of costs and swaps: `name`, median `value`, its 95 % `interval`, `goal` if any."""
    home = Home(folder / "fold-home")
    base, store = open_base(None, home), AdapterStore(home)
    stacks = {
        "none": ResolvedStack(),
        "one": _stack(_adapters(folder, 0)[:1], store, base),
        "four": _stack(_adapters(folder, 0), store, base),
        "reversed": _stack(_adapters(folder, 0)[::-1], store, base),
    }
    with EngineClient(base, threads=threads) as engine:
        costs, known = _alternate(engine, stacks, rounds)
        fresh = [
            _swap(engine, _stack(_adapters(folder, 0), store, base, scale=1 - (turn + 1) / 100))
            for turn in range(rounds)
        ]
        unread = [
            _swap(engine, _stack(_adapters(folder, 1 + turn), store, base))
            for turn in range(rounds // 3)
        ]
    return {
        "ms_per_token": {name: statistics.median(values) for name, values in costs.items()},
        "rows": [
            _row("cost per token, four over one", _ratios(costs, "four", "one"), _COST_GOAL),
            _row("the same, in reverse order", _ratios(costs, "reversed", "one"), _COST_GOAL),
            _row("cost per token, one over none", _ratios(costs, "one", "none")),
            _row("cost per token, four over none", _ratios(costs, "four", "none")),
            _row("swap to a loaded stack, ms", known, _SWAP_GOAL),
            _row("swap to a new stack of four, ms", fresh, _SWAP_GOAL),
            _row("swap to four files never read before, ms", unread),
        ],
    }


def _alternate(
    engine: EngineClient, stacks: Stacks, rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Milliseconds per token by stack, and those of swaps between loaded stacks."""
    costs: dict[str, list[float]] = {name: [] for name in stacks}
    swaps = []
    for stack in stacks.values():
        engine.set_stack(stack)
    for turn in range(rounds):
        for name, stack in stacks.items():
            swaps.append(_swap(engine, stack))
            costs[name].append(_per_token(engine.complete(_request(turn))))
    return costs, swaps


def _swap(engine: EngineClient, stack: ResolvedStack) -> float:
    started = time.perf_counter()
    engine.set_stack(stack)
    return (time.perf_counter() - started) * 1000


def _adapters(folder: Path, group: int) -> list[Path]:
    """Four files of their own for every group, made once."""
    paths = [folder / f"fold-{group}-{n}.gguf" for n in range(_ADAPTERS)]
    for number, path in enumerate(paths):
        if not path.exists():
            make_adapter(path, seed=group * _ADAPTERS + number, rank=_RANK)
    return paths


def _stack(
    paths: Sequence[Path], store: AdapterStore, base: Base, scale: float = 1.0
) -> ResolvedStack:
    return resolve([StackEntry(str(path), scale) for path in paths], store, base.digest)


def _request(turn: int) -> CompleteRequest:
    """A prompt that no cache holds."""
    lines = [f"def function_{turn}_{n}(value):\n    return value * {n}\n\n" for n in range(12)]
    rules = StopRules(max_lines=20)
    return CompleteRequest("".join(lines), "", max_tokens=_TOKENS, rules=rules, evaluation=True)


def _per_token(completion: Completion) -> float:
    return completion.milliseconds / max(1, completion.evaluated_tokens)


def _ratios(costs: Mapping[str, Sequence[float]], one: str, other: str) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(costs[one], costs[other], strict=True)]


def _row(name: str, values: Sequence[float], goal: float | None = None) -> Row:
    value, interval = median_interval(values)
    return {"name": name, "value": value, "interval": interval, "goal": goal}
