"""Material from the session log: what was accepted and kept, edited, and typed after a dismissal.

Invariant: the newest events are held out and stay new; an event is used once. Knows no SQL.
"""

from __future__ import annotations

from neuralforge_adapters.home import Home
from neuralforge_server.session.log import SessionLog
from neuralforge_trainer.collecting.material import (
    Material,
    items_of,
    refuse_little,
    split_by_time,
    told,
)
from neuralforge_trainer.samples.choice import candidates_of, choose
from neuralforge_trainer.samples.dedup import Distinct
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.selection import Selection
from neuralforge_trainer.samples.session import samples_of_events
from neuralforge_trainer.settings import Job


def session_samples(
    home: Home, selection: Selection, unused_only: bool
) -> list[tuple[str, list[Sample]]]:
    """The wanted samples of every event in the log, with its id, oldest first.

    Raises:
        SessionLogError: the log cannot be read.
    """
    with SessionLog.open(home.session_log) as log:
        events = log.training_events(unused_only=unused_only)
        found = [(event.id, selection.of(samples_of_events([event]))) for event in events]
    return [(identifier, samples) for identifier, samples in found if samples]


def _up_to(
    until: float | None, events: list[tuple[str, list[Sample]]]
) -> list[tuple[str, list[Sample]]]:
    return events if until is None else [e for e in events if e[1][-1].time <= until]


def from_session(home: Home, job: Job) -> Material:
    """What no training has used yet, or with `job.everything` all that the log holds.

    Raises:
        NothingToLearnError: too little.
        SessionLogError: the log cannot be read.
    """
    settings = job.settings
    found = session_samples(home, job.selection, unused_only=not job.everything)
    events = _up_to(job.until, found)
    older, newer = split_by_time((s for _, some in events for s in some), settings.heldout_share)
    seen = Distinct()
    samples = choose(candidates_of(older), seen, settings.max_samples, job.balance, settings.seed)
    items = items_of(newer, older, seen)[-settings.heldout_items :]
    refuse_little(samples, items, settings, f"{len(events)} new events in the session log")
    until = older[-1].time
    used = [identifier for identifier, some in events if some[0].time <= until]
    data = {
        "source": "session",
        "events": len(used),
        "samples": len(samples),
        "from": older[0].time,
        "to": until,
    }
    message = told("your editing sessions", samples, len(older), settings)
    newest = newer[-1].time if newer else until
    return Material(samples, items, data, message, lambda: _mark(home, used), until=newest)


def _mark(home: Home, used: list[str]) -> None:
    with SessionLog.open(home.session_log) as log:
        log.mark_used(used)
