"""What an update costs, and how its throughput compares with plain transformers and PEFT.

Side by side in one process, alternating: a plain `transformers.Trainer` on a PEFT LoRA with the
same samples, micro-batches, precision and threads; ours; ours with EWC and the Fisher information
that a first update computes, on general code beforehand and on what was trained after; ours with
EWC and that of a later update, which computes it after alone. For each example trained on it is
computed on as many as in an update of 500 new samples by the settings. Ratios are of runs next to
each other, so that other load on the machine touches both; those of processor time (all threads;
waiting ones sleep) are steadier where it is busy. Then two whole updates of 500 new samples, each
in a process of its own, for time and memory: one in an empty home, one with a full replay buffer,
which is the same but for the replayed examples and the general code beside them.

    python tests/bench_training.py [--samples 64] [--rounds 5] [--new 500] [--base GGUF]
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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psutil

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.base_facts import read_facts
from neuralforge_adapters.home import Home
from neuralforge_trainer.learn.libraries import tame_libraries
from neuralforge_trainer.settings import JobSettings

if TYPE_CHECKING:
    from neuralforge_trainer.learn.encode import Encoded
    from neuralforge_trainer.learn.ewc import Consolidation, EwcPenalty

UPDATE_SAMPLES = 500
EMPTY, FULL = "empty", "full"
"""What the replay buffer of a whole update's home is."""

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=64, help="of one timed run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--new", type=int, default=UPDATE_SAMPLES, help="new samples of a whole update"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--base", type=Path)
    parser.add_argument(
        "--update", choices=(EMPTY, FULL), help="only one whole update with such a buffer, as JSON"
    )
    options = parser.parse_args()
    tame_libraries()
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        base = open_base(options.base, home)
        if options.update:
            print(json.dumps(whole_update(home, base, options.update, options.new)))
            return
        report_throughput(Bench(home, base, Path(folder), options.samples), options.rounds)
    report_updates(base, options.threads, options.new)


class Cost(NamedTuple):
    """Seconds, by the clock and of all processors."""

    wall: float
    cpu: float

    def plus(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def times(self, factor: float) -> Cost:
        return Cost(self.wall * factor, self.cpu * factor)


def fisher_share(settings: JobSettings, *, first: bool) -> float:
    """Samples of one Fisher to examples trained on, in an update of 500 new samples.

    A first update replays nothing; both rehearse general code.
    """
    own = UPDATE_SAMPLES if first else UPDATE_SAMPLES / (1 - settings.replay_share)
    return settings.fisher_samples * (1 - settings.rehearsal_share) / own


class Bench:
    """Fresh models trained on the same examples in different ways."""

    def __init__(self, home: Home, base: Base, folder: Path, count: int) -> None:
        from neuralforge_trainer.evaluate.general import general_samples
        from neuralforge_trainer.learn.encode import Encoder, encode_all
        from neuralforge_trainer.learn.placement import place
        from neuralforge_trainer.learn.vocabulary import load_vocabulary

        self._base, self._folder = base, folder
        self._settings = JobSettings()
        self._placement = place(read_facts(base.path).shape)
        encoder = Encoder(
            load_vocabulary(base, home),
            self._settings.sequence_tokens,
            self._settings.prefix_weight,
        )
        samples = general_samples(count)
        whole = replace(encoder, prefix_weight=self._settings.rehearsal_prefix_weight)
        self.examples = encode_all(encoder, samples)
        self._general = encode_all(whole, samples)
        """As general code is rehearsed, with more predictions to each."""
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
        return _timed(trainer.train)[1]

    def ours(self) -> Cost:
        """What ours costs without EWC."""
        return self._train(self._model(self._placement), None)

    def with_ewc(self, *, first: bool) -> Cost:
        """What ours costs with EWC's penalty and the Fisher of a first or of a later update."""
        from neuralforge_trainer.learn.ewc import EwcPenalty

        model = self._model(self._placement)
        share = fisher_share(self._settings, first=first)
        past, before = self._fisher(model, self._general, share)
        trained = self._train(model, EwcPenalty(past, self._settings.rho, 1.0))
        _, after = self._fisher(model, self.examples, share)
        cost = trained.plus(after)
        return cost.plus(before) if first else cost

    def _fisher(
        self, model: Any, examples: Sequence[Encoded], share: float
    ) -> tuple[Consolidation, Cost]:
        """As an update computes it, and what it costs on that share of the examples."""
        from neuralforge_trainer.learn.ewc import consolidate
        from neuralforge_trainer.learn.placement import half_products

        wanted = share * len(examples)
        count = max(1, round(wanted))
        with half_products(model.device):
            found, cost = _timed(lambda: consolidate(model, examples[:count], None))
        return found, cost.times(wanted / count)

    def _train(self, model: Any, penalty: EwcPenalty | None) -> Cost:
        from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings
        from neuralforge_trainer.learn.plan import plan

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
        trainer = PersonalTrainer(model, examples, self._folder / "ours", run, ewc=penalty)
        return _timed(trainer.train)[1]

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


def _timed(work: Callable[[], T]) -> tuple[T, Cost]:
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return done, Cost(time.perf_counter() - wall, time.process_time() - cpu)


def report_throughput(bench: Bench, rounds: int) -> None:
    arms: dict[str, Callable[[], Cost]] = {
        "transformers.Trainer with PEFT": bench.plain,
        "ours": bench.ours,
        "ours with EWC, first update": lambda: bench.with_ewc(first=True),
        "ours with EWC, later update": lambda: bench.with_ewc(first=False),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, arm in arms.items():
            costs[name].append(arm())
    plain, ours, *with_ewc = costs.values()
    load = psutil.getloadavg()[0]
    print(f"{len(bench.examples)} samples, {bench.tokens} tokens, {rounds} rounds, load {load:.1f}")
    for name, measured in costs.items():
        wall = _spread([bench.tokens / c.wall for c in measured], 0)
        cpu = _spread([bench.tokens / c.cpu for c in measured], 0)
        print(f"  {name:32} {wall} tokens/s, {cpu} per processor second")
    for what, of in (("time", 0), ("processor time", 1)):
        ratios = [a[of] / b[of] for a, b in zip(plain, ours, strict=True)]
        print(f"  by {what}: ours is {_spread(ratios, 2)} times as fast (goal: at least 1)")
        for update, measured in zip(("first", "later"), with_ewc, strict=True):
            dearer = [b[of] / a[of] - 1 for a, b in zip(ours, measured, strict=True)]
            more = _spread(dearer, 2)
            print(f"    EWC with its Fisher costs a {update} update {more} more (goal: 0.15)")


def _spread(values: Sequence[float], digits: int) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def report_updates(base: Base, threads: int, new: int) -> None:
    goal = 60 * read_facts(base.path).shape.parameters / 10e6
    print(f"one update of {new} new samples (goal of 500: {goal:.0f} s on two cores, 1000 MB)")
    empty, full = (_in_own_process(base, threads, new, buffer) for buffer in (EMPTY, FULL))
    for buffer, said in ((EMPTY, empty), (FULL, full)):
        print(
            f"  replay buffer {buffer}: {said['examples']} examples, {said['replayed']} of them "
            f"replayed, in {said['wall']:.1f} s, {said['cpu']:.1f} s of processors; "
            f"{said['peak_mb']:.0f} MB at most"
        )
    dearer = Cost(full["wall"] - empty["wall"], full["cpu"] - empty["cpu"])
    print(f"  replay costs {dearer.wall:.1f} s, {dearer.cpu:.1f} s of processors")


def _in_own_process(base: Base, threads: int, new: int, buffer: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--update", buffer, "--new", str(new)]
    done = subprocess.run(
        [*command, "--threads", str(threads), "--base", str(base.path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said: dict[str, float] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return said


def whole_update(home: Home, base: Base, buffer: str, new: int) -> dict[str, float]:
    """A first update by the defaults: mixing, EWC and conversion included."""
    from neuralforge_trainer.evaluate.general import general_samples
    from neuralforge_trainer.learn.replay import DEFAULT_CAPACITY, ReplayBuffer
    from neuralforge_trainer.update import Update

    settings = JobSettings()
    if buffer == FULL:
        with ReplayBuffer(home.replay_buffer, DEFAULT_CAPACITY) as held:
            held.add(general_samples(DEFAULT_CAPACITY, seed=98))
    samples = general_samples(new, seed=99)
    staged = home.root / "staged"
    staged.mkdir(parents=True)

    def work() -> Update:
        update = Update(home, base, samples, settings, None)
        update.train(staged, lambda: None, lambda step, steps: None)
        update.consolidate(staged, lambda: None)
        return update

    update, cost = _timed(work)
    return {
        "wall": cost.wall,
        "cpu": cost.cpu,
        "examples": len(update.mixture.all),
        "replayed": len(update.mixture.replayed),
        "peak_mb": _peak_bytes() / 1e6,
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
