"""Draft lengths against simulated machines: drafting pays, does not, starts to, stops to."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from neuralforge_server.engine.speculate import Speculator

Cost = Callable[[int], float]


def play(
    speculator: Speculator, tokens: int, chance: float, cost: Cost, seed: int = 0
) -> tuple[float, float, list[int]]:
    """Generate `tokens`: (milliseconds taken, without drafts, the lengths asked for)."""
    draws = random.Random(seed)
    made, spent, lengths = 0, 0.0, []
    while made < tokens:
        drafted = speculator.length()
        accepted = next((n for n in range(drafted) if draws.random() >= chance), drafted)
        milliseconds = cost(drafted) * draws.uniform(0.9, 1.1)
        speculator.observe(drafted, accepted, milliseconds)
        made += 1 + accepted
        spent += milliseconds
        lengths.append(drafted)
    return spent, made * cost(0), lengths


def memory_bound(drafted: int) -> float:
    return 40.0 + 2.0 * drafted


def compute_bound(drafted: int) -> float:
    return 3.0 + 2.9 * drafted


def test_a_cheap_batch_and_good_drafts_are_worth_drafting() -> None:
    spent, plain, lengths = play(Speculator(), 600, 0.8, memory_bound)
    assert spent < 0.45 * plain
    assert max(lengths) >= 8


@pytest.mark.parametrize("chance", [0.0, 0.05, 0.5])
def test_a_dear_batch_turns_it_off_for_next_to_nothing(chance: float) -> None:
    spent, plain, lengths = play(Speculator(), 2000, chance, compute_bound)
    assert spent < 1.04 * plain
    assert lengths[-200:].count(0) > 190


def test_useless_drafts_turn_it_off() -> None:
    spent, plain, lengths = play(Speculator(), 2000, 0.0, memory_bound)
    assert spent < 1.02 * plain
    assert 0 < sum(length > 0 for length in lengths[200:]) < 20  # it still looks now and then


def test_it_comes_back_once_drafts_are_good_again() -> None:
    speculator = Speculator()
    play(speculator, 400, 0.0, memory_bound)
    assert speculator.length() == 0
    spent, plain, _ = play(speculator, 3000, 0.9, memory_bound)
    assert spent < 0.6 * plain


def test_it_goes_off_when_the_machine_becomes_busy() -> None:
    speculator = Speculator()
    play(speculator, 400, 0.5, memory_bound)
    _, _, lengths = play(speculator, 800, 0.5, lambda n: 40.0 + 60.0 * n)
    assert lengths[-50:].count(0) > 45


def test_one_held_up_batch_changes_little() -> None:
    speculator = Speculator()
    play(speculator, 300, 0.8, memory_bound)
    before = speculator.length()
    speculator.observe(before, before, 5000.0)
    assert speculator.length() >= before / 2


def test_the_first_answer_is_a_short_draft() -> None:
    assert 0 < Speculator().length() <= 4
