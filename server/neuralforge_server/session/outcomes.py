"""What became of a suggestion, told from the edits alone, where no client says it.

Invariant: each suggestion gets at most one last outcome, after any number of growing partial
ones; nothing is reported of a suggestion that is still open. Pure: knows no clock, no log, and
no text but the suggestions and what is inserted. Offsets are code points of the document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from neuralforge_server.session.rows import Outcome

AUTO_CLOSED = {"()": "(", "[]": "[", "{}": "{", '""': '"', "''": "'", "``": "`"}
"""What an editor inserts when the user types the one key of the value."""


class InferredOutcome(NamedTuple):
    """An outcome to record with source `inferred`; `accepted_length` in characters."""

    suggestion_id: str
    outcome: Outcome
    accepted_length: int | None


@dataclass
class _Open:
    """The suggestion on show in a document."""

    id: str
    text: str
    at: int
    """Where its first character belongs."""
    position: int
    """Where its next character belongs."""
    taken: int = 0
    """Characters of it that stand in the document."""
    in_chunks: bool = False
    """Whether more than single keys brought them there."""

    @property
    def rest(self) -> str:
        return self.text[self.taken :]

    def ended(self, otherwise: Outcome) -> list[InferredOutcome]:
        if self.in_chunks:  # already reported as partial, to this very length
            return []
        return [InferredOutcome(self.id, otherwise, None)]


class OutcomeInference:
    """Follows the one suggestion on show in each document."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    def shown(self, suggestion_id: str, uri: str, offset: int, text: str) -> list[InferredOutcome]:
        """A suggestion is on show at `offset`; returns what that says of the one before it.

        The rest of the same suggestion shown again, under its own id, goes on as it was; another
        one at the same place supersedes it, and one elsewhere means that it was dismissed.
        """
        text = _unified(text)
        before = self._open.get(uri)
        if before and before.id == suggestion_id and text in {before.rest, before.text}:
            return []
        self._open[uri] = _Open(suggestion_id, text, offset, offset)
        if before is None or before.id == suggestion_id:
            return []
        same_place = before.at <= offset <= before.position
        return before.ended("superseded" if same_place else "dismissed")

    def edited(
        self, uri: str, start: int, removed_length: int, inserted: str
    ) -> list[InferredOutcome]:
        """One change of a document; call it once for each, in their order."""
        suggestion = self._open.get(uri)
        if suggestion is None or not (removed_length or inserted):
            return []
        if _steps_back(suggestion, start, removed_length, inserted):
            suggestion.position -= removed_length
            suggestion.taken -= removed_length
            return []
        typed = _inserted_here(suggestion, start, removed_length, _unified(inserted))
        if typed is None or not suggestion.rest.startswith(typed):
            del self._open[uri]
            return suggestion.ended("dismissed")
        return self._taken(uri, suggestion, typed, start + len(inserted))

    def closed(self, uri: str) -> list[InferredOutcome]:
        """A document was closed."""
        suggestion = self._open.pop(uri, None)
        return [] if suggestion is None else suggestion.ended("dismissed")

    def reported(self, suggestion_id: str) -> None:
        """A client has told the last outcome itself; infer no other."""
        self._open = {uri: one for uri, one in self._open.items() if one.id != suggestion_id}

    def _taken(
        self, uri: str, suggestion: _Open, typed: str, position: int
    ) -> list[InferredOutcome]:
        suggestion.in_chunks = suggestion.in_chunks or not _is_one_key(typed)
        suggestion.taken += len(typed)
        suggestion.position = position
        if not suggestion.rest:
            del self._open[uri]
            outcome: Outcome = "accepted" if suggestion.in_chunks else "typed_through"
            return [InferredOutcome(suggestion.id, outcome, suggestion.taken)]
        if suggestion.in_chunks:
            return [InferredOutcome(suggestion.id, "partial", suggestion.taken)]
        return []


def _inserted_here(suggestion: _Open, start: int, removed_length: int, inserted: str) -> str | None:
    """What of `inserted` is new at the suggestion's place; None: the edit is elsewhere.

    An editor may accept by replacing the line before the cursor by itself and the suggestion;
    and it may close a bracket that the user only opened.
    """
    if start + removed_length != suggestion.position:
        return None
    if removed_length:
        return inserted[removed_length:] if inserted.endswith(suggestion.rest) else None
    if inserted in AUTO_CLOSED and not suggestion.rest.startswith(inserted):
        return AUTO_CLOSED[inserted]
    return inserted


def _steps_back(suggestion: _Open, start: int, removed_length: int, inserted: str) -> bool:
    """The user deletes what he typed of it, and may type it again."""
    return (
        not inserted
        and not suggestion.in_chunks
        and removed_length <= suggestion.taken
        and start + removed_length == suggestion.position
    )


def _is_one_key(typed: str) -> bool:
    """One character, or a new line with the indentation that the editor adds."""
    return len(typed) == 1 or (typed[0] == "\n" and not typed.strip())


def _unified(text: str) -> str:
    return text.replace("\r\n", "\n")
