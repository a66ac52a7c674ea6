"""What the server remembers: events of documents and suggestions on their way to the session log.

Invariant: files that are excluded, and documents that are no files, leave no trace. Everything
here runs on the thread of `session_writer`, in the order in which it happened. Knows no LSP and
no engine.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rapidfuzz.distance import Prefix

from neuralforge_server.documents import Change, code_points
from neuralforge_server.session.exclude import Exclusions, find_repository
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.outcomes import InferredOutcome, OutcomeInference
from neuralforge_server.session.retention import RetentionTracker
from neuralforge_server.session.rows import Limits, SettledEdit, Suggestion
from neuralforge_server.session.settled import SettledEdits
from neuralforge_server.settings import LogSettings

_REMEMBERED = 256
"""Suggestions whose place is kept for reports that come later."""


@dataclass(frozen=True)
class Place:
    """Where a document lies."""

    uri: str
    path: Path
    repository: Path | None
    language: str


@dataclass
class _Sent:
    """A suggestion that went to the editor, as it was first sent."""

    place: Place
    offset: int
    text: str
    rest: str
    """What was last sent of it, while the user typed through the beginning."""


class Recorder:
    """The session log's view of one server. One thread at a time."""

    def __init__(self, log: SessionLog, exclusions: Exclusions) -> None:
        self.log = log
        self.exclusions = exclusions
        self._inference = OutcomeInference()
        self._retention = RetentionTracker(log, exclusions)
        self._settled = SettledEdits()
        self._places: dict[str, Place] = {}
        self._sent: OrderedDict[str, _Sent] = OrderedDict()
        self._awaited: dict[str, str] = {}
        """Accepted by report, not yet seen in the text: document to suggestion."""

    @classmethod
    def open(cls, path: Path, settings: LogSettings) -> Recorder:
        """A recorder on the log at `path`.

        Raises:
            SessionLogError: the log cannot be opened.
        """
        limits = Limits(size_mb=settings.max_mb, age_days=settings.max_days)
        return cls(SessionLog.open(path, limits), Exclusions(settings.exclude))

    def opened(self, uri: str, path: Path, language: str) -> Place | None:
        """Follow a file, unless it is excluded."""
        if self.exclusions.is_excluded(path):
            return None
        place = self._places[uri] = Place(uri, path, find_repository(path), language)
        return place

    def closed(self, uri: str, text: str) -> None:
        """A document was closed with this text."""
        if self._places.get(uri) is None:
            return
        self._conclude(self._inference.closed(uri))
        self._keep(self._settled.closed(uri))
        self._retention.closed(uri, text, time.time())
        self._awaited.pop(uri, None)
        del self._places[uri]

    def suggested(self, rows: Sequence[Suggestion], offset: int) -> None:
        """Suggestions to choose from were sent, the first one on show, all without repository."""
        first = rows[0]
        place = self._places.get(first.uri)
        if place is None:
            return
        for row in rows:
            self._record(row, place, offset)
        self._conclude(self._inference.shown(first.id, first.uri, offset, first.text))
        self._settled.suggested(first.id, first.uri, offset)

    def _record(self, row: Suggestion, place: Place, offset: int) -> None:
        if row.id in self._sent:
            self._sent[row.id].rest = row.text
            return
        self._sent[row.id] = _Sent(place, offset, row.text, row.text)
        repository = None if place.repository is None else str(place.repository)
        self.log.record_suggestion(replace(row, path=str(place.path), repository=repository))
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    def changed(self, uri: str, change: Change, before: Sequence[str] | None) -> None:
        """One edit; `before` are the lines before it, None where they are too many."""
        if uri not in self._places:
            return
        now = time.time()
        text = None if before is None else "".join(before)
        start, removed, inserted = _needed(change, text)
        self._retention.edited(uri, start, removed, inserted)
        if text is not None:
            self._keep(self._settled.edited(uri, start, removed, inserted, text, now))
        self._conclude(self._inference.edited(uri, start, removed, inserted))
        if uri in self._awaited and text is not None:
            self._arrived(self._awaited[uri], text[:start] + inserted + text[start + removed :])

    def shown(self, suggestion_id: str) -> bool:
        """The client says that it shows a suggestion."""
        return self.log.record_outcome(suggestion_id, "shown", "client")

    def dismissed(self, suggestion_id: str) -> bool:
        """The client says that the user did not want a suggestion."""
        self._inference.reported(suggestion_id)
        self._settled.dismissed(suggestion_id)
        return self.log.record_outcome(suggestion_id, "dismissed", "client")

    def accepted(
        self,
        suggestion_id: str,
        units: int | None,
        lines: Mapping[str, Sequence[str]],
        shown: str | None = None,
    ) -> bool:
        """The client says that a suggestion, or `units` of UTF-16 of it, was taken.

        Args:
            lines: the open documents as they are now; the report may come before the edit.
            shown: the text that the units are of; by default what was sent of it last, which
                may still be on its way.
        """
        sent = self._sent.get(suggestion_id)
        outcome, length = "accepted", None
        if sent is not None and units is not None:
            rest = shown if shown and sent.text.endswith(shown) else sent.rest
            taken = code_points(rest, units, "utf-16")
            outcome = "accepted" if taken >= len(rest) else "partial"
            length = len(sent.text) - len(rest) + taken
        recorded = self.log.record_outcome(
            suggestion_id, "partial" if outcome == "partial" else "accepted", "client", length
        )
        if sent is not None and outcome == "accepted":
            self._inference.reported(suggestion_id)
            self._awaited[sent.place.uri] = suggestion_id
            self._arrived(suggestion_id, "".join(lines.get(sent.place.uri, ())))
        return recorded

    def tick(self, lines: Mapping[str, Sequence[str]]) -> None:
        """Do what time alone brings; `lines` are the open documents where a deadline is due."""
        now = time.time()
        self._keep(self._settled.quiet(now))
        due = self._retention.next_due()
        if due is not None and due <= now:
            self._retention.due(now, lambda uri: "".join(lines[uri]) if uri in lines else None)

    def next_due(self) -> float | None:
        """When `tick` needs the documents' texts (Unix seconds); may be asked from any thread."""
        return self._retention.next_due()

    def _arrived(self, suggestion_id: str, text: str) -> None:
        """Follow an accepted suggestion from where it stands, if it has arrived there."""
        sent = self._sent[suggestion_id]
        if text.startswith(sent.text, sent.offset):
            self._awaited.pop(sent.place.uri, None)
            self._follow(suggestion_id, sent.text)

    def _follow(self, suggestion_id: str, text: str) -> None:
        sent = self._sent[suggestion_id]
        self._retention.accepted(suggestion_id, sent.place.uri, sent.offset, text, time.time())

    def _conclude(self, outcomes: Iterable[InferredOutcome]) -> None:
        for outcome in outcomes:
            identifier, kind, length = outcome
            self.log.record_outcome(identifier, kind, "inferred", length)
            if kind == "dismissed":
                self._settled.dismissed(identifier)
            elif kind in ("accepted", "partial") and identifier in self._sent:
                self._follow(identifier, self._sent[identifier].text[:length])

    def _keep(self, edits: Iterable[SettledEdit]) -> None:
        for edit in edits:
            place = self._places.get(edit.uri)
            if place is None or self.exclusions.is_excluded(place.path):
                continue
            repository = None if place.repository is None else str(place.repository)
            self.log.record_edit(
                replace(edit, path=str(place.path), repository=repository, language=place.language)
            )


def _needed(change: Change, text: str | None) -> tuple[int, int, str]:
    """(start, removed, inserted) without what was written anew as it stood.

    A menu's entry replaces the beginning of a word by itself and more.
    """
    start, removed, inserted = change.start, change.removed, change.inserted
    if text is None or not removed:
        return start, removed, inserted
    kept = Prefix.similarity(text[start : start + removed], inserted)
    return start + kept, removed - kept, inserted[kept:]
