"""Adds up what a training computes, for the budget of the day.

Invariant: time spent waiting counts for nothing, and a kill loses at most the last few seconds of
the account, over restarts and days. The seconds count whole, the processor time with the engine's,
which the gate runs. Knows no limit.
"""

from __future__ import annotations

import contextlib
import time
from datetime import datetime

import psutil

from neuralforge_adapters.allowance import read_spent, write_spent
from neuralforge_adapters.home import Home

_KEEP_SECONDS = 5.0
"""What was computed is written down at least so often."""


class Meter:
    """What this process and its children have computed since it was made."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._began = time.monotonic()
        self._cpu = _cpu_seconds()
        self._pending = 0.0
        self.spent = read_spent(home)
        """Today's, as of the last `keep`."""

    def stop(self) -> None:
        """Computing ends, or is looked at; `go` lets it go on.

        Raises:
            HomeError: the account cannot be written.
        """
        now = time.monotonic()
        self._pending += now - self._began
        self._began = now
        if self._pending >= _KEEP_SECONDS:
            self.keep()

    def go(self) -> None:
        """Computing begins again."""
        self._began = time.monotonic()

    def keep(self) -> None:
        """Write down what was computed.

        Raises:
            HomeError: the disk is full or read-only.
        """
        cpu = _cpu_seconds()
        used, self._cpu = max(0.0, cpu - self._cpu), cpu
        self.spent = read_spent(self._home).plus(datetime.now(), self._pending, used)
        self._pending = 0.0
        write_spent(self._home, self.spent)


def _cpu_seconds() -> float:
    """Of this process, of its children that have ended, and of those that live."""
    own = psutil.Process()
    total = sum(own.cpu_times()[:4])
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += sum(child.cpu_times()[:4])
    return total
