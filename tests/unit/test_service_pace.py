"""When to compute: at once where the engine is quicker than the keys, else once a while."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_server.completion.pace import Pace


def typed(pace: Pace, *gaps: float, start: float = 0.0) -> float:
    """Type with these gaps; returns the time of the last key."""
    now = start
    pace.key(now)
    for gap in gaps:
        now += gap
        pace.key(now)
    return now


def measured(*milliseconds: float) -> Pace:
    pace = Pace()
    for each in milliseconds:
        pace.ran(each, each / 2)
    return pace


def test_an_engine_that_was_never_measured_is_asked_at_once() -> None:
    pace = Pace()
    assert pace.wait(typed(pace, 100, 100, 100)) == 0


def test_an_engine_quicker_than_the_keys_is_asked_at_once() -> None:
    pace = measured(30, 35, 40)
    assert pace.wait(typed(pace, *[120] * 8)) == 0


def test_a_slow_engine_is_asked_when_no_key_has_come_for_a_while() -> None:
    pace = measured(800, 900, 1000)
    now = typed(pace, *[120] * 12)
    assert 120 < pace.wait(now) <= 400
    assert pace.wait(now + 100) == pytest.approx(pace.wait(now) - 100)
    assert pace.wait(now + 400) == 0


@pytest.mark.parametrize("run", [200.0, 600.0, 1500.0, 6000.0])
def test_waiting_costs_a_fraction_of_what_the_run_takes(run: float) -> None:
    pace = measured(run, run, run)
    now = typed(pace, *[120, 900, 120, 120] * 5)  # whose pauses are long
    assert 0 < pace.wait(now) <= 0.2 * run


def test_the_same_engine_is_asked_at_once_by_a_slow_typist() -> None:
    pace = measured(150, 150, 150)
    assert pace.wait(typed(pace, *[100] * 8)) > 0
    slow = measured(150, 150, 150)
    assert slow.wait(typed(slow, *[400] * 8)) == 0


def test_pauses_do_not_make_a_typist_slow() -> None:
    pace = measured(300, 300, 300)
    now = typed(pace, 100, 100, 100, 60_000, 100, 100, 100)
    assert pace.gap == pytest.approx(100)
    assert pace.wait(now) > 0


def test_runs_that_were_overtaken_count_where_they_took_longer_than_whole_ones() -> None:
    pace = measured(100, 100, 100)
    pace.overtaken(20)
    assert pace.latency == 100
    for _ in range(8):
        pace.overtaken(500)
    assert pace.latency == 500


def test_another_engine_starts_unmeasured() -> None:
    pace = measured(900, 900, 900)
    pace.forget_engine()
    assert pace.latency == 0 and pace.budget(1500) == 1500


def test_the_budget_of_a_first_line_follows_what_such_lines_take() -> None:
    assert measured(*[100] * 5).budget(1500) == 150  # 3 × the 50 ms of a first line
    assert measured(*[4] * 5).budget(1500) == 60
    assert measured(*[9000] * 5).budget(1500) == 1500


@given(st.lists(st.floats(1, 5000), max_size=30), st.lists(st.floats(1, 5000), max_size=30))
def test_no_wait_is_negative_or_longer_than_a_pause(runs: list[float], gaps: list[float]) -> None:
    pace = measured(*runs)
    now = typed(pace, *gaps)
    assert 0 <= pace.wait(now) <= pace.pause <= 400
