"""How much a suggestion may write: `|` marks the cursor in a small document."""

from __future__ import annotations

import time

import pytest

from neuralforge_adapters.fim import split_lines
from neuralforge_server.completion.extent import Place, look, opens_block, rules_for
from neuralforge_server.documents import Position
from neuralforge_server.engine.stopping import StopRules

MANY = 8


def cursor(text: str) -> tuple[list[str], Position]:
    """The document without its `|`, and where that stood."""
    before, after = text.split("|")
    line = before.count("\n")
    return split_lines(before + after), Position(line, len(before) - before.rfind("\n") - 1)


def rules(text: str, language: str = "python") -> StopRules:
    lines, position = cursor(text)
    return rules_for(lines, language, position, MANY)


def place(text: str, language: str = "python") -> Place:
    lines, position = cursor(text)
    return look(lines, language, position)


@pytest.mark.parametrize(
    ("text", "language", "lines"),
    [
        # a block begins
        ("def f(a):\n    |", "python", MANY),
        ("def f(a):|\n", "python", MANY + 1),
        ("def f(a):  # does\n    |\n\nx = 1\n", "python", MANY),
        ("class A:\n    def f(self):\n        |\n\n    def g(self): pass\n", "python", MANY),
        ("if (x) {|}", "javascript", MANY + 1),
        ("if (x) {\n  |\n}", "javascript", MANY),
        ("const f = () => {\n\t|\n};", "typescript", MANY),
        ("f(() =>|)", "javascript", MANY + 1),
        ("x = [\n    |\n]\n", "python", MANY),
        ("fn f() -> u8 {\n    |\n}", "rust", MANY),
        ("for x in y; do\n  |\ndone", "shellscript", MANY),
        ("items:\n  |\n", "yaml", MANY),
        # one line
        ("x = |", "python", 1),
        ("x = f(|)", "python", 1),
        ("def f(a):\n    |\n    return a\n", "python", 1),
        ("if (x) {\n  |\n  y()\n}", "javascript", 1),
        ("def f(a):\n    x = 1\n    |\n", "python", 1),
        ("def f(|):\n", "python", 1),
        ("x[1:|\n", "python", 1),
        ("# if so:|\n", "python", 1),
        ('"""Text:\n    |\n"""', "python", 1),
        ("|", "python", 1),
        ("", "python", 1),
        ("switch (x) { case 1:|\n", "javascript", 1),
    ],
)
def test_a_block_is_written_where_an_empty_one_begins(text: str, language: str, lines: int) -> None:
    assert rules(text if "|" in text else "|" + text, language).max_lines == lines


def test_no_block_where_one_line_is_what_the_user_wants() -> None:
    lines, position = cursor("def f():\n    |")
    assert rules_for(lines, "python", position, 1).max_lines == 1


def test_a_block_ends_where_its_indentation_does() -> None:
    assert rules("class A:\n    def f(self):\n        |").indent == 5
    assert rules("    if x:|\n").indent == 5
    assert rules("x = |").indent == -1


@pytest.mark.parametrize(
    ("text", "language", "opened"),
    [
        ("f(|", "python", "("),
        ("f(|)", "python", "("),  # the editor's own may be replaced
        ("f(|, b)", "python", ""),
        ("f(\n    a,\n    |\n", "python", "("),
        ("f(\n    a,\n    |\n)\n", "python", ""),
        ("x = [f(|\n]\n", "python", "("),
        ("function f() {\n  |\n}\n", "javascript", ""),
        ("function f() {\n  |\n", "javascript", "{"),
        ("class A {\n  f() {\n    |\n  g() {}\n}\n", "javascript", "{"),
        ("class A {\n  f() {\n    |\n  }\n}\n", "javascript", ""),
        ("f(a, {\n  b: [\n    |\n})\n", "javascript", "["),
        ("x = '('\ny = |", "python", ""),
        ("# ( [\ny = |", "python", ""),
    ],
)
def test_brackets_that_a_suggestion_may_close(text: str, language: str, opened: str) -> None:
    assert rules(text, language).opened == opened


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("x = 'a|b'", "'"),
        ("x = 1  # so|", "#"),
        ('def f():\n    """Does |', '"""'),
        ('"""One."""\nx = |', ""),
        ("x = 'it''s' |", ""),
        ('"""' + "text\n" * 400 + "more |", '"""'),
        ('"""text"""\n' + "x = 1\n" * 400 + "y = |", ""),
    ],
)
def test_strings_and_comments_that_the_cursor_is_in(text: str, within: str) -> None:
    assert rules(text).within == within


def test_strings_over_several_lines_that_begin_far_above_are_counted() -> None:
    far = "x = 1;\n" * 400
    assert rules("/*\n" + far + "|", "javascript").within == "/*"
    assert rules("/* */\n" + far + "|", "javascript").within == ""
    assert rules("a = `\n" + far + "|", "typescript").within == "`"


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("class A:\n    def f(self):\n        x\n|", (8, 4, 0)),
        ("class A:\n    def f(self):\n|", (8,)),
        ("|", (0,)),
        ("if x:\n  y\nif z:\n|", (2,)),
    ],
)
def test_columns_at_which_a_statement_may_begin(text: str, levels: tuple[int, ...]) -> None:
    assert place(text).levels == levels


def test_the_lines_around_are_those_that_are_not_blank() -> None:
    found = place("a = 1\n\n|\n\nb = 2\r\n\r\nc = 3\r\n")
    assert (found.above, found.below, found.following) == ("a = 1", "b = 2", ("b = 2", "c = 3"))


@pytest.mark.parametrize(
    ("line", "language", "opens"),
    [
        ("if x:", "python", True),
        ("x = {'a':", "python", False),
        ("if x: # so", "python", True),
        ("case 1:", "javascript", False),
        ("foo(", "javascript", True),
        ("a => b", "javascript", False),
        ("then", "lua", True),
        ("thenceforth", "lua", False),
        ("", "python", False),
    ],
)
def test_lines_that_open_a_block(line: str, language: str, opens: bool) -> None:
    assert opens_block(line, language) is opens


def test_a_cursor_past_the_end_of_the_document_or_line_is_at_its_end() -> None:
    assert look(["x = 1"], "python", Position(7, 3)).prefix == ""
    assert look(["x = 1\r\n"], "python", Position(0, 99)).prefix == "x = 1"
    assert look([], "python", Position(0, 0)).levels == (0,)


def test_a_large_file_and_a_long_line_cost_no_more_than_small_ones() -> None:
    lines = ["    value = compute(first, second)[index]  # as before\n"] * 50_000
    lines[25_000] = "x" * 1_000_000 + "\n"
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        found = look(lines, "python", Position(25_000, 999_990))
        best = min(best, time.perf_counter() - started)
    assert found.suffix == "x" * 10
    assert best < 0.05  # some 5 ms on an idle core
