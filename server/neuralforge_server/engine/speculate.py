"""How many tokens to draft: as many as pay on this machine, for this text, now; else none.

Algorithm: with a probability a that a drafted token stands, k drafted tokens yield
1 + a + a² + … + aᵏ tokens (Leviathan et al. 2023), and a batch of 1 + k costs about
first + k · further milliseconds. Both are running estimates with forgetting, the costs a least
squares fit; the k with most tokens a millisecond is taken. Where that is 0, a short draft is tried
again after pauses that double while it goes on not paying.

Invariant: what it answers depends on what it observed only. Knows no model and no clock.
"""

from __future__ import annotations

_MOST = 16
"""Tokens drafted at most."""
_PROBE = 3
"""Tokens drafted to see whether it pays by now."""
_FIRST_PAUSE = 16
_LONGEST_PAUSE = 512
_MEMORY = 0.95
"""Weight of an observation after the next one."""
_GUESSED_FURTHER = 0.2
"""Cost of a further token in a batch, in parts of the first, until it is measured."""
_GUESS_WEIGHT = 2.0
_OUTLIER = 4.0
"""Times the expected cost: what took longer was held up by something else."""
_GAIN = 1.05
"""A draft must promise at least so much over none."""


class Speculator:
    """Chooses draft lengths from what earlier ones brought and cost."""

    def __init__(self) -> None:
        self._stood = 1.0
        self._fell = 1.0
        self._costs = _CostFit()
        self._pause = _FIRST_PAUSE
        self._quiet = 0

    def length(self) -> int:
        """Tokens to draft for the next batch; 0 for none."""
        paying = self._paying()
        if paying or self._quiet < self._pause:
            return paying
        return _PROBE

    def observe(self, drafted: int, accepted: int, milliseconds: float) -> None:
        """A batch of 1 + `drafted` tokens took so long, and `accepted` of the drafted stood."""
        self._costs.add(drafted, milliseconds)
        if not drafted:
            self._quiet += 1
            return
        self._stood = _MEMORY * self._stood + accepted
        self._fell = _MEMORY * self._fell + (accepted < drafted)
        if self._paying():
            self._pause = _FIRST_PAUSE
        elif self._quiet >= self._pause and accepted < drafted:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._quiet = 0

    def _paying(self) -> int:
        first, further = self._costs.now()
        if first <= 0:
            return _PROBE  # nothing measured yet
        chance = self._stood / (self._stood + self._fell)
        best, best_rate = 0, _GAIN / first
        tokens = power = 1.0
        for drafted in range(1, _MOST + 1):
            power *= chance
            tokens += power
            rate = tokens / (first + drafted * further)
            if rate > best_rate:
                best, best_rate = drafted, rate
        return best


class _CostFit:
    """Least squares of milliseconds over drafted tokens, older ones weighing less."""

    def __init__(self) -> None:
        self._n = self._x = self._xx = self._y = self._xy = 0.0

    def add(self, drafted: int, milliseconds: float) -> None:
        """Take an observation in, an outlier with what it may at most weigh."""
        first, further = self.now()
        taken = min(milliseconds, _OUTLIER * (first + drafted * further) or milliseconds)
        self._n = _MEMORY * self._n + 1
        self._x = _MEMORY * self._x + drafted
        self._xx = _MEMORY * self._xx + drafted * drafted
        self._y = _MEMORY * self._y + taken
        self._xy = _MEMORY * self._xy + drafted * taken

    def now(self) -> tuple[float, float]:
        """(milliseconds of a batch of one, of every further token); zeros before the first."""
        if not self._n:
            return 0.0, 0.0
        mean_x, mean_y = self._x / self._n, self._y / self._n
        spread = self._xx - self._n * mean_x * mean_x
        slope = self._xy - self._n * mean_x * mean_y
        guess = _GUESSED_FURTHER * mean_y / (1 + _GUESSED_FURTHER * mean_x)
        further = max(0.0, (slope + _GUESS_WEIGHT * guess) / (spread + _GUESS_WEIGHT))
        return max(1e-6, mean_y - further * mean_x), further
