"""Which samples are wanted: by time, language and path.

Invariant: the same selection means the same of every source; what it does not name passes. Knows
no source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    from neuralforge_trainer.samples.sample import Sample


@dataclass(frozen=True)
class Selection:
    """What to learn from; see the fields of `settings.Job` of the same names."""

    since: float | None = None
    languages: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    def admits(self, path: str, language: str, time: float) -> bool:
        """Whether something of that path ('/' between folders), language and time is wanted."""
        if self.since is not None and time < self.since:
            return False
        if self.languages and language not in self.languages:
            return False
        return self._spec is None or self._spec.match_file(path)

    def of(self, samples: Iterable[Sample]) -> list[Sample]:
        """Those of `samples` that are wanted, in their order."""
        return [s for s in samples if self.admits(s.path, s.language, s.time)]

    @cached_property
    def _spec(self) -> GitIgnoreSpec | None:
        """Matches what the patterns name; if all of them leave out, what none of them does."""
        from pathspec import GitIgnoreSpec

        if not self.patterns:
            return None
        only_negative = all(pattern.startswith("!") for pattern in self.patterns)
        return GitIgnoreSpec.from_lines(["*"] * only_negative + list(self.patterns))
