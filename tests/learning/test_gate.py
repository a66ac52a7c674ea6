"""The gate promotes the better candidate, refuses the worse, and says why."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from neuralforge_adapters.base import Base, file_digest
from neuralforge_adapters.convert import peft_to_gguf
from neuralforge_adapters.stack import ResolvedAdapter, ResolvedStack
from neuralforge_trainer.collect import collect
from neuralforge_trainer.errors import TrainingStoppedError
from neuralforge_trainer.evaluate.gate import Answer, Exam, Margins, decide, judge
from neuralforge_trainer.evaluate.general import general_items, general_samples
from neuralforge_trainer.evaluate.heldout import Item
from trained import Trained


def _items(count: int, name: str) -> list[Item]:
    return [Item(f"{name}.py", "python", "", "x", "", f"c{i % 7}", 0.0) for i in range(count)]


EXAM = Exam(_items(40, "own"), _items(40, "general"))


def _answers(own: tuple[int, float], general: tuple[int, float]) -> list[Answer]:
    """For each part: how many of 40 are exact, and the mean nats a token."""
    return [
        Answer(i < exact, 0.5, nll * 10, 10) for exact, nll in (own, general) for i in range(40)
    ]


CURRENT = _answers((10, 2.0), (10, 2.0))


@pytest.mark.parametrize(
    ("candidate", "promoted", "reason"),
    [
        (_answers((20, 1.5), (10, 2.0)), True, "held-out EM 25.0% to 50.0%"),
        (_answers((10, 1.9), (10, 2.02)), True, "within the margins"),
        (_answers((10, 1.9), (10, 2.08)), True, "within the margins"),
        (_answers((20, 2.0), (10, 2.0)), False, "no likelier"),
        (_answers((20, 2.1), (10, 2.0)), False, "no likelier"),
        (_answers((2, 1.5), (10, 2.0)), False, "exact match on held-out code fell by 20.0%"),
        (_answers((9, 1.5), (8, 2.0)), True, "within the margins"),
        (_answers((20, 1.5), (10, 2.1)), False, "general code became less likely"),
        (_answers((20, 1.5), (2, 2.0)), False, "exact match on general code fell"),
        (_answers((20, math.nan), (10, 2.0)), False, "NaN"),
        (_answers((20, 1.5), (10, math.inf)), False, "NaN or infinity"),
    ],
)
def test_the_decision(candidate: list[Answer], promoted: bool, reason: str) -> None:
    report = decide(EXAM, CURRENT, candidate, Margins())
    assert report.promote == promoted
    assert reason in report.reason


@pytest.mark.parametrize(
    ("bare", "promoted", "reason"),
    [
        (_answers((5, 2.5), (10, 2.0)), True, "within the margins"),
        (_answers((5, 1.6), (10, 2.0)), True, "within the margins"),
        (_answers((5, 1.5), (10, 2.0)), False, "no likelier: perplexity 4.482 to 4.711 against"),
        (_answers((25, 2.5), (10, 2.0)), False, "exact match on held-out code fell by 25.0%"),
        (_answers((5, 2.5), (10, 1.85)), False, "more than the margin of 10% against the base"),
        (_answers((5, 2.5), (20, 2.0)), False, "exact match on general code fell by 25.0%"),
    ],
)
def test_the_candidate_must_also_stand_against_the_bare_base(
    bare: list[Answer], promoted: bool, reason: str
) -> None:
    candidate = _answers((15, 1.55), (10, 2.0))
    report = decide(EXAM, CURRENT, candidate, Margins(), bare)
    assert report.promote == promoted
    assert reason in report.reason


def test_every_difference_comes_with_its_interval() -> None:
    candidate = _answers((20, 1.5), (10, 2.0))
    report = decide(EXAM, CURRENT, candidate, Margins(), _answers((5, 2.5), (10, 2.0)))
    found = {(c.against, c.items, c.measure): c for c in report.comparisons}
    assert len(found) == 2 * 2 * 3
    em, nats = found["current", "held-out", "em"], found["base", "held-out", "nats"]
    assert em.low <= em.mean == 0.25 <= em.high
    assert nats.low <= nats.mean <= nats.high and nats.mean == pytest.approx(-1.0)
    same = found["current", "general", "es"]
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    assert [row.system for row in report.rows[::2]] == ["current", "base", "candidate"]


def test_without_held_out_lines_nothing_is_promoted() -> None:
    report = decide(replace(EXAM, heldout=[]), CURRENT[40:], CURRENT[40:], Margins())
    assert not report.promote


def test_an_interpreter_without_its_library_is_judged_on_held_out_lines_alone() -> None:
    better = _answers((20, 1.5), (0, 9.0))
    report = decide(replace(EXAM, general=[]), CURRENT[:40], better[:40], Margins())
    assert report.promote
    assert [row.items for row in report.rows] == ["held-out", "held-out"]


def test_general_code_is_never_both_measured_and_rehearsed() -> None:
    measured = {(i.prefix + i.expected + i.suffix) for i in general_items(300)}
    rehearsed = {(s.prefix + s.middle + s.suffix) for s in general_samples(600)}
    assert len(measured) > 50
    assert len(rehearsed) > 50
    assert not measured & rehearsed
    assert general_items(20) == general_items(20)


def test_general_items_come_from_the_library_and_from_installed_packages() -> None:
    library = {path.name for path in Path(os.__file__).parent.glob("*.py")}
    paths = [item.path for item in general_items(60)]
    assert any(path in library for path in paths)
    from neuralforge_trainer.evaluate.general import _packages

    packages = {path.name for path in _packages()}
    assert sum(path in packages for path in paths) >= 20


@pytest.fixture(scope="module")
def exam(trained: Trained) -> Exam:
    again = replace(trained.job, everything=True)
    return Exam(collect(trained.home, again).heldout[:30], general_items(40))


def _stack(path: Path) -> ResolvedStack:
    return ResolvedStack((ResolvedAdapter("candidate", path, 1.0, file_digest(path)),))


@pytest.fixture(scope="module")
def noisy(trained: Trained, shared_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained LoRA with noise on its weights: planted to be worse."""
    folder = tmp_path_factory.mktemp("noisy")
    source = np.random.default_rng(0)
    factors = load_file(trained.version.path / "adapter_model.safetensors")
    for name, factor in factors.items():
        noise = source.normal(0, 0.05, factor.shape).astype(np.float32)
        factors[name] = factor + noise
    save_file(factors, folder / "adapter_model.safetensors")
    config = trained.version.path / "adapter_config.json"
    (folder / "adapter_config.json").write_bytes(config.read_bytes())
    peft_to_gguf(folder, shared_base.path, shared_base.digest, folder / "adapter.gguf")
    return folder / "adapter.gguf"


def test_a_planted_better_candidate_takes_the_place_of_a_worse_one(
    shared_base: Base, trained: Trained, noisy: Path, exam: Exam
) -> None:
    report = judge(shared_base, exam, _stack(noisy), _stack(trained.version.gguf))
    assert report.promote, report.reason


def test_a_planted_worse_candidate_is_refused(
    shared_base: Base, trained: Trained, noisy: Path, exam: Exam
) -> None:
    report = judge(shared_base, exam, _stack(trained.version.gguf), _stack(noisy))
    assert not report.promote
    assert "perplexity" in report.reason


def test_measuring_gives_way_too(shared_base: Base, exam: Exam) -> None:
    asked: list[float] = []

    def pace(share: float) -> None:
        asked.append(share)
        if len(asked) == 4:
            raise TrainingStoppedError("stopped", skip=False)

    with pytest.raises(TrainingStoppedError):
        judge(shared_base, exam, ResolvedStack(), ResolvedStack(), pace=pace)
    assert asked == sorted(asked)
    assert len(asked) == 4
