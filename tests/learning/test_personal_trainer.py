"""The trainer resumes to the same weights, gives way, and survives what is not finite."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from gguf_maker import make_base
from neuralforge_adapters.base import Base, file_digest
from neuralforge_adapters.errors import HomeError
from neuralforge_trainer.errors import TrainingDivergedError
from neuralforge_trainer.learn.batch import collate, token_loss
from neuralforge_trainer.learn.checkpoints import latest_complete, mark_complete
from neuralforge_trainer.learn.encode import Encoded
from neuralforge_trainer.learn.lora import attach_lora, load_base, lora_parameters
from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Two layers of width 64: for what a base does, not for how well."""
    path = tmp_path_factory.mktemp("base") / "small.gguf"
    make_base(path, layers=2, width=64, heads=2, kv_heads=1, hidden=96, vocabulary=12_288)
    return Base(path, file_digest(path))


def _examples(count: int = 24, length: int = 20, seed: int = 0) -> list[Encoded]:
    source = random.Random(seed)
    return [
        Encoded(
            tuple(source.randrange(12_000) for _ in range(length)),
            (0.0,) * (length - 5) + (1.0,) * 5,
        )
        for _ in range(count)
    ]


def _settings(**changes: float) -> RunSettings:
    values = {
        "learning_rate": 5e-3,
        "micro_batch": 2,
        "accumulation": 2,
        "warm_up": 0.0,
        "seed": 0,
        "checkpoint_steps": 1000,
        "time_budget": 0.0,
    }
    return RunSettings(**(values | changes))  # type: ignore[arg-type]


def _weights(model: object) -> dict[str, torch.Tensor]:
    return {name: w.detach().clone() for name, w in lora_parameters(model).items()}


def _run_killed(base: Base, folder: Path, out: Path, counted: str, fatal: int) -> tuple[int, str]:
    program = Path(__file__).with_name("killed_run.py")
    done = subprocess.run(
        [sys.executable, program, base.path, folder, out, counted, str(fatal)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip() or done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("counted", "kills"), [("micro-batches", 3), ("file operations", 4)])
def test_killed_again_and_again_it_ends_at_the_same_weights(
    small_base: Base, tmp_path: Path, counted: str, kills: int
) -> None:
    status, total = _run_killed(small_base, tmp_path / "a", tmp_path / "whole", counted, -1)
    assert status == 0, total
    source = random.Random(counted)
    for _ in range(kills):
        fatal = source.randrange(1, int(total))
        status, said = _run_killed(small_base, tmp_path / "b", tmp_path / "parts", counted, fatal)
        assert status != 0 or int(said) < fatal, said
    status, said = _run_killed(small_base, tmp_path / "b", tmp_path / "parts", counted, -1)
    assert status == 0, said
    whole, parts = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_checkpoint_that_is_not_whole_is_never_resumed(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"x" * step)
    mark_complete(tmp_path / "checkpoint-5")
    mark_complete(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-10" / "optimizer.pt").write_bytes(b"x")
    assert latest_complete(tmp_path) == tmp_path / "checkpoint-5"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-5"]


def test_a_run_without_checkpoints_starts_at_the_beginning(tmp_path: Path) -> None:
    assert latest_complete(tmp_path / "none") is None


def test_the_loss_is_the_weighted_mean_whatever_the_padding(small_base: Base) -> None:
    model = attach_lora(load_base(small_base), 0).eval()
    short, long = _examples(1, 9)[0], _examples(1, 30, seed=4)[0]
    short = Encoded(short.ids, (0.0,) * 6 + (2.0, 0.5, 1.0))
    losses, weights = [], []
    for example in (short, long):
        logits = model(input_ids=torch.tensor([example.ids])).logits[0]
        for i, weight in enumerate(example.weights):
            if weight:
                losses.append(-weight * logits[i - 1].log_softmax(-1)[example.ids[i]].item())
                weights.append(weight)
    together = token_loss(model, collate([short, long])).item()
    assert together == pytest.approx(sum(losses) / sum(weights), rel=1e-4)


def test_training_learns_what_it_is_shown(shared_base: Base, tmp_path: Path) -> None:
    model = attach_lora(load_base(shared_base), 0)
    examples = _examples(8)
    before = token_loss(model.eval(), collate(examples)).item()
    assert PersonalTrainer(model, examples * 10, tmp_path, _settings()).run() == 20
    assert token_loss(model.eval(), collate(examples)).item() < before - 1


def test_a_batch_that_is_not_finite_changes_no_weight(small_base: Base, tmp_path: Path) -> None:
    model = attach_lora(load_base(small_base), 0)
    before = _weights(model)
    bad = [Encoded(e.ids, (*e.weights[:-1], float("nan"))) for e in _examples(4)]
    PersonalTrainer(model, bad, tmp_path, _settings()).run()
    assert all(torch.equal(w, before[n]) for n, w in _weights(model).items())


def test_one_bad_batch_does_not_end_a_run(small_base: Base, tmp_path: Path) -> None:
    model = attach_lora(load_base(small_base), 0)
    before = _weights(model)
    good = _examples(12)
    bad = [Encoded(good[0].ids, (*good[0].weights[:-1], float("nan")))]
    assert PersonalTrainer(model, [*good[:5], *bad, *good[6:]], tmp_path, _settings()).run() == 3
    after = _weights(model)
    assert all(torch.isfinite(w).all() for w in after.values())
    assert any(not torch.equal(w, before[n]) for n, w in after.items())


def test_a_run_that_stays_bad_ends_with_the_last_good_weights(
    small_base: Base, tmp_path: Path
) -> None:
    model = attach_lora(load_base(small_base), 0)
    bad = [Encoded(e.ids, (*e.weights[:-1], float("inf"))) for e in _examples(40)]
    with pytest.raises(TrainingDivergedError, match="lower learning rate"):
        PersonalTrainer(model, bad, tmp_path, _settings()).run()
    assert all(torch.isfinite(w).all() for w in _weights(model).values())


def test_the_pace_is_asked_before_every_micro_batch_and_can_end_the_run(
    small_base: Base, tmp_path: Path
) -> None:
    class EndError(Exception):
        pass

    calls = 0

    def pace() -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise EndError

    model = attach_lora(load_base(small_base), 0)
    with pytest.raises(EndError):
        PersonalTrainer(model, _examples(24), tmp_path, _settings(), pace=pace).run()
    assert calls == 8


def test_progress_is_told_after_every_step(small_base: Base, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    model = attach_lora(load_base(small_base), 0)
    PersonalTrainer(
        model,
        _examples(12),
        tmp_path,
        _settings(),
        progress=lambda step, steps: heard.append((step, steps)),
    ).run()
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_a_spent_time_budget_ends_the_run_early(small_base: Base, tmp_path: Path) -> None:
    model = attach_lora(load_base(small_base), 0)
    settings = _settings(time_budget=1e-6)
    assert PersonalTrainer(model, _examples(24), tmp_path, settings).run() == 1


@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")
def test_a_full_disk_is_named_and_the_checkpoint_before_stands(
    small_base: Base, tmp_path: Path
) -> None:
    import signal

    model = attach_lora(load_base(small_base), 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    process = psutil.Process()
    old = process.rlimit(psutil.RLIMIT_FSIZE)

    def fill(step: int, steps: int) -> None:
        if step == 2:
            process.rlimit(psutil.RLIMIT_FSIZE, (20_000, old[1]))

    trainer = PersonalTrainer(
        model, _examples(24), tmp_path, _settings(checkpoint_steps=1), progress=fill
    )
    try:
        with pytest.raises(HomeError, match="free some room"):
            trainer.run()
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, old)
    latest = latest_complete(tmp_path)
    assert latest is not None
    assert latest.name == "checkpoint-1"
