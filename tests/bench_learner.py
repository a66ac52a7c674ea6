"""Which settings of a job teach more: a few updates in a row, asked about what comes next.

    python tests/bench_learner.py CLONE ... [--set '{}'] [--set '{"prefix_weight": 0.2}'] ...

cuts each history as `neuralforge replay` does, trains with the settings of each `--set` (over the
defaults) window by window, and asks the engine about the next window's lines, which no state shown
before holds, and at the end about general code. For development repositories: what is chosen here
is proved on others. Prints a JSON line for each update, and for each set one over all clones: EM
and ES in percent, nats a token, and the differences to the base with their 95 % intervals
(bootstrap clustered by commit). Retrieval and memory are off. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedAdapter, ResolvedStack
from neuralforge_adapters.store import PERSONAL, AdapterStore
from neuralforge_trainer.evaluate.general import general_items
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.history.exams import plain_exam
from neuralforge_trainer.evaluate.history.kept import Mark
from neuralforge_trainer.evaluate.history.one_update import learn
from neuralforge_trainer.evaluate.history.periods import Plan, make_plan
from neuralforge_trainer.evaluate.history.settings import ProofSettings
from neuralforge_trainer.evaluate.metrics import paired_bootstrap
from neuralforge_trainer.learn.libraries import tame_libraries
from neuralforge_trainer.samples.repository import open_repository
from neuralforge_trainer.settings import JobSettings, make_settings

NEXT, GENERAL = "next", "general"
Marks = dict[str, list[Mark]]


@dataclass(frozen=True)
class Bench:
    """What is asked of everybody."""

    base: Base
    plans: Sequence[Plan]
    general: Sequence[Item]
    threads: int

    def ask(self, items: Sequence[Item], stack: ResolvedStack) -> list[Mark]:
        """The marks of one stack; none where nothing is asked."""
        if not items:
            return []
        (marks,) = plain_exam(self.base, self.threads, items, [stack], scored=True)
        return marks

    def bare(self) -> Marks:
        """The base's own."""
        asked = [item for plan in self.plans for p in plan.periods[1:] for item in p.questions]
        general = self.ask(self.general, ResolvedStack()) * len(self.plans)
        return {NEXT: self.ask(asked, ResolvedStack()), GENERAL: general}

    def travel(self, settings: JobSettings) -> Marks:
        """Those of a learner with `settings`, in the order of `bare`."""
        found: Marks = defaultdict(list)
        for plan in self.plans:
            for exam, marks in self._one(plan, settings):
                found[exam] += marks
        return found

    def _one(self, plan: Plan, settings: JobSettings) -> Iterator[tuple[str, list[Mark]]]:
        with tempfile.TemporaryDirectory() as folder:
            home, stack = Home(Path(folder)), ResolvedStack()
            for number, period in enumerate(plan.periods[:-1]):
                cost = learn(home, self.base, list(period.samples), settings)
                version = AdapterStore(home).get(PERSONAL)
                digest = version.manifest.digest
                stack = ResolvedStack(
                    (ResolvedAdapter(version.reference, version.gguf, 1.0, digest),)
                )
                marks = self.ask(plan.periods[number + 1].questions, stack)
                _print({"clone": plan.name, "update": number + 1, "examples": cost.examples,
                        "seconds": cost.seconds, **_figures(marks)})  # fmt: skip
                yield NEXT, marks
            yield GENERAL, self.ask(self.general, stack)


def main() -> None:
    """Measure every set that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clones", nargs="+", type=Path)
    parser.add_argument("--base", type=Path, help="a GGUF; otherwise the embedded base")
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--items", type=int, default=48, help="asked in each window")
    parser.add_argument("--general", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", dest="sets", type=json.loads, action="append")
    options = parser.parse_args()
    tame_libraries()
    import torch

    torch.set_num_threads(options.threads)
    cut = ProofSettings(options.updates, options.samples, options.items, 0, options.general)
    with tempfile.TemporaryDirectory() as folder:
        base = open_base(options.base, Home(Path(folder)))
    plans = [make_plan(open_repository(clone), clone.name, None, cut) for clone in options.clones]
    bench = Bench(base, plans, general_items(options.general, 0), options.threads)
    bare = bench.bare()
    _print({"set": "base", **{exam: _figures(marks) for exam, marks in bare.items()}})
    for changed in options.sets or [{}]:
        marks = bench.travel(make_settings(changed))
        rows = {exam: _figures(marks[exam]) | _gains(bare[exam], marks[exam]) for exam in bare}
        _print({"set": changed, **rows})


def _figures(marks: Sequence[Mark]) -> dict[str, Any]:
    if not marks:
        return {"n": 0}
    return {
        "n": len(marks),
        "em": round(100 * sum(m.exact for m in marks) / len(marks), 1),
        "es": round(100 * sum(m.similarity for m in marks) / len(marks), 1),
        "nll": round(sum(m.nll for m in marks) / sum(m.tokens for m in marks), 3),
    }


def _gains(before: Sequence[Mark], after: Sequence[Mark]) -> dict[str, Any]:
    def gain(name: str) -> list[float]:
        own, base = ([float(getattr(m, name)) for m in marks] for marks in (after, before))
        found = paired_bootstrap(own, base, [mark.commit for mark in before])
        return [round(100 * value, 1) for value in found]

    return {"em_gain": gain("exact"), "es_gain": gain("similarity")} if before else {}


def _print(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
