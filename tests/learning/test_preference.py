"""Preferences move the adapter towards what the user wrote, told from rows of the real log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from desk import Desk
from lora_maker import random_lora
from neuralforge_adapters.base import Base
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.preferences import Preference
from neuralforge_trainer.collect import collect
from neuralforge_trainer.job import run_job
from neuralforge_trainer.learn.encode import Encoder
from neuralforge_trainer.learn.lora import attach_lora, load_base, lora_parameters
from neuralforge_trainer.learn.personal_trainer import RunSettings
from neuralforge_trainer.learn.preference import (
    Pair,
    PreferenceTrainer,
    collate_pairs,
    encode_pairs,
    margins,
)
from neuralforge_trainer.samples.preferences import new_preferences
from neuralforge_trainer.settings import Job, JobSettings

NAMES = ("anchor", "bridge", "cabin", "deck", "engine", "funnel")


def _preferences(folder: Path, names: tuple[str, ...] = NAMES) -> list[Preference]:
    """A user who wants `self._x = x or default_x()` where `self.x = x` is suggested."""
    with SessionLog.open(folder / "session.db") as log:
        for name in names:
            head = f"class {name.title()}:\n    def __init__(self, {name}=None):\n        "
            desk = Desk(log, folder / f"{name}.py", head)
            desk.suggest(f"self.{name} = {name}")
            desk.type(f"self._{name} = {name} or default_{name}()")
            desk.leave()
        return log.preferences()


def _settings(**changes: Any) -> RunSettings:
    values = {
        "learning_rate": 1e-3,
        "micro_batch": 3,
        "accumulation": 1,
        "warm_up": 0.0,
        "seed": 0,
        "checkpoint_steps": 1000,
        "time_budget": 0.0,
    }
    return RunSettings(**(values | changes))


@pytest.fixture
def pairs(tmp_path: Path, vocabulary: Any) -> list[Pair]:
    return encode_pairs(Encoder(vocabulary, 256), _preferences(tmp_path))


def test_the_margin_grows_on_what_was_preferred_and_on_more_of_its_kind(
    shared_base: Base, vocabulary: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    model = attach_lora(load_base(shared_base), 0)
    (tmp_path / "later").mkdir()
    later = encode_pairs(
        Encoder(vocabulary, 256), _preferences(tmp_path / "later", ("hatch", "keel", "ladder"))
    )
    before = margins(model, pairs), margins(model, later)
    PreferenceTrainer(model, pairs * 4, tmp_path / "run", _settings()).run()
    after = margins(model, pairs), margins(model, later)
    assert all(a > b for a, b in zip(after[0], before[0], strict=True))
    assert sum(after[0]) > sum(before[0]) + len(pairs)
    assert sum(after[1]) > sum(before[1])


def test_both_texts_stand_behind_the_same_tokens_and_without_an_end(
    pairs: list[Pair], vocabulary: Any
) -> None:
    assert len(pairs) == len(NAMES)
    for pair in pairs:
        start = pair.chosen.weights.index(1.0)
        assert pair.rejected.weights.index(1.0) == start
        assert pair.chosen.ids[:start] == pair.rejected.ids[:start]
        assert vocabulary.end not in (pair.chosen.ids[-1], pair.rejected.ids[-1])


def test_a_long_context_is_cut_alike_for_both(vocabulary: Any) -> None:
    preference = Preference(
        0.0, None, None, "python", "x = 1\n" * 400, "", "y = 2", "y = [" + "3, " * 12
    )
    (pair,) = encode_pairs(Encoder(vocabulary, 128), [preference])
    start = pair.chosen.weights.index(1.0)
    assert pair.chosen.ids[:start] == pair.rejected.ids[:start]
    assert len(pair) <= 128


def test_the_loss_is_the_published_one(
    shared_base: Base, pairs: list[Pair], tmp_path: Path
) -> None:
    """-log sigmoid(beta * (difference of log ratios)), each log likelihood summed by hand."""
    model = random_lora(shared_base, tmp_path / "lora")
    trainer = PreferenceTrainer(model, pairs[:2], tmp_path / "run", _settings(), beta=0.3)
    with torch.no_grad():
        for weight in lora_parameters(model).values():
            weight += 0.02
    model.eval()
    wanted = []
    for pair, judged in zip(pairs, trainer.train_dataset, strict=False):
        chosen, rejected = (_log_likelihood(model, side) for side in (pair.chosen, pair.rejected))
        gain = chosen - rejected - judged.reference
        wanted.append(-torch.nn.functional.logsigmoid(0.3 * gain))
        assert abs(gain) > 0.01
    batch = collate_pairs(list(trainer.train_dataset))
    got = trainer.compute_loss(model, batch)
    assert got.item() == pytest.approx(float(torch.stack(wanted).mean()), rel=1e-4)


def _log_likelihood(model: Any, side: Any) -> torch.Tensor:
    with torch.no_grad():
        logs = model(input_ids=torch.tensor([side.ids])).logits[0].log_softmax(-1)
    terms = [logs[i - 1, side.ids[i]] for i, weight in enumerate(side.weights) if weight]
    return torch.stack(terms).sum()


PARTS = ("bow", "stern", "hold", "bilge", "beam", "spar", "boom", "jib")


def test_a_job_learns_preferences_once_and_the_gate_judges_what_comes_out(
    home: Home, tmp_path: Path
) -> None:
    with SessionLog.open(home.session_log) as log:
        for number, name in enumerate(f"{a}_{b}" for a in NAMES[:5] for b in PARTS):
            head = f"class {name.title()}:\n    def __init__(self, {name}=None):\n        "
            desk = Desk(log, tmp_path / f"{name}.py", head)
            desk.suggest(f"self.{name} = {name}")
            desk.type(f"self._{name} = {name} or default_{name}({number})")
            desk.leave()
    settings = JobSettings(
        preferences=True, least_preferences=20, arm="none", rehearsal_share=0.0, general_items=0,
        heldout_items=8, least_samples=5, least_items=3,
    )  # fmt: skip
    measured = collect(home, Job(settings=settings)).heldout
    taken = new_preferences(home, 20, measured)
    assert 20 <= len(taken) < 40  # without those whose line is measured
    assert new_preferences(home, 41, measured) == []
    outcome = run_job(home, Job(foreground=True, settings=settings))
    assert outcome.result == "published", outcome.message
    assert outcome.gate is not None
    assert AdapterStore(home).get(outcome.version or "").manifest.data["preferences"] == len(taken)
    assert new_preferences(home, 1, measured) == []
