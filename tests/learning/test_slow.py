"""Slow weights: what is averaged is the update itself, exactly, and only then cut to the rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gguf_maker import make_base
from lora_maker import random_lora
from neuralforge_adapters.base import Base, file_digest
from neuralforge_trainer.learn.lora import lora_parameters
from neuralforge_trainer.learn.slow import average, slow_down, snapshot


def _factors(seed: int, rank: int, wide: int = 40, high: int = 56) -> Any:
    source = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rank, wide, generator=source) * 0.1,
        torch.randn(high, rank, generator=source) * 0.1,
    )


def _dense(factors: Any) -> torch.Tensor:
    a, b = factors
    return b.double() @ a.double()


def _error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def test_with_room_for_both_ranks_the_average_is_exact() -> None:
    slow, fast = _factors(1, 4), _factors(2, 4)
    mean = average([(slow, 0.7), (fast, 0.3)], rank=8)
    assert _error(_dense(mean), 0.7 * _dense(slow) + 0.3 * _dense(fast)) < 1e-6


def test_cut_to_the_rank_it_is_the_best_of_that_rank() -> None:
    slow, fast = _factors(1, 6), _factors(2, 6)
    wanted = 0.5 * _dense(slow) + 0.5 * _dense(fast)
    mean = _dense(average([(slow, 0.5), (fast, 0.5)], rank=6))
    left, values, right = torch.linalg.svd(wanted)
    best = left[:, :6] @ values[:6].diag() @ right[:6]
    assert _error(mean, best) < 1e-6
    a, b = (0.5 * x + 0.5 * y for x, y in zip(slow, fast, strict=True))
    assert _error(b.double() @ a.double(), wanted) > 1.2 * _error(mean, wanted)


def test_the_average_of_an_update_and_itself_is_that_update() -> None:
    one = _factors(3, 5)
    assert _error(_dense(average([(one, 0.25), (one, 0.75)], rank=5)), _dense(one)) < 1e-6


def test_no_update_and_a_rank_beyond_the_modules_size_are_no_trouble() -> None:
    nothing = (torch.randn(12, 8), torch.zeros(6, 12))
    a, b = average([(nothing, 0.5), (nothing, 0.5)], rank=12)
    assert (a.shape, b.shape) == ((12, 8), (6, 12))
    assert not _dense((a, b)).any()
    small = _factors(4, 12, wide=8, high=6)
    assert _error(_dense(average([(small, 0.5), (small, 0.5)], rank=12)), _dense(small)) < 1e-6


def test_nothing_of_a_modules_own_size_is_made() -> None:
    """A module of 60,000 x 60,000 would take 29 GB in float64."""
    a, b = average([(_factors(i, 2, 60_000, 60_000), 0.5) for i in (1, 2)], rank=2)
    assert (a.shape, b.shape) == ((2, 60_000), (60_000, 2))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_model_goes_that_share_of_the_way(tmp_path: Path, share: float) -> None:
    path = tmp_path / "small.gguf"
    make_base(path, layers=2, width=64, heads=2, kv_heads=1, hidden=96, vocabulary=12_288)
    model = random_lora(Base(path, file_digest(path)), tmp_path / "lora")
    before = snapshot(model)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in lora_parameters(model).values():
            weight += torch.randn(weight.shape, generator=source) * 0.003
    trained = snapshot(model)
    slow_down(model, before, share)
    after = snapshot(model)
    for name in [n for n in after if ".lora_A." in n]:
        old, new, got = (
            _dense((w[name], w[name.replace(".lora_A.", ".lora_B.")]))
            for w in (before, trained, after)
        )
        wanted = (1 - share) * old + share * new
        best = torch.linalg.svdvals(wanted)[16:].norm() / wanted.norm()
        assert _error(got, wanted) < best + 1e-5
