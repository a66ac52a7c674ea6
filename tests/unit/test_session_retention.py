"""What is retained is measured right, through edits, closing and restarts, or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_server.session import retention, writes
from neuralforge_server.session.exclude import Exclusions
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.owner import own_token
from neuralforge_server.session.retention import (
    RetentionTracker,
    TrackedRegion,
    locate,
    retained_ratio,
)
from neuralforge_server.session.rows import Suggestion, new_id

NOW = 1_700_000_000.0
ACCEPTED = "return sum(item.price for item in items)"
BEFORE = "import math\n\n\ndef total(items):\n    "
AFTER = "\n\n\nprint(total([]))\n"
URI = "file:///project/a.py"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SessionLog]:
    with SessionLog.open(tmp_path / "session.db") as opened:
        yield opened
        assert opened.verify() == []


@pytest.fixture
def tracker(log: SessionLog) -> RetentionTracker:
    return RetentionTracker(log, Exclusions())


def accept(log: SessionLog, text: str = ACCEPTED, path: Path | None = None) -> str:
    made = Suggestion(
        id=new_id(), created=NOW, base="b", stack="s", stack_json="[]", uri=URI,
        path=None if path is None else str(path), repository=None, language="python", line=4,
        character=4, trigger="automatic", prefix_tail="", suffix_head="", text=text,
        latency_ms=1.0, tokens=1,
    )  # fmt: skip
    log.record_suggestion(made)
    log.record_outcome(made.id, "accepted", "client", at=NOW)
    return made.id


def measured(log: SessionLog) -> dict[int, tuple[float | None, str | None]]:
    rows = log._opened.database.query("SELECT * FROM retention ORDER BY deadline_s")
    return {row["deadline_s"]: (row["retained"], row["how"]) for row in rows}


def closed(uri: str) -> None:
    return None


# the ratio


@pytest.mark.parametrize(
    ("accepted", "now", "share"),
    [
        ("return x", "return x", 1.0),
        ("return x", "", 0.0),
        ("return x", "QQQQQQQQ", 0.0),
        ("abcdefgh", "abcd", 0.5),
        ("abcdefgh", "efgh", 0.5),
        ("abcdefgh", "abcd and more efgh", 1.0),
        ("a\nb\nc\n", "a\n    b\nc\n", 4 / 6),
        ("the total", "txhxe", 0.0),
        (")", ")", 1.0),
        (")", "]", 0.0),
        ("", "anything", 1.0),
    ],
)
def test_the_ratio_by_hand(accepted: str, now: str, share: float) -> None:
    assert retained_ratio(accepted, now) == pytest.approx(share)


@given(st.text(alphabet="abc \n", max_size=40), st.text(alphabet="abc \n", max_size=60))
def test_the_ratio_is_a_share_and_whole_where_the_text_stands(accepted: str, now: str) -> None:
    assert 0.0 <= retained_ratio(accepted, now) <= 1.0
    assert retained_ratio(accepted, now + accepted + now) == 1.0


# the region


class Markers:
    """The reference: the document as a list in which two marks travel with the text."""

    def __init__(self, length: int, start: int, end: int) -> None:
        self.items: list[str] = ["."] * start + ["<"] + ["a"] * (end - start) + [">"]
        self.items += ["."] * (length - end)

    def apply(self, start: int, removed: int, inserted: int) -> None:
        before, inside, after = self.split()
        touched = set(range(start, start + removed))
        first, last = len(before), len(before) + len(inside)
        overlaps = any(first <= k < last for k in touched)
        between = removed == 0 and (first < start < last or first == start == last)
        text = [(k, c) for k, c in enumerate([*before, *inside, *after]) if k not in touched]
        new = ["n"] * inserted
        kept_before = [c for k, c in text if k < first]
        kept_inside = [(k, c) for k, c in text if first <= k < last]
        kept_after = [c for k, c in text if k >= last]
        if overlaps or between:
            left = [c for k, c in kept_inside if k < start]
            right = [c for k, c in kept_inside if k >= start]
            kept = [*left, *new, *right]
        else:
            kept = [c for _, c in kept_inside]
            if start + removed <= first or start < first:
                cut = len([k for k, _ in text if k < min(start, first)])
                kept_before[cut:cut] = new
            else:
                cut = len([k for k, _ in text if last <= k < start])
                kept_after[cut:cut] = new
        self.items = [*kept_before, "<", *kept, ">", *kept_after]

    def split(self) -> tuple[list[str], list[str], list[str]]:
        start, end = self.items.index("<"), self.items.index(">")
        return self.items[:start], self.items[start + 1 : end], self.items[end + 1 :]


@given(st.data())
def test_the_region_goes_where_marks_in_the_text_go(data: st.DataObject) -> None:
    length = data.draw(st.integers(0, 12))
    start = data.draw(st.integers(0, length))
    end = data.draw(st.integers(start, length))
    region, marks = TrackedRegion(start, end), Markers(length, start, end)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, length))
        removed = data.draw(st.integers(0, length - at))
        inserted = data.draw(st.integers(0, 4))
        region.apply_edit(at, removed, "n" * inserted)
        marks.apply(at, removed, inserted)
        length += inserted - removed
        before, inside, _ = marks.split()

        assert (region.start, region.end) == (len(before), len(before) + len(inside))


@given(st.data())
def test_untouched_text_is_always_still_inside(data: st.DataObject) -> None:
    text = BEFORE + ACCEPTED + AFTER
    region = TrackedRegion(len(BEFORE), len(BEFORE) + len(ACCEPTED))
    for _ in range(data.draw(st.integers(1, 8))):
        outside_left = data.draw(st.booleans())
        low, high = (0, region.start) if outside_left else (region.end, len(text))
        at = data.draw(st.integers(low, high))
        removed = data.draw(st.integers(0, high - at))
        inserted = data.draw(st.text(alphabet="ab\n😀", max_size=5))
        text = text[:at] + inserted + text[at + removed :]
        region.apply_edit(at, removed, inserted)

        assert text[region.start : region.end] == ACCEPTED


# finding it again


def test_a_text_is_found_again_where_it_has_moved_to() -> None:
    moved = "# new\n" * 100 + BEFORE + ACCEPTED + AFTER

    assert locate(ACCEPTED, moved, hint_line=4) == ACCEPTED


def test_a_changed_text_is_found_near_its_line_and_measured() -> None:
    changed = BEFORE + ACCEPTED.replace("price", "cost") + AFTER
    found = locate(ACCEPTED, changed, hint_line=4)

    assert found is not None
    assert 0.8 < retained_ratio(ACCEPTED, found) < 1.0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"    {ACCEPTED}\n    {ACCEPTED}\n", id="two alike near its line"),
        pytest.param("x = 1\n" * 9, id="nothing like it"),
        pytest.param("", id="empty"),
    ],
)
def test_what_cannot_be_told_is_not_guessed(text: str) -> None:
    assert locate(ACCEPTED, text, hint_line=1) is None


def test_a_short_text_is_only_known_by_being_the_only_one() -> None:
    assert locate("x + 1", "a\ny = x + 1\nb\n", hint_line=1) == "x + 1"
    assert locate("x + 1", "y = x + 1\n" + "\n" * 60 + "z = x + 1\n", hint_line=0) is None
    assert locate("  ", "  ", hint_line=0) is None


def test_line_ends_of_another_kind_are_the_same_text() -> None:
    accepted = "if ready:\n    start_engine()\n"

    assert locate(accepted, accepted.replace("\n", "\r\n"), hint_line=0) == accepted


# the tracker


def test_each_deadline_is_measured_when_it_is_due(
    log: SessionLog, tracker: RetentionTracker
) -> None:
    identifier = accept(log)
    tracker.accepted(identifier, URI, len(BEFORE), ACCEPTED, NOW)
    text = BEFORE + ACCEPTED + AFTER
    assert tracker.next_due() == NOW + 30
    assert tracker.due(NOW + 29, lambda _: text) == 0

    assert tracker.due(NOW + 30, lambda _: text) == 1
    assert tracker.next_due() == NOW + 120
    half = len(ACCEPTED) // 2
    tracker.edited(URI, len(BEFORE) + half, len(ACCEPTED) - half, "")
    text = BEFORE + ACCEPTED[:half] + AFTER
    assert tracker.due(NOW + 120, lambda _: text) == 1
    tracker.edited(URI, len(BEFORE), half, "")
    text = BEFORE + AFTER
    assert tracker.due(NOW + 301, lambda _: text) == 1

    assert measured(log) == {30: (1.0, "open"), 120: (0.5, "open"), 300: (0.0, "open")}
    assert tracker.next_due() is None


def test_text_alike_elsewhere_does_not_count(log: SessionLog, tracker: RetentionTracker) -> None:
    tracker.accepted(accept(log), URI, len(BEFORE), ACCEPTED, NOW)
    tracker.edited(URI, len(BEFORE), len(ACCEPTED), "pass")
    text = BEFORE + "pass" + AFTER + ACCEPTED

    tracker.due(NOW + 30, lambda _: text)

    assert measured(log)[30] == (0.0, "open")


def test_an_undo_brings_it_back(log: SessionLog, tracker: RetentionTracker) -> None:
    tracker.accepted(accept(log), URI, len(BEFORE), ACCEPTED, NOW)
    tracker.edited(URI, len(BEFORE), len(ACCEPTED), "")
    tracker.edited(URI, len(BEFORE), 0, ACCEPTED)

    tracker.due(NOW + 30, lambda _: BEFORE + ACCEPTED + AFTER)

    assert measured(log)[30] == (1.0, "open")


def test_a_formatter_that_sends_the_whole_file_costs_nothing(
    log: SessionLog, tracker: RetentionTracker
) -> None:
    tracker.accepted(accept(log), URI, len(BEFORE), ACCEPTED, NOW)
    old = BEFORE + ACCEPTED + AFTER
    formatted = "import math\n\nX = 1\n" * 3 + BEFORE + ACCEPTED + AFTER * 20
    tracker.edited(URI, 0, len(old), formatted)

    tracker.due(NOW + 30, lambda _: formatted)

    assert measured(log)[30] == (1.0, "open")


def test_a_replaced_file_that_has_it_twice_does_not_tell(
    log: SessionLog, tracker: RetentionTracker
) -> None:
    tracker.accepted(accept(log), URI, len(BEFORE), ACCEPTED, NOW)
    old = BEFORE + ACCEPTED + AFTER
    replaced = f"{BEFORE}{ACCEPTED}\n    {ACCEPTED}{AFTER * 10}"
    tracker.edited(URI, 0, len(old), replaced)

    tracker.due(NOW + 30, lambda _: replaced)

    assert measured(log)[30] == (None, "unknown")


def test_closing_measures_all_that_is_left(log: SessionLog, tracker: RetentionTracker) -> None:
    tracker.accepted(accept(log), URI, len(BEFORE), ACCEPTED, NOW)
    text = BEFORE + ACCEPTED + AFTER
    tracker.due(NOW + 31, lambda _: text)
    tracker.edited(URI, len(BEFORE), 20, "")

    tracker.closed(URI, BEFORE + ACCEPTED[20:] + AFTER, NOW + 40)

    assert measured(log) == {30: (1.0, "open"), 120: (0.5, "closed"), 300: (0.5, "closed")}


def test_other_documents_do_not_matter(log: SessionLog, tracker: RetentionTracker) -> None:
    tracker.accepted(accept(log), URI, len(BEFORE), ACCEPTED, NOW)
    tracker.edited("file:///project/b.py", 0, 1000, "")
    tracker.closed("file:///project/b.py", "", NOW + 1)

    tracker.due(NOW + 30, {URI: BEFORE + ACCEPTED + AFTER}.get)

    assert measured(log)[30] == (1.0, "open")


# after a restart


def test_an_open_document_is_searched(log: SessionLog) -> None:
    accept(log)
    text = "# added since\n" + BEFORE + ACCEPTED + AFTER

    RetentionTracker(log, Exclusions()).due(NOW + 30, lambda _: text)

    assert measured(log)[30] == (1.0, "open")


def test_a_closed_one_is_read_from_the_disk(log: SessionLog, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(BEFORE + ACCEPTED + AFTER, encoding="utf-8")
    accept(log, path=file)

    RetentionTracker(log, Exclusions()).due(NOW + 9_000, closed)

    assert measured(log) == dict.fromkeys((30, 120, 300), (1.0, "disk"))


@pytest.mark.parametrize("reason", ["excluded", "missing", "large", "binary", "no path", "changed"])
def test_what_cannot_be_known_is_unknown(
    log: SessionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    file = tmp_path / "a.py"
    if reason != "missing":
        file.write_text(BEFORE + ACCEPTED + AFTER)
    if reason == "large":
        monkeypatch.setattr(retention, "FILE_LIMIT_BYTES", 10)
    if reason == "binary":
        file.write_bytes(b"\xff\xfe" + ACCEPTED.encode())
    if reason == "changed":  # and so long after that no one can say what stood at the deadline
        file.write_text(BEFORE + ACCEPTED.replace("price", "cost") + AFTER)
    accept(log, path=None if reason == "no path" else file)
    exclusions = Exclusions(["a.py"] if reason == "excluded" else [])

    RetentionTracker(log, exclusions).due(NOW + 9_000, closed)

    assert measured(log) == dict.fromkeys((30, 120, 300), (None, "unknown"))


def test_a_scrubbed_text_is_only_measured_while_it_is_followed(log: SessionLog) -> None:
    secret = 'password = "hunter2hunter2"'
    tracker = RetentionTracker(log, Exclusions())
    tracker.accepted(accept(log, secret), URI, 0, secret, NOW)

    tracker.due(NOW + 30, lambda _: secret)
    RetentionTracker(log, Exclusions()).due(NOW + 120, lambda _: secret)

    assert measured(log) == {30: (1.0, "open"), 120: (None, "unknown"), 300: (None, None)}


def test_the_deadlines_of_a_living_process_are_left_to_it(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = own_token().split(":")[1]
    monkeypatch.setattr(writes, "own_token", lambda: f"1:{started}")
    monkeypatch.setattr(retention, "is_alive", lambda token: token.startswith("1:"))
    accept(log)
    tracker = RetentionTracker(log, Exclusions())

    assert tracker.next_due() is None
    assert tracker.due(NOW + 400, lambda _: BEFORE + ACCEPTED) == 0
    monkeypatch.setattr(retention, "is_alive", lambda token: False)
    assert tracker.due(NOW + 400, lambda _: BEFORE + ACCEPTED) == 3
    assert dataclasses.asdict(log.show(1)[0])["retained"] == dict.fromkeys((30, 120, 300), 1.0)
