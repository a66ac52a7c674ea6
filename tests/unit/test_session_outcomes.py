"""What the edits alone tell of a suggestion, and how they settle into samples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_server.session.outcomes import OutcomeInference
from neuralforge_server.session.rows import SettledEdit
from neuralforge_server.session.settled import LONGEST, QUIET_S, SettledEdits

URI = "file:///a.py"


@pytest.fixture
def inference() -> OutcomeInference:
    made = OutcomeInference()
    assert made.shown("one", URI, 10, "return x") == []
    return made


def type_keys(inference: OutcomeInference, at: int, keys: str) -> list[tuple[object, ...]]:
    outcomes: list[tuple[object, ...]] = []
    for offset, key in enumerate(keys):
        outcomes += inference.edited(URI, at + offset, 0, key)
    return outcomes


# outcomes


def test_typing_it_key_by_key_is_typed_through(inference: OutcomeInference) -> None:
    assert type_keys(inference, 10, "return ") == []
    assert inference.edited(URI, 17, 0, "x") == [("one", "typed_through", 8)]


def test_one_change_with_all_of_it_is_an_acceptance(inference: OutcomeInference) -> None:
    assert inference.edited(URI, 10, 0, "return x") == [("one", "accepted", 8)]
    assert inference.edited(URI, 18, 0, "y") == []


def test_the_rest_in_one_change_after_some_keys_is_an_acceptance(
    inference: OutcomeInference,
) -> None:
    type_keys(inference, 10, "re")

    assert inference.edited(URI, 12, 0, "turn x") == [("one", "accepted", 8)]


def test_word_by_word_is_partial_and_then_accepted(inference: OutcomeInference) -> None:
    assert inference.edited(URI, 10, 0, "return") == [("one", "partial", 6)]
    assert inference.edited(URI, 16, 0, " x") == [("one", "accepted", 8)]


def test_leaving_after_a_word_stays_partial(inference: OutcomeInference) -> None:
    inference.edited(URI, 10, 0, "return")

    assert inference.edited(URI, 16, 0, "(") == []
    assert inference.closed(URI) == []


def test_a_client_that_replaces_the_line_by_itself_and_the_rest_accepts(
    inference: OutcomeInference,
) -> None:
    assert inference.edited(URI, 6, 4, "    return x") == [("one", "accepted", 8)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((10, 0, "y"), id="another key"),
        pytest.param((10, 0, "returns"), id="another word"),
        pytest.param((3, 0, "r"), id="the same key elsewhere before"),
        pytest.param((40, 0, "r"), id="the same key elsewhere behind"),
        pytest.param((5, 2, ""), id="a deletion elsewhere"),
        pytest.param((9, 1, ""), id="a deletion before the cursor"),
        pytest.param((0, 30, "new file"), id="the whole file"),
    ],
)
def test_anything_else_dismisses_it(
    inference: OutcomeInference, change: tuple[int, int, str]
) -> None:
    assert inference.edited(URI, *change) == [("one", "dismissed", None)]
    assert inference.edited(URI, 10, 0, "return x") == []


def test_typing_some_and_then_something_else_dismisses_it(inference: OutcomeInference) -> None:
    type_keys(inference, 10, "re")

    assert inference.edited(URI, 12, 0, "d") == [("one", "dismissed", None)]


def test_a_key_taken_back_may_be_typed_again(inference: OutcomeInference) -> None:
    type_keys(inference, 10, "ret")
    assert inference.edited(URI, 12, 1, "") == []

    assert type_keys(inference, 12, "turn x") == [("one", "typed_through", 8)]


def test_a_bracket_that_the_editor_closes_is_one_key() -> None:
    inference = OutcomeInference()
    inference.shown("one", URI, 0, "f(x)")

    assert inference.edited(URI, 0, 0, "f") == []
    assert inference.edited(URI, 1, 0, "()") == []
    assert inference.edited(URI, 2, 0, "y") == [("one", "dismissed", None)]


def test_a_new_line_with_its_indentation_is_one_key_and_crlf_is_no_difference() -> None:
    inference = OutcomeInference()
    inference.shown("one", URI, 0, ":\n    x")

    assert inference.edited(URI, 0, 0, ":") == []
    assert inference.edited(URI, 1, 0, "\r\n    ") == []
    assert inference.edited(URI, 7, 0, "x") == [("one", "typed_through", 7)]


def test_the_next_suggestion_ends_the_one_before(inference: OutcomeInference) -> None:
    assert inference.shown("two", URI, 10, "raise") == [("one", "superseded", None)]
    assert inference.shown("three", URI, 50, "else") == [("two", "dismissed", None)]
    assert inference.shown("four", "file:///b.py", 0, "other document") == []
    assert inference.closed(URI) == [("three", "dismissed", None)]


def test_its_own_rest_shown_again_goes_on(inference: OutcomeInference) -> None:
    type_keys(inference, 10, "re")

    assert inference.shown("one", URI, 12, "turn x") == []
    assert inference.edited(URI, 12, 0, "turn x") == [("one", "accepted", 8)]


def test_nothing_is_inferred_of_what_a_client_has_reported(inference: OutcomeInference) -> None:
    inference.reported("one")

    assert inference.edited(URI, 10, 0, "zzz") == []


@given(st.text(alphabet="ab\n(", min_size=1, max_size=12), st.data())
def test_any_way_to_take_all_of_it_ends_with_its_whole_length(
    text: str, data: st.DataObject
) -> None:
    inference = OutcomeInference()
    inference.shown("one", URI, 0, text)
    taken, last = 0, None
    while taken < len(text):
        size = data.draw(st.integers(1, len(text) - taken))
        for outcome in inference.edited(URI, taken, 0, text[taken : taken + size]):
            last = outcome
        taken += size

    assert last is not None and last.accepted_length == len(text)
    assert last.outcome in {"accepted", "typed_through"}


# settled edits


class Document:
    """A document under edit, as the server feeds it on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.settled = SettledEdits()
        self.yielded: list[SettledEdit] = []
        self.now = 0.0

    def change(self, start: int, removed: int, inserted: str) -> None:
        before = self.text
        self.text = before[:start] + inserted + before[start + removed :]
        self.now += 1
        self.yielded += self.settled.edited(URI, start, removed, inserted, before, self.now)

    def type(self, start: int, keys: str) -> None:
        for offset, key in enumerate(keys):
            self.change(start + offset, 0, key)


SOURCE = "def f(x):\n    y = 1\n    return y\n"


def test_keys_in_a_row_settle_into_one_edit_when_it_goes_quiet() -> None:
    document = Document(SOURCE)
    document.type(SOURCE.index("\n    return"), " + x")
    assert document.settled.quiet(document.now + QUIET_S / 2) == []

    (edit,) = document.settled.quiet(document.now + QUIET_S)

    assert (edit.before, edit.after, edit.line) == ("", " + x", 1)
    assert edit.prefix + edit.after + edit.suffix == document.text
    assert edit.prefix + edit.before + edit.suffix == SOURCE
    assert document.settled.quiet(document.now + 1000) == []


def test_moving_to_another_line_settles_the_one_before() -> None:
    document = Document(SOURCE)
    document.type(SOURCE.index("\n    return"), "0")
    assert document.yielded == []
    document.change(0, 3, "async def")

    (edit,) = document.yielded

    assert (edit.before, edit.after, edit.line) == ("", "0", 1)
    assert [e.after for e in document.settled.closed(URI)] == ["async def"]


def test_new_lines_that_are_typed_belong_to_the_edit() -> None:
    document = Document(SOURCE)
    document.type(SOURCE.index("\n    return"), "\n    z = y\n    y = z")

    (edit,) = document.settled.closed(URI)

    assert edit.after == "\n    z = y\n    y = z"


def test_what_is_taken_back_leaves_no_edit() -> None:
    document = Document(SOURCE)
    document.change(3, 0, "xyz")
    document.change(3, 3, "")

    assert document.settled.closed(URI) == []


def test_a_paste_is_not_the_users_hand() -> None:
    document = Document(SOURCE)
    document.change(0, 0, "pasted\n" * LONGEST)

    assert document.settled.closed(URI) == []


def test_what_is_typed_instead_names_the_dismissed_suggestion() -> None:
    document = Document("x = \n")
    document.settled.suggested("one", URI, 4)
    document.type(4, "r")
    document.settled.dismissed("one")
    document.type(5, "ead()")

    (edit,) = document.settled.closed(URI)

    assert (edit.dismissed_id, edit.prefix, edit.after) == ("one", "x = ", "read()")


def test_only_what_was_typed_since_is_set_against_the_suggestion() -> None:
    document = Document("\n")
    document.type(0, "x = ")
    document.settled.suggested("one", URI, 4)
    document.type(4, "rea")
    document.settled.dismissed("one")
    document.change(0, 1, "value")
    document.type(len("value = rea"), "d()")

    whole, rival = document.settled.closed(URI)

    assert (whole.dismissed_id, whole.after) == (None, "value = read()")
    assert (rival.dismissed_id, rival.before, rival.after) == ("one", "", "read()")
    assert rival.prefix + rival.after + rival.suffix == document.text


def test_a_suggestion_left_for_another_place_has_no_rival() -> None:
    document = Document(SOURCE)
    document.settled.suggested("one", URI, len(SOURCE))
    document.change(0, 0, "a")
    document.settled.dismissed("one")

    assert [edit.dismissed_id for edit in document.settled.closed(URI)] == [None]


@given(st.data())
def test_an_edit_replayed_on_the_old_text_makes_the_new_one(data: st.DataObject) -> None:
    document = Document(data.draw(st.text(alphabet="ab \n", max_size=30)))
    replayed = document.text
    for _ in range(data.draw(st.integers(1, 12))):
        start = data.draw(st.integers(0, len(document.text)))
        removed = data.draw(st.integers(0, len(document.text) - start))
        document.change(start, removed, data.draw(st.text(alphabet="ab \n😀", max_size=4)))
    for edit in [*document.yielded, *document.settled.closed(URI)]:
        assert replayed == edit.prefix + edit.before + edit.suffix
        replayed = edit.prefix + edit.after + edit.suffix

    assert replayed == document.text
