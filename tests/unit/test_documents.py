"""The text store against a slow reference: a whole string, edited and split anew each time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuralforge_server.documents import (
    MAX_CHARACTERS,
    Document,
    Edit,
    Encoding,
    Position,
    client_units,
    code_points,
)

ENCODINGS: list[Encoding] = ["utf-8", "utf-16", "utf-32"]
PIECES = st.sampled_from(
    ["a", "é", "😀", "\r", "\n", "\r\n", "\f", "\u2028", "\x85", "\v", "bc", ""]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)
PLACES = st.tuples(st.integers(0, 8), st.integers(0, 12))


class SlowDocument:
    """The specification: LSP positions found by walking over the whole text."""

    def __init__(self, text: str, encoding: Encoding) -> None:
        self.text, self.encoding = text, encoding

    def offset(self, line: int, units: int) -> int:
        starts = [0, *(m.end() for m in re.finditer("\r\n|\n|\r", self.text))]
        if line >= len(starts):
            return len(self.text)
        at = starts[line]
        for character in re.split("[\r\n]", self.text[at:])[0]:
            width = {
                "utf-8": len(character.encode()),
                "utf-16": len(character.encode("utf-16-le")) // 2,
                "utf-32": 1,
            }[self.encoding]
            if (units := units - width) < 0:
                break
            at += 1
        return at

    def apply(self, edit: Edit) -> tuple[int, int]:
        assert edit.start is not None and edit.end is not None
        start = self.offset(edit.start.line, edit.start.character)
        end = max(start, self.offset(edit.end.line, edit.end.character))
        self.text = self.text[:start] + edit.text + self.text[end:]
        return start, end - start


@given(
    encoding=st.sampled_from(ENCODINGS),
    text=TEXTS,
    edits=st.lists(st.tuples(PLACES, PLACES, TEXTS), max_size=6),
)
@example(encoding="utf-16", text="a\rb\n", edits=[((1, 0), (1, 1), "")])
@example(encoding="utf-16", text="a\r", edits=[((1, 0), (1, 0), "\n")])
@example(encoding="utf-16", text="a\r\n", edits=[((0, 1), (0, 1), "\r")])
@example(encoding="utf-8", text="😀x", edits=[((0, 2), (0, 4), "y")])
def test_random_edits_match_the_slow_reference(
    encoding: Encoding,
    text: str,
    edits: list[tuple[tuple[int, int], tuple[int, int], str]],
) -> None:
    document = Document.open("file:///a.py", "python", 1, text, encoding)
    reference = SlowDocument(text, encoding)
    for start, end, inserted in edits:
        edit = Edit(inserted, Position(*start), Position(*end))
        change = document.apply(edit)
        offset, removed = reference.apply(edit)
        assert document.text == reference.text
        assert change is not None
        assert (change.start, change.removed, change.inserted) == (offset, removed, inserted)
        assert document.length == len(reference.text)
        fresh = Document.open("file:///a.py", "python", 1, reference.text, encoding)
        assert document.lines == fresh.lines


@given(encoding=st.sampled_from(ENCODINGS), text=TEXTS, place=PLACES)
def test_positions_clamp_and_convert_back(
    encoding: Encoding, text: str, place: tuple[int, int]
) -> None:
    document = Document.open("file:///a.py", "python", 1, text, encoding)
    position = document.position(Position(*place))
    assert document.offset(position) == SlowDocument(text, encoding).offset(*place)
    assert document.position(document.to_client(position)) == position


@pytest.mark.parametrize(
    ("encoding", "units", "expected"),
    [("utf-8", 2, 0), ("utf-8", 4, 1), ("utf-16", 1, 0), ("utf-16", 2, 1), ("utf-32", 1, 1)],
)
def test_a_position_within_a_character_is_the_one_before_it(
    encoding: Encoding, units: int, expected: int
) -> None:
    assert code_points("😀b", units, encoding) == expected


def test_units_count_astral_characters_by_encoding() -> None:
    assert [client_units("é😀b", 2, e) for e in ENCODINGS] == [6, 3, 2]


def test_form_feed_and_line_separator_do_not_end_a_line() -> None:
    document = Document.open("file:///a.py", "python", 1, "a\fb\u2028c\x85d\ne")
    document.apply(Edit("X", Position(1, 0), Position(1, 0)))
    assert document.text == "a\fb\u2028c\x85d\nXe"


def test_lone_surrogates_are_replaced_by_something_that_can_be_encoded() -> None:
    document = Document.open("file:///a.py", "python", 1, "a\ud800b")
    document.apply(Edit("\udc00", Position(0, 3), Position(0, 3)))
    assert document.text.encode() == "a\ufffdb\ufffd".encode()


def test_replacing_the_whole_text_reports_only_what_differs() -> None:
    document = Document.open("file:///a.py", "python", 1, "one two three")
    change = document.apply(Edit("one too three"))
    assert change is not None
    assert (change.start, change.removed, change.inserted) == (5, 1, "o")


def test_a_negative_position_is_the_beginning() -> None:
    document = Document.open("file:///a.py", "python", 1, "ab\ncd")
    assert document.position(Position(-1, 5)) == Position(0, 0)
    assert document.position(Position(1, -5)) == Position(1, 0)


def test_text_between_positions_spans_lines() -> None:
    document = Document.open("file:///a.py", "python", 1, "ab\ncd\nef")
    assert document.between(Position(0, 1), Position(2, 1)) == "b\ncd\ne"
    assert document.between(Position(2, 1), Position(0, 1)) == ""


def test_a_document_over_the_limit_is_not_kept_until_it_shrinks() -> None:
    document = Document.open("file:///a.py", "python", 1, "x" * (MAX_CHARACTERS + 1))
    assert document.too_large and not document.lines
    assert document.apply(Edit("y", Position(0, 0), Position(0, 0))) is None
    assert document.apply(Edit("small")) is not None
    assert not document.too_large and document.text == "small"


def test_a_document_that_grows_over_the_limit_is_forgotten() -> None:
    document = Document.open("file:///a.py", "python", 1, "x" * MAX_CHARACTERS)
    assert not document.too_large
    document.apply(Edit("y", Position(0, 0), Position(0, 0)))
    assert document.too_large and document.length == 0


@pytest.mark.parametrize(
    ("uri", "path", "left_alone"),
    [
        ("file:///home/a/b%20c.py", "/home/a/b c.py", False),
        ("untitled:Untitled-1", None, False),
        ("vscode-notebook-cell:/home/a/n.ipynb#W0", None, False),
        ("git:/home/a/b.py?%7B%7D", None, True),
        ("diffview:///a/b.py", None, True),
    ],
)
def test_which_documents_have_a_path_and_which_are_left_alone(
    uri: str, path: str | None, left_alone: bool
) -> None:
    document = Document.open(uri, "python", 1, "")
    assert (document.path, document.left_alone) == (path, left_alone)


def test_an_edit_does_not_cost_what_the_document_weighs() -> None:
    """Generous against a busy machine: splitting the text anew would take twenty times this."""
    line = "    value = compute(first, second)  # a comment, as it is\n"
    document = Document.open("file:///a.py", "python", 1, line * (4_900_000 // len(line)))
    middle = len(document.lines) // 2
    document.apply(Edit("x", Position(middle, 4), Position(middle, 4)))
    started = time.perf_counter()
    for n in range(50):
        document.apply(Edit("x", Position(middle, 4 + n), Position(middle, 4 + n)))
    assert (time.perf_counter() - started) / 50 < 0.002
