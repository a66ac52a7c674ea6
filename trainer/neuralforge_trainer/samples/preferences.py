"""Which of the session log's preferences a job learns from, and what is noted of them.

Invariant: none shows a line that the job is measured on, and none is learnt from twice. Knows
no tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from neuralforge_adapters.home import Home, read_json, write_json
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.preferences import Preference
from neuralforge_trainer.evaluate.heldout import Item

_FILE = "preferences.json"


def new_preferences(home: Home, least: int, heldout: Iterable[Item]) -> list[Preference]:
    """What no job has learnt from yet, oldest first; nothing while it is fewer than `least`.

    Raises:
        SessionLogError: the log cannot be read.
    """
    if not home.session_log.exists():
        return []
    with SessionLog.open(home.session_log) as log:
        found = log.preferences(math.nextafter(_learnt_until(home), math.inf))
    measured = {_line(item.prefix, item.expected) for item in heldout}
    if len(found) < least:
        return []
    return [one for one in found if measured.isdisjoint(_lines(one))]


def remember_preferences(home: Home, learnt: Sequence[Preference]) -> None:
    """Never take these, or older ones, for new again."""
    if learnt:
        until = max(preference.created for preference in learnt)
        write_json(home.profile_dir / _FILE, {"until": until})


def _learnt_until(home: Home) -> float:
    content = read_json(home.profile_dir / _FILE)
    until = content.get("until", 0.0) if isinstance(content, dict) else 0.0
    return float(until) if isinstance(until, int | float) else 0.0


def _lines(preference: Preference) -> set[str]:
    """The lines that either text makes, the first with what stands before it."""
    first = preference.prefix.rpartition("\n")[2]
    texts = (preference.chosen, preference.rejected)
    return {line.strip() for text in texts for line in (first + text).splitlines()}


def _line(prefix: str, expected: str) -> str:
    return (prefix.rpartition("\n")[2] + expected).strip()
