"""Turns what the session log remembers into samples.

Invariant: a middle is text that the user kept or wrote, cut to at most three lines, and
`prefix + middle + suffix` is the stretch of the document that the log holds. Knows no SQL, and
not which events were used before: the log does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from neuralforge_server.session.rows import TrainingEvent
from neuralforge_trainer.samples.fim import LEAST_VISIBLE
from neuralforge_trainer.samples.lines import line_spans, visible
from neuralforge_trainer.samples.sample import Sample

_BLOCK_LINES = 3
_MOST_LINES = 24  # of one edit: more is rather pasted than written


def samples_of_events(events: Iterable[TrainingEvent]) -> list[Sample]:
    """Samples of accepted texts and settled edits, in the order of `events`.

    A text of up to three lines is one middle; of a longer one each line is, as it is typed.
    """
    return [
        _sample(event, start, end)
        for event in events
        for start, end in _middles(event.text)
        if visible(event.text[start:end]) >= LEAST_VISIBLE
    ]


def _middles(text: str) -> Iterator[tuple[int, int]]:
    """Spans of `text` to ask for, without the line ends before and the white space after them."""
    filled = [span for span in line_spans(text) if text[slice(*span)].strip()]
    if len(filled) > _BLOCK_LINES:
        yield from ((start, _trimmed(text, start, end)) for start, end in filled[:_MOST_LINES])
    elif filled:
        yield filled[0][0], _trimmed(text, *filled[-1])


def _trimmed(text: str, start: int, end: int) -> int:
    return start + len(text[start:end].rstrip())


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
