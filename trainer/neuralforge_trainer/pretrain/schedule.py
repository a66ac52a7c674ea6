"""The learning rate over a run: warm-up, stable, decay (Hu et al. 2024, «WSD»).

Invariant: until the decay begins, the rate does not depend on where the run will end, so a run can
be prolonged, and a decayed copy branched off at any step. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Counted in optimizer steps."""

    warmup: int
    decay_from: int
    decay_steps: int

    @property
    def end(self) -> int:
        """The step after which the rate is zero."""
        return self.decay_from + self.decay_steps

    def scale(self, step: int) -> float:
        """The factor on the rates at `step`, counted from 0."""
        if step < self.decay_from:
            return min(1.0, (step + 1) / max(1, self.warmup))
        if step >= self.end:
            return 0.0
        passed = (step - self.decay_from) / max(1, self.decay_steps)
        return float(1.0 - passed**0.5)


def whole_run(steps: int, warmup: int, decay_share: float) -> Schedule:
    """A run of `steps` whose last `decay_share` decays."""
    decay = max(1, round(steps * decay_share))
    return Schedule(warmup, steps - decay, decay)


def branch(at: int, warmup: int, steps: int) -> Schedule:
    """A decay of `steps` that begins at once."""
    return Schedule(warmup, at, steps)
