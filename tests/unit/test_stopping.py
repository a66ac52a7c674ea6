"""When a growing text is complete: whole texts, texts in pieces, and what a call costs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_server.engine.brackets import Lexer, settle
from neuralforge_server.engine.stopping import Stopper, StopRules, loop_start


def kept(text: str, rules: StopRules) -> str:
    """What stays of `text` when it comes character by character."""
    stopper = Stopper(rules)
    for length in range(1, len(text) + 1):
        if (end := stopper.end(text[:length])) is not None:
            return text[:end]
    return text


PYTHON = StopRules(max_lines=9, language="python", balanced=True)
BODY = StopRules(max_lines=9, language="python", prefix="    ", balanced=True, indent=4)
SCRIPT = StopRules(max_lines=9, language="javascript", balanced=True, opened="{", indent=2)


@pytest.mark.parametrize(
    ("rules", "text", "expected"),
    [
        (StopRules(), "a = 1\nb", "a = 1"),
        (StopRules(), "a = 1\r\nb", "a = 1"),
        (StopRules(), "):\n    pass", "):"),
        (StopRules(max_lines=2), "a\nb\nc", "a\nb"),
        (StopRules(), "goes on", "goes on"),
        # the line below
        (StopRules(max_lines=5, below="    return x"), "y = 2\n    return x\n", "y = 2"),
        (StopRules(max_lines=5, prefix="    ret", below="    return x"), "urn x\nz", ""),
        (StopRules(max_lines=5, below="}"), "a()\n}\nb", "a()\n}\nb"),
        # repetitions
        (StopRules(max_lines=9), "foo()\nfoo()\nfoo()\n", "foo()"),
        (StopRules(max_lines=9, prefix="    "), "foo()\n    foo()\n", "foo()"),
        (StopRules(max_lines=9), "a1()\nb1()\na1()\nb1()\nc", "a1()\nb1()"),
        (StopRules(max_lines=9), "0,\n0,\n0,\n", "0,\n0,\n0,\n"),
        (StopRules(), "first" + " + second" * 9, "first + second"),
        (StopRules(), "foo = foo = foo = foo = foo = foo =", "foo"),
        (StopRules(), "1" + "0" * 40, "10"),
        (StopRules(), "x = [0, 0, 0, 0, 0, 0]", "x = [0, 0, 0, 0, 0, 0]"),
        (StopRules(), "-" * 20, "-" * 20),
        (StopRules(), "a.parent.parent.parent", "a.parent.parent.parent"),
        # brackets that are not open
        (PYTHON, "x)", "x"),
        (PYTHON, "f(x))\n", "f(x)"),
        (PYTHON, "')'\n", "')'\n"),
        (PYTHON, "x  # 1) first\n", "x  # 1) first\n"),
        (PYTHON, "don't)", "don't"),
        (PYTHON, "[1, 2}", "[1, 2"),
        (StopRules(language="python", balanced=True, opened="("), "x)\n", "x)"),
        (StopRules(language="python", balanced=True, opened="["), "x)\n", "x"),
        (StopRules(language="python", balanced=True, within='"'), ') %s")', ') %s"'),
        (StopRules(), "x)", "x)"),
        # what stands right of the cursor
        (StopRules(suffix=", key=None)", joins=True), "a, key=None)\n", "a"),
        (StopRules(suffix="self", joins=True), "myself, 1", "myself, 1"),
        (StopRules(suffix=" + foo", joins=True), "bar\n", "bar\n"),
        # the end of the block
        (BODY, "x = 1\n    y = 2\nz = 3\n", "x = 1\n    y = 2"),
        (BODY, "x = 1\n\n    y = 2\n", "x = 1\n\n    y = 2\n"),
        (BODY, "x = 1\n\n\n    y = 2\n", "x = 1"),
        (BODY, "x = f(\n1)\n    y\n", "x = f(\n1)\n    y\n"),
        (BODY, 'x = """\ntext\n"""\n    y\n', 'x = """\ntext\n"""\n    y\n'),
        (SCRIPT, "\n  a()\n}\nb()\n", "\n  a()\n}"),
        (SCRIPT, "\n  a()\n} else {\n  b()\n}\nc()\n", "\n  a()\n} else {\n  b()\n}"),
        # blanks without end
        (StopRules(prefix="\t"), "\t" * 99, ""),
        (StopRules(max_lines=5), "a\n" + " " * 99, "a"),
    ],
)
def test_what_is_kept_of_a_text_that_grows(rules: StopRules, text: str, expected: str) -> None:
    assert kept(text, rules) == expected


@given(st.text("ab() []{}\"'\n+#", max_size=40), st.integers(1, 5))
def test_the_answer_is_a_beginning_of_the_text_and_does_not_grow_the_lines(
    text: str, max_lines: int
) -> None:
    rules = StopRules(max_lines=max_lines, language="python", balanced=True, opened="([")
    shown = kept(text, rules)
    assert text.startswith(shown)
    assert shown.count("\n") < max_lines


@given(st.text("ab()\n'", max_size=30))
def test_what_was_kept_is_kept_when_it_is_looked_at_again(text: str) -> None:
    rules = StopRules(max_lines=4, language="python", balanced=True, opened="(")
    once = kept(text, rules)
    assert kept(once, rules) == once


def test_a_stopper_that_sees_another_text_begins_anew() -> None:
    stopper = Stopper(StopRules(max_lines=2))
    assert stopper.end("one\ntwo") is None
    assert stopper.end("other") is None
    assert stopper.end("other\nline\n") == len("other\nline")


def test_rules_travel_as_json() -> None:
    assert StopRules(**json.loads(json.dumps(asdict(BODY)))) == BODY


def test_a_call_costs_microseconds() -> None:
    text = "    value = compute(first, second)[index]  # as before\n" * 2 + "    other = f(x, y"
    rules = StopRules(max_lines=9, language="python", balanced=True, suffix=" or None")
    best = float("inf")
    for _ in range(20):
        stopper = Stopper(rules)
        started = time.perf_counter()
        for length in range(1, len(text), 3):
            stopper.end(text[:length])
        best = min(best, (time.perf_counter() - started) / (len(text) / 3))
    assert best < 100e-6  # about 10 µs on an idle core


@pytest.mark.parametrize(
    ("line", "start"),
    [("ab" * 2, None), ("foo bar " * 6, 7), ("x", None), ("", None), (" " * 40, None)],
)
def test_a_loop_begins_after_its_first_occurrence(line: str, start: int | None) -> None:
    assert loop_start(line) == start


@pytest.mark.parametrize(
    ("language", "text", "brackets", "within"),
    [
        ("python", "f('(') # (", "()", "#"),
        ("python", 'x = """(\n(', "", '"""'),
        ("python", "f('a\n(", "((", ""),
        ("python", "rb'(' (", "(", ""),
        ("javascript", "a(`(${b}`) // (", "()", "//"),
        ("javascript", "s.replace(/[(]/g, x)", "()", ""),
        ("javascript", "a /* ( */ [", "[", ""),
        ("rust", "fn f<'a>(c: char) { '(' }", "(){}", ""),
        ("c", "if (c == '(')", "()", ""),
        ("markdown", "don't (see `a`)", "()", ""),
        ("sql", "f( -- )", "(", "--"),
        ("", "it's (fine", "(", ""),
    ],
)
def test_brackets_are_found_outside_of_strings_and_comments(
    language: str, text: str, brackets: str, within: str
) -> None:
    lexer = Lexer(language)
    assert "".join(character for _, character in lexer.brackets(text)) == brackets
    assert lexer.within == within


def test_brackets_are_settled_up_to_the_first_that_closes_nothing() -> None:
    opened = ["("]
    assert settle(opened, Lexer().brackets("[a])}{")) == 4
    assert opened == []
