"""What a training that nobody asked for may use: hours of the day, minutes a day, kept on disk."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from neuralforge_adapters.allowance import (
    Limits,
    Spent,
    left,
    over,
    read_spent,
    spent_file,
    within,
    write_spent,
)
from neuralforge_adapters.home import Home

NOON = datetime(2026, 3, 29, 12, 0)


@pytest.mark.parametrize(
    ("hours", "clock", "inside"),
    [
        ("", "12:00", True),
        ("09:00-17:00", "08:59", False),
        ("09:00-17:00", "09:00", True),
        ("09:00-17:00", "17:00", False),
        ("22:00-06:00", "23:59", True),
        ("22:00-06:00", "00:00", True),
        ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False),
        ("22:00-06:00", "12:00", False),
        ("12:00-12:00", "03:00", True),
        ("at night", "12:00", True),
    ],
)
def test_hours_of_the_day_also_over_midnight(hours: str, clock: str, inside: bool) -> None:
    assert within(hours, datetime.fromisoformat(f"2026-03-29T{clock}")) == inside


@pytest.mark.parametrize(
    ("limits", "spent", "why"),
    [
        (Limits(), Spent("2026-03-29", 1e9, 1e9), ""),
        (Limits(minutes_per_day=30), Spent("2026-03-29", 1799.0), ""),
        (Limits(minutes_per_day=30), Spent("2026-03-29", 1800.0), "30 minutes of training"),
        (Limits(minutes_per_day=30), Spent("2026-03-28", 1800.0), ""),
        (Limits(cpu_minutes_per_day=5), Spent("2026-03-29", 0.0, 301.0), "processor time"),
        (Limits(hours="22:00-06:00"), Spent(), "outside the hours 22:00-06:00"),
    ],
)
def test_what_is_used_up_says_so(limits: Limits, spent: Spent, why: str) -> None:
    found = over(limits, spent, NOON)
    assert why in found and bool(found) == bool(why)


def test_a_new_day_begins_afresh_and_a_restart_does_not(home: Home) -> None:
    write_spent(home, Spent().plus(NOON, 60.0, 90.0).plus(NOON, 60.0, 90.0))
    again = read_spent(home)
    assert again == Spent("2026-03-29", 120.0, 180.0)
    limits = Limits(minutes_per_day=5, cpu_minutes_per_day=2)
    assert left(limits, again, NOON) == {"minutes": 3.0, "cpu_minutes": 0.0}
    tomorrow = NOON + timedelta(days=1)
    assert again.plus(tomorrow, 1.0, 1.0) == Spent("2026-03-30", 1.0, 1.0)
    assert left(Limits(minutes_per_day=5), again, tomorrow) == {"minutes": 5.0, "cpu_minutes": None}


@pytest.mark.parametrize("content", ["", "[]", '{"day": 1}', '{"seconds": "x"}', '{"more": 1}'])
def test_a_damaged_account_has_spent_nothing(home: Home, content: str) -> None:
    home.trainer_dir.mkdir(parents=True)
    spent_file(home).write_text(content, "utf-8")
    assert read_spent(home).seconds == 0.0
