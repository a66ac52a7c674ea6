"""Turns what the session log remembers into samples.

Invariant: a middle is text that the user kept or wrote, cut to at most three lines, and
`prefix + middle + suffix` is the stretch of the document that the log holds. Knows no SQL, and
not which events were used before: the log does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from neuralforge_server.session.rows import TrainingEvent
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.written import written_spans


def samples_of_events(events: Iterable[TrainingEvent]) -> list[Sample]:
    """Samples of accepted texts and settled edits, in the order of `events`.

    A text of up to three lines is one middle; of a longer one each line is (`written_spans`).
    """
    return [
        _sample(event, start, end) for event in events for start, end in written_spans(event.text)
    ]


def _sample(event: TrainingEvent, start: int, end: int) -> Sample:
    return Sample(
        prefix=event.prefix + event.text[:start],
        middle=event.text[start:end],
        suffix=event.text[end:] + event.suffix,
        language=event.language,
        path=_relative(event),
        repository=event.repository or "",
        time=event.created,
        source="session",
    )


def _relative(event: TrainingEvent) -> str:
    path = Path(event.path or "")
    if event.repository and path.is_relative_to(event.repository):
        path = path.relative_to(event.repository)
    return path.as_posix() if event.path else ""
