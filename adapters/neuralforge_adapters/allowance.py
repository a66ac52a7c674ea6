"""When, and how long a day, training may happen that nobody asked for.

Invariant: pure but for the battery and one small file, in which the trainer alone writes what it
has spent today; a damaged file has spent nothing. Server and trainer judge by the same rules: the
one before it starts a training, the other while it runs. Knows no training.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import psutil

from neuralforge_adapters.home import Home, read_json, write_json

HOURS_PATTERN = r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d"
"""`22:00-06:00`; local time, over midnight where the end comes before the beginning."""


@dataclass(frozen=True)
class Limits:
    """What the user allows; the defaults allow everything."""

    hours: str = ""
    """As `HOURS_PATTERN`; empty for always."""
    on_battery: bool = True
    minutes_per_day: float = 0.0
    """Of computing, pauses not counted; 0 for no limit."""
    cpu_minutes_per_day: float = 0.0
    """Of processor time over all cores, which is what energy goes with; 0 for no limit."""


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Spent:
    """What was computed on `day` (local, ISO)."""

    day: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def plus(self, now: datetime, seconds: float, cpu_seconds: float) -> Spent:
        """With more added, which a new day begins afresh."""
        today = self.on(now)
        return replace(
            today, seconds=today.seconds + seconds, cpu_seconds=today.cpu_seconds + cpu_seconds
        )

    def on(self, now: datetime) -> Spent:
        """What counts on the day of `now`."""
        day = now.date().isoformat()
        return self if self.day == day else Spent(day)


def over(limits: Limits, spent: Spent, now: datetime) -> str:
    """Why no more is to be computed until later, empty where it may: the hours, the budget."""
    today = spent.on(now)
    if not within(limits.hours, now):
        return f"it is outside the hours {limits.hours}"
    if 0 < limits.minutes_per_day <= today.seconds / 60:
        return f"today's {limits.minutes_per_day:g} minutes of training are spent"
    if 0 < limits.cpu_minutes_per_day <= today.cpu_seconds / 60:
        return f"today's {limits.cpu_minutes_per_day:g} minutes of processor time are spent"
    return ""


def left(limits: Limits, spent: Spent, now: datetime) -> dict[str, float | None]:
    """Minutes that are left of each budget today; None where there is no limit."""
    today = spent.on(now)
    pairs = {
        "minutes": (limits.minutes_per_day, today.seconds),
        "cpu_minutes": (limits.cpu_minutes_per_day, today.cpu_seconds),
    }
    return {
        name: round(max(0.0, limit - seconds / 60), 2) if limit else None
        for name, (limit, seconds) in pairs.items()
    }


def within(hours: str, now: datetime) -> bool:
    """Whether the local time `now` lies in `hours`; anything that is no such span allows all."""
    if not re.fullmatch(HOURS_PATTERN, hours):
        return True
    begin, end = hours.split("-")
    clock = now.strftime("%H:%M")
    if begin < end:
        return begin <= clock < end
    return clock >= begin or clock < end


def on_battery() -> bool:
    """Whether this machine runs on its battery; not where it has none, or cannot say."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, psutil.Error):  # no such sensor on this platform
        return False
    return battery is not None and battery.power_plugged is False


def spent_file(home: Home) -> Path:
    """The file that holds what was spent today, by all profiles."""
    return home.trainer_dir / "spent.json"


def read_spent(home: Home) -> Spent:
    """What the file says."""
    content = read_json(spent_file(home))
    try:
        spent = Spent(**(content if isinstance(content, dict) else {}))
        return Spent(str(spent.day), float(spent.seconds), float(spent.cpu_seconds))
    except (TypeError, ValueError):
        return Spent()


def write_spent(home: Home, spent: Spent) -> None:
    """Keep it.

    Raises:
        HomeError: the disk is full or read-only.
    """
    write_json(spent_file(home), asdict(spent))
