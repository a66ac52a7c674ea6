"""What an update costs, and how its throughput compares with plain transformers and PEFT.

Side by side in one process, alternating: a plain `transformers.Trainer` on a PEFT LoRA with the
same samples, micro-batches, precision and threads; ours; ours with EWC and its Fisher. Ratios are
of runs next to each other, so that other load on the machine touches both; those of processor time
(all threads; waiting ones sleep) are steadier where it is busy. Then one whole update of 500 new
samples in a process of its own, for its time and memory.

    python tests/bench_training.py [--samples 64] [--rounds 5] [--threads 2] [--base GGUF]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.base_facts import read_facts
from neuralforge_adapters.home import Home
from neuralforge_trainer.learn.libraries import tame_libraries

UPDATE_SAMPLES = 500
FISHER_SHARE = 32 / 833
"""Samples for the Fisher to examples trained on, in a default update of 500 new samples."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=64, help="of one timed run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--update", action="store_true", help="only one whole update, as JSON")
    options = parser.parse_args()
    tame_libraries()
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        base = open_base(options.base, home)
        if options.update:
            print(json.dumps(whole_update(home, base)))
            return
        report_throughput(Bench(home, base, Path(folder), options.samples), options.rounds)
    report_update(base, options.threads)


class Cost(NamedTuple):
    """Seconds, by the clock and of all processors."""

    wall: float
    cpu: float

    def plus(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


class Bench:
    """Fresh models trained on the same examples in different ways."""

    def __init__(self, home: Home, base: Base, folder: Path, count: int) -> None:
        from neuralforge_trainer.evaluate.general import general_samples
        from neuralforge_trainer.learn.encode import Encoder, encode_all
        from neuralforge_trainer.learn.placement import place
        from neuralforge_trainer.learn.vocabulary import load_vocabulary
        from neuralforge_trainer.settings import JobSettings

        self._base, self._folder = base, folder
        self._settings = JobSettings()
        self._placement = place(read_facts(base.path).shape)
        encoder = Encoder(
            load_vocabulary(base, home),
            self._settings.sequence_tokens,
            self._settings.prefix_weight,
        )
        self.examples = encode_all(encoder, general_samples(count))
        self.tokens = sum(map(len, self.examples))

    def plain(self) -> Cost:
        """What a plain Trainer costs; its loss is the same: on the middle and its end."""
        from transformers import PrinterCallback, Trainer, TrainingArguments

        model = self._model(replace(self._placement, attention="sdpa"))
        settings = self._settings
        arguments = TrainingArguments(
            output_dir=str(self._folder / "plain"),
            per_device_train_batch_size=settings.micro_batch,
            gradient_accumulation_steps=settings.accumulation,
            num_train_epochs=1,
            learning_rate=settings.learning_rate,
            use_cpu=self._placement.device.type == "cpu",
            bf16=self._placement.precision == "bfloat16",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(model, arguments, train_dataset=self.examples, data_collator=_padded)
        trainer.remove_callback(PrinterCallback)
        return _cost(trainer.train)

    def ours(self, ewc: bool = False) -> Cost:
        """What ours costs; with `ewc`, its penalty and Fisher too."""
        from neuralforge_trainer.learn.ewc import EwcPenalty, consolidate
        from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings
        from neuralforge_trainer.learn.plan import plan

        model = self._model(self._placement)
        settings = self._settings
        run = RunSettings(
            settings.learning_rate,
            settings.micro_batch,
            settings.accumulation,
            settings.warm_up,
            0,
            10**6,
            0.0,
            precision=self._placement.precision,
        )
        order = plan([len(e) for e in self.examples], settings.micro_batch, 1, 0)
        examples = [self.examples[i] for i in order]
        penalty = EwcPenalty(consolidate(model, examples[:2], None), 0.3, 1.0) if ewc else None
        trainer = PersonalTrainer(model, examples, self._folder / "ours", run, ewc=penalty)
        cost = _cost(trainer.train)
        if ewc:
            count = max(1, round(FISHER_SHARE * len(examples)))
            cost = cost.plus(_cost(lambda: consolidate(model, examples[:count], None)))
        return cost

    def _model(self, placement: Any) -> Any:
        from neuralforge_trainer.learn.lora import attach_lora, load_base
        from neuralforge_trainer.learn.placement import put

        return attach_lora(put(load_base(self._base), placement), 0)


def _padded(examples: Sequence[Any]) -> dict[str, Any]:
    """As transformers' own collators pad: on the right, with a mask and labels of -100."""
    import torch

    longest = max(map(len, examples))
    gaps = [(0,) * (longest - len(e)) for e in examples]
    labels = [
        [i if w == 1 else -100 for i, w in zip(e.ids, e.weights, strict=True)] for e in examples
    ]
    return {
        "input_ids": torch.tensor([e.ids + g for e, g in zip(examples, gaps, strict=True)]),
        "attention_mask": torch.tensor(
            [(1,) * len(e) + g for e, g in zip(examples, gaps, strict=True)]
        ),
        "labels": torch.tensor(
            [[*one, *[-100] * len(g)] for one, g in zip(labels, gaps, strict=True)]
        ),
    }


def _cost(work: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def report_throughput(bench: Bench, rounds: int) -> None:
    arms: dict[str, Callable[[], Cost]] = {
        "transformers.Trainer with PEFT": bench.plain,
        "ours": bench.ours,
        "ours with EWC and its Fisher": lambda: bench.ours(ewc=True),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, arm in arms.items():
            costs[name].append(arm())
    plain, ours, ewc = costs.values()
    load = psutil.getloadavg()[0]
    print(f"{len(bench.examples)} samples, {bench.tokens} tokens, {rounds} rounds, load {load:.1f}")
    for name, measured in costs.items():
        wall = _spread([bench.tokens / c.wall for c in measured], 0)
        cpu = _spread([bench.tokens / c.cpu for c in measured], 0)
        print(f"  {name:32} {wall} tokens/s, {cpu} per processor second")
    for what, of in (("time", 0), ("processor time", 1)):
        ratios = [a[of] / b[of] for a, b in zip(plain, ours, strict=True)]
        dearer = [b[of] / a[of] - 1 for a, b in zip(ours, ewc, strict=True)]
        print(f"  by {what}: ours is {_spread(ratios, 2)} times as fast (goal: at least 1);")
        print(f"    EWC costs {_spread(dearer, 2)} more (goal: at most 0.15)")


def _spread(values: Sequence[float], digits: int) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def report_update(base: Base, threads: int) -> None:
    command = [sys.executable, __file__, "--update", "--threads", str(threads)]
    done = subprocess.run(
        [*command, "--base", str(base.path)], stdout=subprocess.PIPE, text=True, check=True
    )
    said = json.loads(done.stdout.strip().rpartition("\n")[2])
    goal = 60 * said["parameters"] / 10e6
    print(
        f"one update of {UPDATE_SAMPLES} new samples, {said['examples']} examples with general "
        f"code, in {said['wall']:.1f} s, {said['cpu']:.1f} s of processors (goal: {goal:.0f} s on "
        f"two free cores); {said['peak_mb']:.0f} MB at most (goal: 1000)"
    )


def whole_update(home: Home, base: Base) -> dict[str, float]:
    """A first update by the defaults, EWC and conversion included."""
    from neuralforge_trainer.evaluate.general import general_samples
    from neuralforge_trainer.settings import JobSettings
    from neuralforge_trainer.update import Update

    samples = general_samples(UPDATE_SAMPLES, seed=99)
    staged = home.root / "staged"
    staged.mkdir(parents=True)
    update = Update(home, base, samples, JobSettings(), None)

    def work() -> None:
        update.train(staged, lambda: None, lambda step, steps: None)
        update.consolidate(staged, lambda: None)

    cost = _cost(work)
    return {
        "wall": cost.wall,
        "cpu": cost.cpu,
        "examples": len(update.mixture.all),
        "peak_mb": _peak_bytes() / 1e6,
        "parameters": read_facts(base.path).shape.parameters,
    }


def _peak_bytes() -> int:
    """The most memory that this process has held."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
