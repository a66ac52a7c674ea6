"""Distillation: what was said is kept compactly, and holds replayed samples where they were."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neuralforge_adapters.base import Base
from neuralforge_trainer.learn.batch import collate, token_loss
from neuralforge_trainer.learn.distill import (
    KEPT,
    divergence,
    pack,
    say,
    targets,
    unpack,
    with_teachings,
)
from neuralforge_trainer.learn.encode import Encoded, Encoder
from neuralforge_trainer.learn.lora import attach_lora, load_base, lora_parameters
from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.samples.sample import Sample


def _code(vocabulary: Any, words: list[str], count: int, seed: int) -> list[Encoded]:
    source = random.Random(seed)
    examples = []
    for _ in range(count):
        a, b, c = (source.choice(words) for _ in range(3))
        prompt = vocabulary.encode(f"def {a}_{b}(self):\n    return self.")
        target = [*vocabulary.encode(f"_{c}.{a}({b})"), vocabulary.end]
        examples.append(Encoded((*prompt, *target), (*[0.0] * len(prompt), *[1.0] * len(target))))
    return examples


def test_what_is_kept_reads_back_to_half_precision() -> None:
    source = np.random.default_rng(1)
    ids = source.integers(0, 150_000, (7, KEPT))
    logs = -source.random((7, KEPT)) * 12
    teaching = pack(ids, logs)
    assert len(teaching) == 7 + 7 * KEPT * 6
    got_ids, got_logs = unpack(teaching)
    assert (got_ids == ids).all()
    assert np.abs(got_logs - logs).max() < 0.01
    assert len(unpack(teaching[:-1])[0]) == len(unpack(b"")[0]) == 0


def test_the_divergence_is_that_over_the_kept_tokens_and_the_rest() -> None:
    source = torch.Generator().manual_seed(2)
    logits, before = (torch.randn(5, 100, generator=source, dtype=torch.float64) for _ in range(2))
    best = before.log_softmax(-1).topk(KEPT)
    got = divergence(logits, best.indices, best.values)
    for row in range(5):
        p, q = (x[row].softmax(-1) for x in (before, logits))
        kept = best.indices[row]
        rest = torch.ones(100, dtype=torch.bool)
        rest[kept] = False
        p, q = (torch.cat([x[kept], x[rest].sum()[None]]) for x in (p, q))
        assert got[row].item() == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-9)
    whole = (before.softmax(-1) * (before.log_softmax(-1) - logits.log_softmax(-1))).sum(-1)
    assert (got <= whole + 1e-9).all()
    assert divergence(before, best.indices, best.values).abs().max() < 1e-9


def test_only_taught_tokens_add_to_the_loss_and_by_their_weight(
    shared_base: Base, vocabulary: Any
) -> None:
    model = attach_lora(load_base(shared_base), 0)
    taught, plain = _code(vocabulary, ["alpha", "beta", "gamma"], 2, 1)
    (teaching,) = say(model, [taught])
    taught = Encoded(taught.ids, taught.weights, teaching)
    with torch.no_grad():
        for weight in lora_parameters(model).values():
            weight += 0.02
    batch = collate([taught, plain])
    model.eval()
    without, with_it = (token_loss(model, batch, weight).item() for weight in (0.0, 0.5))
    logits = model(input_ids=torch.tensor([taught.ids])).logits[0].float()
    places = targets(taught)
    ids, logs = map(torch.from_numpy, unpack(teaching))
    drift = divergence(logits[[p - 1 for p in places]], ids, logs).sum().item()
    weights = sum(taught.weights) + sum(plain.weights)
    assert drift > 0.01
    assert with_it - without == pytest.approx(0.5 * drift / weights, rel=1e-2)
    assert token_loss(model, collate([plain]), 0.5) == token_loss(model, collate([plain]), 0.0)


def test_what_was_said_first_is_kept_for_one_base(
    shared_base: Base, vocabulary: Any, tmp_path: Path
) -> None:
    model = attach_lora(load_base(shared_base), 0)
    encoder = Encoder(vocabulary, 64)
    with ReplayBuffer(tmp_path / "r.db") as buffer:
        buffer.add(
            [
                Sample("x = ", f"sail({i})", "\n", "python", "a.py", "r", 0.0, "git")
                for i in range(3)
            ]
        )
        held = buffer.draw_held(3)
        replayed = [(h.identifier, encoder.encode(h.sample)) for h in held]
        first = with_teachings(model, buffer, "base", replayed)  # type: ignore[arg-type]
        assert [e.teaching for e in first] == say(model, [e for _, e in replayed if e])
        with torch.no_grad():
            for weight in lora_parameters(model).values():
                weight += 0.02
        again = with_teachings(model, buffer, "base", replayed)  # type: ignore[arg-type]
        assert again == first
        other = with_teachings(model, buffer, "other", replayed)  # type: ignore[arg-type]
        assert all(a.teaching != b.teaching for a, b in zip(other, first, strict=True))
        assert buffer.teachings("base") == {}


def test_it_lowers_the_drift_of_replayed_samples(
    shared_base: Base, vocabulary: Any, tmp_path: Path
) -> None:
    """Two tasks one after the other; how far answers to the first one's samples move."""
    old = _code(vocabulary, ["alpha", "beta", "gamma", "delta"], 48, 1)
    new = _code(vocabulary, ["north", "south", "east", "west"], 48, 2)
    model = attach_lora(load_base(shared_base), 0)
    _train(model, old, tmp_path / "old", 0.0)
    start = {name: w.detach().clone() for name, w in lora_parameters(model).items()}
    replayed = [
        Encoded(e.ids, e.weights, teaching)
        for e, teaching in zip(old[:16], say(model, old[:16]), strict=True)
    ]
    drifts = []
    for weight in (0.0, 2.0):
        with torch.no_grad():
            for name, parameter in lora_parameters(model).items():
                parameter.copy_(start[name])
        mixed = [*new, *replayed]
        random.Random(0).shuffle(mixed)
        _train(model, mixed, tmp_path / f"new{weight}", weight)
        drifts.append(_drift(model, replayed))
    assert drifts[1] < 0.7 * drifts[0]


def _train(model: Any, examples: list[Encoded], folder: Path, distillation: float) -> None:
    settings = RunSettings(2e-3, 8, 1, 0.0, 0, 10_000, 0.0)
    PersonalTrainer(model, examples, folder, settings, distillation=distillation).run()


def _drift(model: Any, examples: list[Encoded]) -> float:
    """Nats a token between what was said and what is said now."""
    model.eval()
    total, count = 0.0, 0
    for example in examples:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([example.ids])).logits[0].float()
        places = targets(example)
        ids, logs = map(torch.from_numpy, unpack(example.teaching))
        total += divergence(logits[[p - 1 for p in places]], ids, logs).sum().item()
        count += len(places)
    return total / count
