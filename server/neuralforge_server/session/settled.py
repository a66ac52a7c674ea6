"""Settled edits: the many changes of one place, joined into what it was and what it became.

Invariant: `before` and `after` come with text around them that both states share, so that
either makes a training sample; an edit is yielded once, when its place has been left. Pure: the
caller gives the time and the document's text before each change. Knows no log and no language.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rapidfuzz.distance import Postfix, Prefix

from neuralforge_server.session.rows import SettledEdit

QUIET_S = 10.0
"""Seconds without a change after which an edit has settled."""
CONTEXT_BEFORE = 2_000
CONTEXT_AFTER = 1_000
"""Characters kept around an edit."""
LONGEST = 4_000
"""Characters; a longer edit is a paste or a formatter's, not the user's hand."""


@dataclass(frozen=True)
class _Change:
    """A document's text before one change, and that change."""

    text: str
    start: int
    removed_length: int
    inserted: str

    @property
    def stop(self) -> int:
        return self.start + self.removed_length

    @property
    def growth(self) -> int:
        return len(self.inserted) - self.removed_length

    def result(self) -> str:
        return f"{self.text[: self.start]}{self.inserted}{self.text[self.stop :]}"


@dataclass
class _Place:
    """Where a suggestion was shown; [start, end) is what was typed there since."""

    suggestion_id: str
    start: int
    end: int

    def follow(self, change: _Change) -> bool:
        """Whether the place can still be told after `change`."""
        if self.start <= change.start and change.stop <= self.end:
            self.end += change.growth
        elif change.stop <= self.start:
            self.start += change.growth
            self.end += change.growth
        elif change.start < self.end:
            return False
        return True


@dataclass
class _Group:
    """The changes of one place: [start, end) now stands for `removed` characters of `original`."""

    original: str
    start: int
    end: int
    removed: int
    last: _Change
    last_at: float
    dismissed: _Place | None = None

    @classmethod
    def begin(cls, change: _Change, now: float) -> _Group:
        end = change.start + len(change.inserted)
        return cls(change.text, change.start, end, change.removed_length, change, now)

    def joins(self, change: _Change) -> bool:
        """Whether a change lies on the lines of this place."""
        first = change.text.rfind("\n", 0, self.start) + 1
        last = change.text.find("\n", self.end)
        return first <= change.start and (last < 0 or change.stop <= last)

    def add(self, change: _Change, now: float) -> None:
        start, end = min(self.start, change.start), max(self.end, change.stop)
        # what is taken in on either side was not touched before, so `original` has it too
        self.removed += (self.start - start) + (end - self.end)
        self.start, self.end = start, end + change.growth
        self.last, self.last_at = change, now

    def follow_dismissed(self, change: _Change) -> None:
        if self.dismissed is not None and not self.dismissed.follow(change):
            self.dismissed = None


class SettledEdits:
    """Groups the changes of every open document.

    What is yielded has no path, repository or language yet: `dataclasses.replace` them in.
    """

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._groups: dict[str, _Group] = {}
        self._shown: dict[str, _Place] = {}

    def edited(
        self, uri: str, start: int, removed_length: int, inserted: str, before: str, now: float
    ) -> list[SettledEdit]:
        """One change of a document; returns the edit that it has left behind, if any.

        Args:
            before: the document's whole text before the change; kept, not copied.
            now: Unix seconds.
        """
        change = _Change(before, start, removed_length, inserted)
        if uri in self._shown and not self._shown[uri].follow(change):
            del self._shown[uri]
        group = self._groups.get(uri)
        if group is not None and group.joins(change):
            group.follow_dismissed(change)
            group.add(change, now)
            return []
        self._groups[uri] = _Group.begin(change, now)
        return [] if group is None else _settle(uri, group)

    def suggested(self, suggestion_id: str, uri: str, offset: int) -> None:
        """A suggestion is on show at `offset`."""
        self._shown[uri] = _Place(suggestion_id, offset, offset)

    def dismissed(self, suggestion_id: str) -> None:
        """The user did not take it: what is typed at its place is what he wanted instead.

        Call it after `edited` of the change that told. Of several at one place the first, whose
        text is the longest, is kept.
        """
        for uri, place in self._shown.items():
            group = self._groups.get(uri)
            if place.suggestion_id == suggestion_id and group and group.dismissed is None:
                group.dismissed = replace(place)

    def quiet(self, now: float) -> list[SettledEdit]:
        """The edits that have settled by `now` because nothing has changed for a while."""
        still = [u for u, group in self._groups.items() if now - group.last_at >= self._quiet_s]
        return [edit for uri in still for edit in _settle(uri, self._groups.pop(uri))]

    def closed(self, uri: str) -> list[SettledEdit]:
        """A document was closed."""
        self._shown.pop(uri, None)
        group = self._groups.pop(uri, None)
        return [] if group is None else _settle(uri, group)


def _settle(uri: str, group: _Group) -> list[SettledEdit]:
    """The whole edit; and, apart where it is only a part, what was typed after a dismissal."""
    text = group.last.result()
    before = group.original[group.start : group.start + group.removed]
    start, end, before = _trimmed(text, group.start, group.end, before)
    rival = group.dismissed
    if rival is not None and not group.start <= rival.start < rival.end <= group.end:
        rival = None
    edits = []
    if text[start:end] != before and max(end - start, len(before)) <= LONGEST:
        edits.append(_edit(uri, text, (start, end), before, group.last_at, None))
    if rival is not None and rival.end - rival.start <= LONGEST:
        if edits and not before and (rival.start, rival.end) == (start, end):
            edits.clear()
        span = (rival.start, rival.end)
        edits.append(_edit(uri, text, span, "", group.last_at, rival.suggestion_id))
    return edits


def _edit(
    uri: str, text: str, span: tuple[int, int], before: str, at: float, dismissed_id: str | None
) -> SettledEdit:
    start, end = span
    return SettledEdit(
        uri=uri,
        created=at,
        line=text.count("\n", 0, start),
        before=before,
        after=text[start:end],
        prefix=text[max(0, start - CONTEXT_BEFORE) : start],
        suffix=text[end : end + CONTEXT_AFTER],
        dismissed_id=dismissed_id,
    )


def _trimmed(text: str, start: int, end: int, before: str) -> tuple[int, int, str]:
    """Without what both states share at either end, save for the rest of a changed word."""
    after = text[start:end]
    head = int(Prefix.similarity(before, after))
    while head > 0 and _is_word(after[head - 1]):
        head -= 1
    room = min(len(before), len(after)) - head
    tail = min(room, int(Postfix.similarity(before, after)))
    while tail > 0 and _is_word(after[-tail]):
        tail -= 1
    return start + head, end - tail, before[head : len(before) - tail]


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
