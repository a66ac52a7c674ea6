"""Segments of the fast memory: lookups against brute force, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralforge_server.errors import SegmentDamagedError
from neuralforge_server.memory.segment import DEPTH, Document, Segment, write_segment
from neuralforge_server.memory.suffixes import sorted_suffixes

SMALL = st.integers(0, 3)
"""Few different tokens, so that long matches occur."""
TEXTS = st.lists(st.lists(SMALL, max_size=50), min_size=1, max_size=5)


def make(path: Path, texts: list[list[int]]) -> Segment:
    documents = [
        Document(f"{number}.py", str(number), np.array(text, dtype=np.uint32))
        for number, text in enumerate(texts)
    ]
    write_segment(path, documents)
    return Segment(path)


def followers(texts: list[list[int]], context: list[int]) -> list[tuple[int, int]]:
    """(document, next token) of every place that `context` ends at, by brute force."""
    size = len(context)
    return sorted(
        (number, text[end])
        for number, text in enumerate(texts)
        for end in range(size, len(text))
        if text[end - size : end] == context
    )


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, context=st.lists(SMALL, min_size=1, max_size=45), wide=st.booleans())
def test_every_length_finds_the_places_that_brute_force_finds(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[list[int]],
    context: list[int],
    wide: bool,
) -> None:
    shift = 70_000 if wide else 0  # tokens of more than 16 bits are stored in 32
    texts = [[token + shift for token in text] for text in texts]
    context = [token + shift for token in context]
    segment = make(tmp_path_factory.mktemp("segment") / "a.seg", texts)
    assert segment.width == (4 if wide and any(texts) else 2)
    key = segment.key(context)
    row, longest = segment.longest(key)
    lengths = range(1, min(DEPTH, len(context)) + 1)
    assert longest == max((n for n in lengths if followers(texts, context[-n:])), default=0)
    rows = (row, row + 1)
    for length in range(longest, 0, -1):
        rows = segment.widen(key, length, rows)
        inside = np.arange(*rows)
        documents = segment.documents_of(inside).tolist()
        found = zip(documents, segment.following(inside).tolist(), strict=True)
        assert sorted(found) == followers(texts, context[-length:])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=80), st.sampled_from([1, 4, 8, 32]), st.booleans())
def test_suffixes_are_sorted_to_the_depth(text: list[int], depth: int, large: bool) -> None:
    tokens = [token * 8 * 10**8 if large else token for token in text]
    order = sorted_suffixes(np.array(tokens, dtype=np.uint32), depth).tolist()
    assert sorted(order) == list(range(len(text)))
    beginnings = [tokens[start : start + depth] for start in order]
    assert beginnings == sorted(beginnings)


def test_what_is_ahead_of_a_match_ends_with_its_document(tmp_path: Path) -> None:
    segment = make(tmp_path / "a.seg", [[1, 2, 3, 4, 5], [6, 7]])
    row, _ = segment.longest(segment.key([2, 3]))
    assert segment.ahead(row, 1) == [4]
    assert segment.ahead(row, 9) == [4, 5]


def test_a_match_does_not_reach_over_a_documents_beginning(tmp_path: Path) -> None:
    segment = make(tmp_path / "a.seg", [[1, 2, 3], [4, 5]])
    assert segment.longest(segment.key([3, 4]))[1] == 1


def test_a_context_token_that_no_segment_can_hold_ends_the_match(tmp_path: Path) -> None:
    segment = make(tmp_path / "a.seg", [[1, 2, 3]])
    assert segment.longest(segment.key([70_000, 1, 2]))[1] == 2
    assert segment.longest(segment.key([1, 65_535]))[1] == 0


def test_documents_are_read_back(tmp_path: Path) -> None:
    segment = make(tmp_path / "a.seg", [[1, 2, 3], [], [4]])
    assert [segment.document(n).tokens.tolist() for n in range(3)] == [[1, 2, 3], [], [4]]
    assert segment.document(2).path == "2.py"


def test_a_segment_without_text_finds_nothing(tmp_path: Path) -> None:
    segment = make(tmp_path / "a.seg", [[]])
    assert segment.longest(segment.key([1])) == (0, 0)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    make(path, [[1, 2, 3] * 9])
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(SegmentDamagedError):
            Segment(path)


def test_altered_bytes_are_found_and_break_no_lookup(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    size = make(path, [[1, 2, 3] * 9])._body
    whole = path.read_bytes()
    for place in range(size, len(whole) - 8, 11):
        path.write_bytes(whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :])
        segment = Segment(path)
        with pytest.raises(SegmentDamagedError):
            segment.verify()
        key = segment.key([1, 2, 3])
        row, longest = segment.longest(key)
        for length in range(longest, 0, -1):
            segment.following(slice(*segment.widen(key, length, (row, row + 1))))
        segment.ahead(row, 20)
    path.write_bytes(b"\xff" + whole[1:])
    with pytest.raises(SegmentDamagedError):
        Segment(path)
