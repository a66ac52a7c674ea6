"""One update of one learner, as production does it, in a process and a home of its own.

Run as `python -P -m neuralforge_trainer.evaluate.history.one_update ORDER`, with the order's JSON
file; leaves the next version in the order's home and the cost beside the order. The gate is left
out, so that every learner shows what it does; sampling, mixture, replay, penalty and encoding are
those of a job.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from neuralforge_adapters.base import Base
from neuralforge_adapters.home import Home, write_json
from neuralforge_adapters.store import PERSONAL, AdapterStore, Manifest
from neuralforge_trainer.evaluate.history.kept import Cost
from neuralforge_trainer.learn.libraries import tame_libraries
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.settings import JobSettings, make_settings

COST_FILE = "cost.json"


def work(order: Path) -> None:
    """Do what the file says, and write what it cost."""
    content = json.loads(order.read_text("utf-8"))
    tame_libraries()
    import torch

    torch.set_num_threads(content["threads"])
    base = Base(Path(content["base"]), content["digest"])
    samples = [Sample.from_json(line) for line in content["samples"]]
    home = Home(order.parent / "home")
    cost = learn(home, base, samples, make_settings(content["settings"]))
    write_json(order.parent / COST_FILE, asdict(cost))


def learn(home: Home, base: Base, samples: list[Sample], settings: JobSettings) -> Cost:
    """The next version from `samples`, published in `home`; the buffer is offered them."""
    from neuralforge_trainer.learn.replay import ReplayBuffer
    from neuralforge_trainer.update import Update

    store = AdapterStore(home)
    parent = store.current_for(PERSONAL, base.digest)
    started, before = time.perf_counter(), time.process_time()
    update = Update(home, base, samples, settings, parent)
    with store.staging(PERSONAL) as staged:
        steps = update.train(staged, lambda: None, lambda step, of: None)
        trained = time.perf_counter()
        update.consolidate(staged, lambda: None)
        ended, spent = time.perf_counter(), time.process_time() - before
        name = parent.reference if parent is not None else None
        store.publish(staged, Manifest(PERSONAL, base.digest, *update.rank_and_alpha, name))
    store.prune(PERSONAL, keep=1)
    with ReplayBuffer(home.replay_buffer, settings.replay_capacity) as buffer:
        buffer.add(samples)
    mixture = update.mixture
    update.forget()
    return Cost(
        examples=len(mixture.all),
        new=len(mixture.new),
        replayed=len(mixture.replayed),
        steps=steps,
        seconds=round(ended - started, 3),
        fisher_seconds=round(ended - trained, 3),
        cpu_seconds=round(spent, 3),
        peak_bytes=peak_memory(),
    )


def peak_memory() -> int:
    """Most bytes that this process had resident, its parent's left out."""
    if sys.platform == "linux":  # getrusage counts what was resident when the parent forked
        status = Path("/proc/self/status").read_text("ascii", "replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    if os.name == "nt":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS


def main(arguments: list[str]) -> Any:
    """Work; a failure is a traceback and status 1."""
    work(Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
