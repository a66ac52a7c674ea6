"""When to compute: how long to wait after a key, and how long a first line may take.

Where the engine answers before the next key comes, every key gets its answer at once. Where it
does not, most runs would be thrown away by the next key, so that a run is started once no key has
come for a while: the longer the slower the engine is, but a fraction only of what the run then
takes, so that waiting delays no suggestion by much. Invariant: pure; times are given in
milliseconds on any one monotonic clock.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field

_SEEN = 24
_PAUSE_MS = 1000.0
"""A longer gap between keys is a pause: it says nothing of how fast somebody types."""
_FIRST_GUESS_MS = 150.0
"""Between two keys, before anybody has typed: 80 words a minute."""
_MAX_WAIT_MS = 400.0
_WAIT_SHARE = 0.2
"""Of the time by which a run takes longer than two keys are apart: so much more is waited."""
_MIN_BUDGET_MS = 60.0
_MIN_RUNS, _MIN_KEYS = 3, 4


def _window() -> deque[float]:
    return deque(maxlen=_SEEN)


@dataclass
class Pace:
    """What was measured of one engine and one user."""

    _runs: deque[float] = field(default_factory=_window)
    _first_lines: deque[float] = field(default_factory=_window)
    _gaps: deque[float] = field(default_factory=_window)
    _key: float | None = None

    def key(self, now: float) -> None:
        """The user typed."""
        if self._key is not None and 0 < now - self._key < _PAUSE_MS:
            self._gaps.append(now - self._key)
        self._key = now

    def ran(self, milliseconds: float, first_line: float | None) -> None:
        """A run took so long, and so long until its first line was there."""
        self._runs.append(milliseconds)
        self._first_lines.append(milliseconds if first_line is None else first_line)

    def overtaken(self, milliseconds: float) -> None:
        """A run was stopped by the next key after so long: it would have taken longer."""
        if milliseconds > self.latency:
            self._runs.append(milliseconds)

    def forget_engine(self) -> None:
        """Another engine: what was measured of the last one says nothing."""
        self._runs.clear()
        self._first_lines.clear()

    @property
    def latency(self) -> float:
        """Milliseconds of a typical run; 0 while too little is known."""
        return statistics.median(self._runs) if len(self._runs) >= _MIN_RUNS else 0.0

    @property
    def gap(self) -> float:
        """Milliseconds between two keys of a quick stretch: the lower quartile."""
        if len(self._gaps) < _MIN_KEYS:
            return _FIRST_GUESS_MS
        return statistics.quantiles(self._gaps, n=4)[0]

    @property
    def pause(self) -> float:
        """Milliseconds without a key after which the user has most likely paused."""
        if len(self._gaps) < _MIN_KEYS:
            return 2 * _FIRST_GUESS_MS
        return min(_MAX_WAIT_MS, 1.25 * statistics.quantiles(self._gaps, n=10)[8])

    def wait(self, now: float) -> float:
        """Milliseconds to wait before a run is started; 0 where it will be done in time."""
        late = self.latency - self.gap
        if late <= 0:
            return 0.0
        since = 0.0 if self._key is None else now - self._key
        return max(0.0, min(self.pause, _WAIT_SHARE * late) - since)

    def budget(self, most: float) -> float:
        """Milliseconds after which a complete first line is given without waiting for more."""
        if not self._first_lines:
            return most
        return min(most, max(_MIN_BUDGET_MS, 3 * statistics.median(self._first_lines)))
