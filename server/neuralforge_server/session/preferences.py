"""What the user preferred to a suggestion: what was written instead, or what it was changed into.

A dismissed suggestion is worse than what was then typed at its place; an accepted one that was
changed is worse than what it became. Both texts are compared over as many lines as were shown.
Invariant: reads only, and gives no secret and nothing of a repository that has not said yes; a
pair's texts differ before either ends. Knows no tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlite_utils import Database

from neuralforge_server.session.queries import training_events
from neuralforge_server.session.scrub import has_placeholder

_EDIT_WITHIN_S = 300.0
"""Seconds after an acceptance within which a change of its place counts as one of it."""
_ANCHOR = 80
"""Characters before a suggestion by which its place is found again."""

_CHANGED = f"""
    SELECT suggestions.*, edits.before, edits.after,
        edits.prefix AS edit_prefix, edits.suffix AS edit_suffix
    FROM suggestions JOIN edits ON edits.uri = suggestions.uri
        AND edits.created BETWEEN outcome_at AND outcome_at + {_EDIT_WITHIN_S}
    WHERE outcome IN ('accepted', 'partial') AND accepted_length > 0 AND NOT scrubbed
    AND suggestions.created >= ?
    AND (suggestions.repository IS NULL OR suggestions.repository IN
         (SELECT repository FROM consents WHERE answer = 'yes'))
    ORDER BY suggestions.created, suggestions.id, edits.created
"""  # noqa: S608 - put together from this module's constants


@dataclass(frozen=True)
class Preference:
    """Between `prefix` and `suffix` the user preferred `chosen` to the suggestion `rejected`."""

    created: float
    """Unix seconds."""
    path: str | None
    repository: str | None
    language: str
    prefix: str
    suffix: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Change:
    """A settled edit: `prefix + before + suffix` became `prefix + after + suffix`."""

    prefix: str
    before: str
    after: str
    suffix: str


def preferences(database: Database, since: float) -> list[Preference]:
    """Every preference about a suggestion made at or after `since`, oldest first."""
    found = [*_dismissed(database, since), *_changed(database, since)]
    return sorted(found, key=lambda preference: preference.created)


def became(text: str, anchor: str, changes: Iterable[Change]) -> str | None:
    """What an accepted `text` behind `anchor` was changed into; None where no change was of it.

    Args:
        anchor: what stood before it, without which a short text is found anywhere.
        changes: of the same document, in their order. One of them may hold the acceptance itself.
    """
    now, touched = text, False
    for change in changes:
        changed = _changed_place(now, anchor, change)
        if changed is None and not touched:
            changed = _written_place(now, anchor, change)
        if changed is not None:
            now, touched = changed, True
    return now if touched else None


def _dismissed(database: Database, since: float) -> Iterator[Preference]:
    for event in training_events(database, since, unused_only=False):
        if event.rejected is not None:
            yield from _compared(
                Preference(
                    created=event.created,
                    path=event.path,
                    repository=event.repository,
                    language=event.language,
                    prefix=event.prefix,
                    suffix=event.suffix,
                    chosen=event.text,
                    rejected=event.rejected,
                )
            )


def _changed(database: Database, since: float) -> Iterator[Preference]:
    rows = database.query(_CHANGED, [since])
    for _, group in groupby(rows, key=lambda row: row["id"]):
        found = list(group)
        shown = found[0]
        text = shown["text"][: shown["accepted_length"]]
        changes = [
            Change(row["edit_prefix"], row["before"], row["after"], row["edit_suffix"])
            for row in found
        ]
        final = became(text, shown["prefix_tail"][-_ANCHOR:], changes)
        if final is not None:
            yield from _compared(_preference(shown, final, text))


def _preference(row: Mapping[str, Any], chosen: str, rejected: str) -> Preference:
    return Preference(
        created=row["created"],
        path=row["path"],
        repository=row["repository"],
        language=row["language"],
        prefix=row["prefix_tail"],
        suffix=row["suffix_head"],
        chosen=chosen,
        rejected=rejected,
    )


def _compared(preference: Preference) -> Iterator[Preference]:
    """The pair over the lines shown, unless one text only goes on where the other ends."""
    rejected = preference.rejected.rstrip()
    lines = rejected.count("\n") + 1
    chosen = "\n".join(preference.chosen.split("\n")[:lines]).rstrip()
    if not chosen or chosen.startswith(rejected) or rejected.startswith(chosen):
        return
    if not has_placeholder(chosen) and not has_placeholder(rejected):
        yield Preference(**{**vars(preference), "chosen": chosen, "rejected": rejected})


def _changed_place(text: str, anchor: str, change: Change) -> str | None:
    """`text` after `change`, where it stood whole before it and the change lies within it."""
    whole = change.prefix + change.before + change.suffix
    at = whole.find(anchor + text)
    if at < 0 or whole.find(anchor + text, at + 1) >= 0:
        return None
    start = at + len(anchor)
    end = start + len(text)
    first, last = len(change.prefix), len(change.prefix) + len(change.before)
    if not start <= first <= last <= end:
        return None
    result = change.prefix + change.after + change.suffix
    return result[start : end + len(change.after) - len(change.before)]


def _written_place(text: str, anchor: str, change: Change) -> str | None:
    """As many lines as `text` has behind `anchor`, where `change` wrote them."""
    result = change.prefix + change.after + change.suffix
    at = result.find(anchor)
    start, last = at + len(anchor), len(change.prefix) + len(change.after)
    if at < 0 or result.find(anchor, at + 1) >= 0 or not len(change.prefix) <= start < last:
        return None
    return "\n".join(result[start:last].split("\n")[: text.count("\n") + 1])
