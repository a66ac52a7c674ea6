"""How much of an accepted suggestion still stands, 30 s, 2 min and 5 min later.

Invariant: a number that is recorded is right, or it is None and `unknown`. While the document is
open, the accepted text is followed through every edit; after a restart it is looked for, and
what cannot be told apart from other text is unknown. Knows no clock, no editor and no
encoding: offsets are code points, times are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel

from neuralforge_server.session.exclude import Exclusions
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.owner import is_alive, own_token
from neuralforge_server.session.rows import DEADLINES_S, How, PendingRetention

SHORTEST_BLOCK = 3
"""Characters; shorter runs of a matching are chance (any text holds an `e`)."""
FILE_LIMIT_BYTES = 5_000_000
LATE_S = 10.0
"""Measured later than this after its deadline, only a text that stands whole tells what stood."""

_NEAR_LINES = 20
_TELLING = 12
"""Characters from which on a text is long enough to be known again."""
_SIMILAR = 75.0  # of 100, by rapidfuzz's partial ratio
_REPLACED_WHOLE = 4
"""Times the accepted length beyond which a replacement is more than of the text itself."""


def retained_ratio(accepted: str, now: str) -> float:
    """Share (0..1) of the characters of `accepted` that still stand in `now`.

    Defined as the characters in matching blocks of a longest common subsequence (so in order),
    blocks of fewer than `SHORTEST_BLOCK` characters not counted, over the characters accepted.
    Text added in between costs nothing. An empty `accepted` has lost nothing: 1.
    """
    if accepted in now:
        return 1.0
    shortest = min(SHORTEST_BLOCK, len(accepted))
    blocks = Indel.opcodes(accepted, now).as_matching_blocks()
    return sum(block.size for block in blocks if block.size >= shortest) / len(accepted)


def locate(accepted: str, text: str, hint_line: int) -> str | None:
    """The stretch of `text` where `accepted` stands, perhaps changed; None: cannot be told.

    A text that occurs several times near its line, a short one that does not occur exactly once,
    and one changed beyond recognition cannot be told. Line ends of all kinds are alike.

    Args:
        hint_line: where it was accepted, counted from zero; lines move.
    """
    wanted, text = _unified(accepted), _unified(text)
    if not wanted.strip():
        return None
    places = [text.count("\n", 0, at) for at in islice(_occurrences(wanted, text), 100)]
    near = [line for line in places if abs(line - hint_line) <= _NEAR_LINES]
    if len(wanted) < _TELLING:
        return wanted if len(places) == len(near) == 1 else None
    if places:
        return wanted if 1 in {len(near), len(places)} else None
    return _similar(wanted, text, hint_line)


@dataclass
class TrackedRegion:
    """Where an accepted text lies: characters [start, end) of the document, through edits.

    Text inserted at either edge stays outside; text that replaces any of the region belongs to
    it, and so does text inserted where all of it was deleted (an undo).
    """

    start: int
    end: int

    def apply_edit(self, start: int, removed_length: int, inserted_text: str) -> None:
        """Follow the replacement of `removed_length` characters from `start` on."""
        stop, added = start + removed_length, len(inserted_text)
        if self.start == self.end == start == stop:
            self.end += added
        elif stop <= self.start:
            self.start += added - removed_length
            self.end += added - removed_length
        elif start >= self.end:
            return
        elif self.start == self.end:  # the place of a deleted text was itself replaced
            self.start = self.end = start + added
        else:
            self.start = min(self.start, start)
            self.end = start + added + max(0, self.end - stop)

    def is_covered_by(self, start: int, removed_length: int) -> bool:
        """Whether an edit replaces all of it (as a formatter does that sends whole files)."""
        return start <= self.start < self.end <= start + removed_length


@dataclass
class _Tracked:
    uri: str
    accepted: str
    region: TrackedRegion
    offset: int | None = None
    """Where the text was inside what has replaced it whole; None: it was not."""


class RetentionTracker:
    """Measures every deadline of the log that is this process's, or a dead process's.

    Offsets and texts given must be of the document as the editor has it.
    """

    def __init__(self, log: SessionLog, exclusions: Exclusions) -> None:
        """`exclusions`: which files are never read, not even to measure."""
        self._log = log
        self._exclusions = exclusions
        self._tracked: dict[str, _Tracked] = {}
        self._next_due = self._soonest()

    def accepted(self, suggestion_id: str, uri: str, start: int, text: str, now: float) -> None:
        """Follow `text`, which now stands at `start`; again with more of it after a partial.

        Its deadlines are those that `SessionLog.record_outcome` has scheduled.
        """
        region = TrackedRegion(start, start + len(text))
        self._tracked[suggestion_id] = _Tracked(uri, text, region)
        soonest = now + DEADLINES_S[0]
        self._next_due = soonest if self._next_due is None else min(self._next_due, soonest)

    def edited(self, uri: str, start: int, removed_length: int, inserted: str) -> None:
        """Follow one change of a document, after any acceptance that it is."""
        for tracked in self._tracked.values():
            if tracked.uri != uri:
                continue
            region = tracked.region
            if region.is_covered_by(start, removed_length):
                tracked.offset = region.start - start
            region.apply_edit(start, removed_length, inserted)

    def closed(self, uri: str, text: str, now: float) -> None:
        """Measure what is still pending of a document that closes with `text`."""
        for row in self._mine(uri):
            share = self._share_in(row, text, now)
            self._record(row, share, "closed", now)
        self._tracked = {i: one for i, one in self._tracked.items() if one.uri != uri}

    def due(self, now: float, current_text: Callable[[str], str | None]) -> int:
        """Measure every deadline that has passed; returns how many.

        Args:
            now: Unix seconds.
            current_text: the whole text of an open document by its uri; None: it is not open.
        """
        measured = 0
        for row in self._mine(None):
            if row.due > now:
                continue
            text = current_text(row.uri)
            if text is not None:
                self._record(row, self._share_in(row, text, now), "open", now)
            else:
                self._record(row, self._share_on_disk(row, now), "disk", now)
            measured += 1
        pending = {row.suggestion_id for row in self._mine(None)}
        self._tracked = {i: one for i, one in self._tracked.items() if i in pending}
        self._next_due = self._soonest()
        return measured

    def next_due(self) -> float | None:
        """When `due` has something to do, in Unix seconds; None: nothing is pending."""
        return self._next_due

    def _soonest(self) -> float | None:
        return min((row.due for row in self._mine(None)), default=None)

    def _mine(self, uri: str | None) -> Iterator[PendingRetention]:
        alive: dict[str, bool] = {own_token(): False}
        for row in self._log.pending_retention(uri):
            if row.owner not in alive:
                alive[row.owner] = is_alive(row.owner)
            if not alive[row.owner]:
                yield row

    def _record(self, row: PendingRetention, share: float | None, how: How, now: float) -> None:
        self._log.record_retention(
            row.suggestion_id, row.deadline_s, share, "unknown" if share is None else how, now
        )

    def _share_in(self, row: PendingRetention, text: str, now: float) -> float | None:
        tracked = self._tracked.get(row.suggestion_id)
        if tracked is None or tracked.region.end > len(text):
            return _share_located(row, text, now)
        return _share_tracked(tracked, text)

    def _share_on_disk(self, row: PendingRetention, now: float) -> float | None:
        if row.path is None or row.accepted is None:
            return None
        path = Path(row.path)
        try:
            if self._exclusions.is_excluded(path) or path.stat().st_size > FILE_LIMIT_BYTES:
                return None
            return _share_located(row, path.read_text("utf-8"), now)
        except (OSError, UnicodeDecodeError):
            return None


def _share_tracked(tracked: _Tracked, text: str) -> float | None:
    accepted, region = tracked.accepted, tracked.region
    stands: str | None = text[region.start : region.end]
    if tracked.offset is not None and region.end - region.start > _REPLACED_WHOLE * len(accepted):
        line = text.count("\n", region.start, region.start + tracked.offset)
        stands = locate(accepted, text[region.start : region.end], line)
    return None if stands is None else retained_ratio(_unified(accepted), _unified(stands))


def _share_located(row: PendingRetention, text: str, now: float) -> float | None:
    """As found again; long after the deadline a changed text does not tell what stood then."""
    if row.accepted is None:
        return None
    stands = locate(row.accepted, text, row.line)
    if stands is None:
        return None
    share = retained_ratio(_unified(row.accepted), stands)
    return share if share == 1.0 or now - row.due <= LATE_S else None


def _occurrences(wanted: str, text: str) -> Iterator[int]:
    at = text.find(wanted)
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1)


def _similar(wanted: str, text: str, hint_line: int) -> str | None:
    lines = text.split("\n")
    stop = hint_line + _NEAR_LINES + wanted.count("\n") + 1
    window = "\n".join(lines[max(0, hint_line - _NEAR_LINES) : stop])
    found = fuzz.partial_ratio_alignment(wanted, window, score_cutoff=_SIMILAR)
    if found is None:
        return None
    slack = len(wanted) // 2  # text added in between pushes the rest out of the aligned stretch
    return window[max(0, found.dest_start - slack) : found.dest_end + slack]


def _unified(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
