"""Windows, token healing and FIM layouts: pure, and the same for serving and training."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_adapters.fim import FimTokens, Window, choose_order, heal, layout, split_lines

TOKENS = FimTokens(prefix=1, suffix=2, middle=3)


@pytest.mark.parametrize(
    ("prefix", "kept", "healed"),
    [
        ("x = foo_ba", "x = foo", "_ba"),
        ("self.", "self", "."),
        ("    ret", "   ", " ret"),
        ("def f():\n    ", "def f():\n", "    "),
        ("def f():\n", "def f", "():\n"),
        ("it's", "it", "'s"),
        ("y = [", "y =", " ["),
        ("a\r\n", "a", "\r\n"),
        ("", "", ""),
        ("-" * 60, "-" * 60, ""),
        (" " * 40, " " * 40, ""),
    ],
)
def test_heal_takes_back_the_last_pre_token(prefix: str, kept: str, healed: str) -> None:
    assert heal(prefix) == (kept, healed)


@given(st.text(max_size=200))
def test_heal_loses_nothing(prefix: str) -> None:
    kept, healed = heal(prefix)
    assert kept + healed == prefix
    assert len(healed) <= 32


@given(st.text(alphabet="ab_1. \n(", max_size=40), st.text(alphabet="ab", min_size=1, max_size=5))
def test_heal_of_a_growing_word_stays_where_the_word_began(text: str, word: str) -> None:
    """While a word is typed the kept part does not move, so the prompt only grows."""
    starts = {heal(f"{text} {word[:n]}")[0] for n in range(1, len(word) + 1)}
    assert len(starts) == 1


def test_layouts() -> None:
    assert layout("suffix-first", TOKENS, [7, 8], [9]) == [1, 2, 9, 3, 7, 8]
    assert layout("prefix-first", TOKENS, [7, 8], [9]) == [1, 7, 8, 2, 9, 3]
    assert layout("left-to-right", TOKENS, [7, 8], [9]) == [7, 8]


@pytest.mark.parametrize(
    ("card", "order"),
    [
        ("suffix-first,prefix-first", "suffix-first"),
        ("prefix-first", "prefix-first"),
        ("sideways, suffix-first", "suffix-first"),
        ("", "prefix-first"),
        (None, "prefix-first"),
    ],
)
def test_order_follows_the_card(card: str | None, order: str) -> None:
    assert choose_order(TOKENS, card) == order


def test_a_base_without_fim_tokens_goes_left_to_right_whatever_its_card_says() -> None:
    assert choose_order(FimTokens(1, None, 3), "suffix-first") == "left-to-right"


def test_lines_end_as_in_lsp() -> None:
    text = "a\x0cb\u2028c\x85d\r\ne\rf\ng"
    assert split_lines(text) == ["a\x0cb\u2028c\x85d\r\n", "e\r", "f\n", "g"]


@given(st.text(alphabet="ab\r\n\x0c\u2028", max_size=60))
def test_split_lines_loses_nothing(text: str) -> None:
    assert "".join(split_lines(text)) == text


LINES = [f"line number {i}\n" for i in range(200)]


def test_window_holds_the_nearest_text() -> None:
    prefix, suffix = Window(300, 100).cut(LINES, 100, 4)
    assert prefix.endswith("line number 99\nline") and len(prefix) <= 300
    assert suffix.startswith(" number 100\nline number 101\n") and len(suffix) <= 100


def test_window_head_moves_in_steps_while_typing_down_the_file() -> None:
    window = Window(600, 100, step_lines=16)
    heads = [window.cut(LINES, line, 0)[0][:16] for line in range(60, 124)]
    assert 3 <= len(set(heads)) <= 6, "64 lines further, the head moved only a few times"


def test_window_of_a_huge_line_keeps_what_is_near_the_cursor() -> None:
    prefix, suffix = Window(50, 20).cut(["x" * 1_000_000 + "|" + "y" * 1_000_000], 0, 1_000_001)
    assert prefix == "x" * 49 + "|" and suffix == "y" * 20


@pytest.mark.parametrize("place", [(0, 0), (0, 99), (7, 0), (10**9, 10**9)])
def test_window_at_and_past_the_end(place: tuple[int, int]) -> None:
    prefix, suffix = Window().cut(["one\r\n", "two"], *place)
    assert (prefix + suffix).replace("\r\n", "\n") in ("one\ntwo", "one\n")
    assert not prefix.endswith("\r")


@given(st.text(alphabet="ab\r\n ", max_size=80), st.integers(0, 80))
def test_window_of_a_text_equals_that_of_its_lines(text: str, cut: int) -> None:
    prefix, suffix = text[:cut], text[cut:]
    if prefix.endswith("\r") and suffix.startswith("\n"):
        return  # no cursor can stand within a line end
    assert Window(40, 20, 2).cut_text(prefix, suffix) == _by_lines(prefix, suffix)


def _by_lines(prefix: str, suffix: str) -> tuple[str, str]:
    lines = split_lines(prefix + suffix)
    before = split_lines(prefix)
    open_line = bool(before) and not before[-1].endswith(("\n", "\r"))
    row = len(before) - open_line
    return Window(40, 20, 2).cut(lines, row, len(before[-1]) if open_line else 0)
