"""Which samples are wanted: by time, language and path.

Invariant: the same selection means the same of every source; what it does not name passes. Knows
no source.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    from neuralforge_trainer.samples.sample import Sample

_DAY = 86_400.0


@dataclass(frozen=True)
class Selection:
    """What to learn from; see the fields of `settings.Job` of the same names.

    A pattern that begins with `!` leaves out what it matches, whatever others take.
    """

    since: float | None = None
    languages: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    def admits(self, path: str, language: str, time: float) -> bool:
        """Whether something of that path ('/' between folders), language and time is wanted."""
        if self.since is not None and time < self.since:
            return False
        if self.languages and language not in self.languages:
            return False
        taken, left_out = self._specs
        return (taken is None or taken.match_file(path)) and not left_out.match_file(path)

    def of(self, samples: Iterable[Sample]) -> list[Sample]:
        """Those of `samples` that are wanted, in their order."""
        return [s for s in samples if self.admits(s.path, s.language, s.time)]

    @cached_property
    def _specs(self) -> tuple[GitIgnoreSpec | None, GitIgnoreSpec]:
        """What names the files to take (None: all), and what names those to leave out."""
        from pathspec import GitIgnoreSpec

        taken = [pattern for pattern in self.patterns if not pattern.startswith("!")]
        left_out = [pattern[1:] for pattern in self.patterns if pattern.startswith("!")]
        named = GitIgnoreSpec.from_lines(taken) if taken else None
        return named, GitIgnoreSpec.from_lines(left_out)


def parse_since(text: str) -> float:
    """Unix seconds of a date (`2026-01-31`, local time) or of so many days ago (`90d`).

    Raises:
        ValueError: it is neither; the message says so.
    """
    try:
        if text.endswith("d"):
            return time.time() - float(text[:-1]) * _DAY
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{text!r} is no time: write a date (2026-01-31) or days (90d)") from error


def parse_languages(text: str) -> tuple[str, ...]:
    """Languages from a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
