"""What guards against forgetting, measured: several updates in a row, by each arm.

`python tests/bench_memory.py CLONE [--updates 4] [--samples 100] [--items 16] [--arms none replay]`
cuts the history of the clone's main author into windows of like many samples, trains one update
on each in turn, and asks lines of the newest commits of every window so far after each, and of
general code. Prints a JSON line for each update and one for each arm. Seeds are fixed.

EM, and nats a token; backward transfer is the mean over windows of the last measure minus that
right after the window was learnt. A line that is asked stands in no commit that is trained on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedAdapter, ResolvedStack
from neuralforge_adapters.store import PERSONAL, AdapterStore, AdapterVersion, Manifest
from neuralforge_server.engine.client import EngineClient
from neuralforge_trainer.evaluate.gate import ask
from neuralforge_trainer.evaluate.general import general_items
from neuralforge_trainer.evaluate.heldout import Item, heldout_items, split
from neuralforge_trainer.learn.libraries import tame_libraries
from neuralforge_trainer.samples.dedup import distinct
from neuralforge_trainer.samples.fim import samples_of
from neuralforge_trainer.samples.git import choose_author, user_commits
from neuralforge_trainer.samples.repository import open_repository
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.scrubbed import prepare
from neuralforge_trainer.settings import JobSettings, make_settings

GENERAL = "general"


@dataclass(frozen=True)
class Window:
    """One update's samples, and what is asked of it ever after."""

    samples: Sequence[Sample]
    items: Sequence[Item]


@dataclass(frozen=True)
class Score:
    """Over one set of items."""

    em: float
    nll: float
    """Nats a token."""


def windows(clone: Path, updates: int, samples: int, items: int) -> list[Window]:
    """The newest windows of the main author's history, oldest first."""
    repository = open_repository(clone)
    changes = sorted(
        user_commits(repository, choose_author(repository).author, newest=600),
        key=lambda change: change.time,
    )
    size = len(changes) // updates
    parts = [split(changes[i * size : (i + 1) * size], 0.25) for i in range(updates)]
    trained = [change for train, _ in parts for change in train]
    return [
        Window(
            prepare(distinct(s for change in train for s in samples_of(change, str(clone), 0)))[
                -samples:
            ],
            heldout_items(heldout, trained, items, 0),
        )
        for train, heldout in parts
    ]


def measure(base: Base, version: AdapterVersion | None, sets: dict[str, Any]) -> dict[str, Score]:
    """Every set of items, asked of the engine with `version`."""
    stack = ResolvedStack()
    if version is not None:
        adapter = ResolvedAdapter(version.reference, version.gguf, 1.0, version.manifest.digest)
        stack = ResolvedStack((adapter,))
    scores = {}
    with EngineClient(base, context=1536, threads=1) as engine:
        engine.set_stack(stack)
        for name, items in sets.items():
            answers = [ask(engine, item) for item in items]
            em = sum(answer.exact for answer in answers) / len(answers)
            nll = sum(a.nll for a in answers) / sum(a.tokens for a in answers)
            scores[name] = Score(em, nll)
    return scores


def course(
    base: Base, found: Sequence[Window], settings: JobSettings, general: Sequence[Item]
) -> Iterator[dict[str, Any]]:
    """One arm's updates: after each, the scores on every window so far and on general code."""
    from neuralforge_trainer.learn.replay import ReplayBuffer
    from neuralforge_trainer.update import Update

    with tempfile.TemporaryDirectory() as folder:
        home, version = Home(Path(folder)), None
        store = AdapterStore(home)
        for number, window in enumerate(found):
            began = time.monotonic()
            update = Update(home, base, window.samples, settings, version)
            with store.staging(PERSONAL) as staged:
                update.train(staged, lambda: None, lambda step, steps: None)
                update.consolidate(staged, lambda: None)
                version = store.publish(staged, Manifest(PERSONAL, base.digest, 16, 32.0))
            with ReplayBuffer(home.replay_buffer, settings.replay_capacity) as buffer:
                buffer.add(window.samples)
            seconds = time.monotonic() - began
            sets = {str(i): found[i].items for i in range(number + 1)} | {GENERAL: general}
            yield {"seconds": seconds, "scores": measure(base, version, sets)}


def main() -> None:
    """Measure the arms that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clone", type=Path)
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--general", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arms", nargs="+", default=["none", "replay", "ewc", "both"])
    parser.add_argument("--set", type=json.loads, default={})
    options = parser.parse_args()
    tame_libraries()
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        base = open_base(None, Home(Path(folder)))
    found = windows(options.clone, options.updates, options.samples, options.items)
    general = general_items(options.general, 0)
    sets = {str(i): window.items for i, window in enumerate(found)} | {GENERAL: general}
    before = measure(base, None, sets)
    _print({"clone": options.clone.name, "sizes": [len(w.samples) for w in found],
            "items": [len(w.items) for w in found], "base": _plain(before)})  # fmt: skip
    for arm in options.arms:
        settings = make_settings({"arm": arm, **options.set})
        rows = []
        for row in course(base, found, settings, general):
            rows.append(row)
            _print({"arm": arm, "seconds": row["seconds"], "scores": _plain(row["scores"])})
        _print({"arm": arm, "set": options.set, **_summary(rows, before)})


def _summary(rows: Sequence[dict[str, Any]], before: dict[str, Score]) -> dict[str, float]:
    last = rows[-1]["scores"]
    old = range(len(rows) - 1)
    gain = [rows[i]["scores"][str(i)].nll - before[str(i)].nll for i in range(len(rows))]
    return {
        "learnt_nll": sum(gain) / len(gain),
        "bwt_em": sum(last[str(i)].em - rows[i]["scores"][str(i)].em for i in old) / len(old),
        "bwt_nll": sum(last[str(i)].nll - rows[i]["scores"][str(i)].nll for i in old) / len(old),
        "general_em": last[GENERAL].em - before[GENERAL].em,
        "general_nll": last[GENERAL].nll - before[GENERAL].nll,
        "seconds": sum(row["seconds"] for row in rows),
    }


def _plain(scores: dict[str, Score]) -> dict[str, tuple[float, float]]:
    return {name: (round(s.em, 4), round(s.nll, 4)) for name, s in scores.items()}


def _print(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
