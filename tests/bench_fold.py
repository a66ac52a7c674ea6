"""What adapters cost: tokens a second with none, one and four of rank 16, and a swap's time.

Alternates between the stacks in one engine, so that what else the machine does falls on all of
them alike. Knows random adapters only: cost does not depend on what they say.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from gguf_maker import make_adapter
from neuralforge_adapters.base import open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedStack, StackEntry, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest, Completion
from neuralforge_server.engine.stopping import StopRules

_RANK = 16
_TOKENS = 48


def measure_fold(folder: Path, threads: int, rounds: int = 12) -> dict[str, Any]:
    """Tokens a second by stack, their cost relative to others, and swaps in milliseconds."""
    home = Home(folder / "fold-home")
    base = open_base(None, home)
    paths = [make_adapter(folder / f"fold-{n}.gguf", seed=n, rank=_RANK) for n in range(4)]
    store = AdapterStore(home)
    stacks = {
        "none": ResolvedStack(),
        "one": resolve([StackEntry(str(paths[0]))], store, base.digest),
        "four": resolve([StackEntry(str(p)) for p in paths], store, base.digest),
        "four_reversed": resolve([StackEntry(str(p)) for p in paths[::-1]], store, base.digest),
    }
    costs: dict[str, list[float]] = {name: [] for name in stacks}
    swaps: dict[str, list[float]] = {name: [] for name in stacks}
    with EngineClient(base, threads=threads) as engine:
        for turn in range(rounds):
            for name, stack in stacks.items():
                started = time.perf_counter()
                engine.set_stack(stack)
                swaps[name].append((time.perf_counter() - started) * 1000)
                costs[name].append(_milliseconds(engine.complete(_request(turn))))
    medians = {name: statistics.median(values) for name, values in costs.items()}
    return {
        "ms_per_token": medians,
        "tokens_per_second": {name: 1000 / value for name, value in medians.items()},
        "one_over_none": medians["one"] / medians["none"],
        "four_over_one": medians["four"] / medians["one"],
        "four_reversed_over_one": medians["four_reversed"] / medians["one"],
        "swap_ms": {name: statistics.median(values) for name, values in swaps.items()},
        "first_swap_ms": {name: values[0] for name, values in swaps.items()},
        "goals": {"four_over_one": 1.25, "swap_ms": 20.0},
    }


def _request(turn: int) -> CompleteRequest:
    """A prompt that no cache holds."""
    lines = [f"def function_{turn}_{n}(value):\n    return value * {n}\n\n" for n in range(12)]
    rules = StopRules(max_lines=20)
    return CompleteRequest("".join(lines), "", max_tokens=_TOKENS, rules=rules, evaluation=True)


def _milliseconds(completion: Completion) -> float:
    return completion.milliseconds / max(1, completion.evaluated_tokens)
