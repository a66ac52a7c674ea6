"""What of a generated text is shown: pure cases, `|` marks the cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_server.completion.extent import look
from neuralforge_server.completion.filter import Shaped, cut_lines, overlap, shape
from neuralforge_server.documents import Position


@pytest.mark.parametrize(
    ("line", "generated", "after_accepting"),
    [
        ("print(|)", "x, y)", "print(x, y)"),
        ("print(|)", "foo(x)", "print(foo(x))"),
        ("print(|)", "foo(x))", "print(foo(x))"),
        ("print(|)", "x", "print(x)"),
        ('print("|")', 'hello")', 'print("hello")'),
        ('print("|")', "hello", 'print("hello")'),
        ('print("|)', 'a (b)")', 'print("a (b)")'),
        ("x = [|]", "1, 2]  # two", "x = [1, 2]  # two"),
        ("if f(|):", "a):", "if f(a):"),
        ("if f(|):", "a)", "if f(a):"),
        ("x = | + foo", "bar + foo", "x = bar + foo"),
        ("x = | and y", "extra", "x = extra and y"),
        ("f(g(|))", "x))", "f(g(x))"),
        ("f(g(|))", "x)", "f(g(x))"),
        ("a = '|'", 'it\' + "s"', "a = 'it' + \"s\""),
        ("|", "a(b)", "a(b)"),
    ],
)
def test_accepting_doubles_and_swallows_nothing(
    line: str, generated: str, after_accepting: str
) -> None:
    left, right = line.split("|")
    shaped = shape(generated, left, right)
    assert shaped is not None
    assert left + shaped.text + right[shaped.replaces :] == after_accepting


@pytest.mark.parametrize(
    ("line", "generated", "next_line"),
    [
        ("x = |", "   ", ""),
        ("x = |", "\n    y", ""),
        ("x = |", "", ""),
        ("x = |1)", "1)", ""),
        ("    |", "return x", "    return x"),
        ("x|", "<|endoftext|>foo", ""),
    ],
)
def test_nothing_worth_showing_is_nothing(line: str, generated: str, next_line: str) -> None:
    left, right = line.split("|", 1)
    assert shape(generated, left, right, next_line) is None


@pytest.mark.parametrize(
    ("generated", "shown"),
    [
        ("foo()<|fim_pad|>bar", "foo()"),
        ("foo()<|file_se", "foo()"),
        ("foo()<fim_suffix>", "foo()"),
        ("a <| b", "a <| b"),
        ("a < b > c", "a < b > c"),
        ("<s>struck</s>", "<s>struck</s>"),
    ],
)
def test_special_tokens_are_never_shown(generated: str, shown: str) -> None:
    assert shape(generated, "", "") == Shaped(shown, 0)


def test_lines_are_cut_at_any_line_end_and_trimmed_at_the_last() -> None:
    assert cut_lines("a \r\nb  \rc", 2) == "a \nb"
    assert cut_lines("a):\n", 1) == "a):"
    assert shape("a\nb", "", "", max_lines=2) == Shaped("a\nb", 0)
    assert shape("a\nb", "f(", " + c)", max_lines=2) is None


@given(st.text("ab()[]\"' +;:", max_size=10), st.text("ab()[]\"' +;:", max_size=6))
def test_what_is_replaced_is_in_the_text_too(text: str, tail: str) -> None:
    replaced = tail[: overlap(text, tail)].lstrip()  # blanks before it go with what is replaced
    remaining = iter(text)
    assert all(character in remaining for character in replaced)


@pytest.mark.parametrize("unfinished", [False, True])
def test_an_opener_whose_body_is_indented_wrongly_stands_alone(unfinished: bool) -> None:
    place = look(["def f():\r\n", "    "], "python", Position(1, 4))
    shaped = shape("if a:\n    b = 1", "", "", max_lines=8, place=place, unfinished=unfinished)
    assert shaped is None or shaped.text in ("if a:", "if a:\n        b = 1")
