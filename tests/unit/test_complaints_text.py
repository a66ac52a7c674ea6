"""What users of other tools complained of, as far as it concerns a suggestion's text.

One group of tests per complaint, named by its number in the list that the project works from
(8 suffix doubled or good lines cut, 9 nothing inside auto-closed brackets, 10 wrong indentation,
11 special tokens shown, 15 positions at the ends of documents). `|` marks the cursor.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accepting import accept, end_of
from neuralforge_adapters.fim import split_lines
from neuralforge_server.completion.extent import look, rules_for
from neuralforge_server.completion.filter import shape
from neuralforge_server.documents import Position
from neuralforge_server.engine.stopping import Stopper


@pytest.mark.parametrize(
    ("text", "generated", "accepted"),
    [
        ("x = |, b)", "f(a, b)\n", "x = f(a, b)"),
        ("f(|, key=None)", "a, key=None)", "f(a, key=None)"),
        ("for |in range(3):", "i in range(3):", "for i in range(3):"),
        ("f(\n    |\n    b,\n)", "a,\n    b,\n)", "f(\n    a,\n    b,\n)"),
        (
            "def f():\n    |\n    return x\n",
            "x = 1\n    return x\n",
            "def f():\n    x = 1\n    return x\n",
        ),
        (
            "x = {\n    |\n    'b': 2,\n    'c': 3,\n}",
            "'a': 1,\n    'b': 2,\n    'c': 3,\n}",
            "x = {\n    'a': 1,\n    'b': 2,\n    'c': 3,\n}",
        ),
        ("s.|\ns.close()\n", "close()\n", "s.\ns.close()\n"),
        ("|\nimport sys\n", "import sys\n", "\nimport sys\n"),
        ("x = |foo()", "foo()", "x = foo()"),
        ("if a |and b:", "and b:", "if a and b:"),
    ],
)
def test_complaint_08_what_stands_right_or_below_is_not_doubled(
    text: str, generated: str, accepted: str
) -> None:
    assert accept(text, generated) == accepted


_LONG = "result = " + " + ".join(f"value_{i} * weight_{i}" for i in range(12))


@pytest.mark.parametrize(
    ("text", "generated"),
    [
        ("def f():\n    |\n\ndef g():\n    pass\n", _LONG),
        ("x = |\ny = 2\n", "compute(first, second)[index]"),
        ("a.append(|)\nb.append(1)\n", "compute(first)"),
        ("    }|\n}\n", ", {"),
        ("return self.|\nreturn self.b\n", "a"),
        ("assert a.|\nassert a.c == 2\n", "b == 2"),
        ("x = [\n    1,\n    |\n]\n", "2,"),
        ("foo(|\nbar(b)\n", "b)"),
        ("raise ValueError(|\n", '"not (a) [number]: %s" % value)'),
    ],
)
def test_complaint_08_good_lines_are_not_cut(text: str, generated: str) -> None:
    before, after = text.split("|")
    assert accept(text, generated) == before + generated + after


def test_complaint_08_brackets_only_are_no_line_of_their_own() -> None:
    text = "if (a) {\n  if (b) {\n    c();\n  |\n}\n"
    assert accept(text, "}", "javascript") == text.replace("|", "}")


@pytest.mark.parametrize(
    ("text", "generated", "accepted"),
    [
        ("print(|)", "value", "print(value)"),
        ("print(|)", "value)", "print(value)"),
        ("print(|)", "f(x))", "print(f(x))"),
        ("print(f(|))", "x), y)", "print(f(x), y)"),
        ('print("|")', 'hello")', 'print("hello")'),
        ("x = [|]", "1, 2]", "x = [1, 2]"),
        ("if f(|):", "a):", "if f(a):"),
        ("d = {|}", "'a': f(1)}", "d = {'a': f(1)}"),
        ("f(|);", "a, b);", "f(a, b);"),
        ("print(|)", "a, (b", "print(a)"),
        ("print(|)", ")", "print()"),
    ],
)
def test_complaint_09_something_is_shown_within_brackets_the_editor_closed(
    text: str, generated: str, accepted: str
) -> None:
    assert accept(text, generated) == accepted


def test_complaint_09_a_whole_block_replaces_the_bracket_the_editor_closed() -> None:
    generated = "\n  a();\n  b();\n}\nc();"
    accepted = accept("function f() {|}\n", generated, "javascript")
    assert accepted == "function f() {\n  a();\n  b();\n}\n"
    generated = "\n  log(data);\n});"
    accepted = accept("on('data', (data) => {|})\n", generated, "javascript")
    assert accepted == "on('data', (data) => {\n  log(data);\n});\n"


_PYTHON = "class A:\n{u}def f(self, x):\n{u}{u}if x:\n{u}{u}{u}return 1\n\n{u}def g(self, x):\n"


@pytest.mark.parametrize("unit", ["  ", "    ", "\t", "        "])
@pytest.mark.parametrize("typed", [0, 1, 2], ids=["column-0", "one-level", "two-levels"])
@pytest.mark.parametrize("generated_unit", ["  ", "    ", "\t"])
def test_complaint_10_a_block_is_indented_as_its_file_is(
    unit: str, typed: int, generated_unit: str
) -> None:
    base, step = unit * 2, generated_unit
    generated = f"if x:\n{base}{step}return 2\n{base}return 3\n"
    accepted = accept(_PYTHON.format(u=unit) + unit * typed + "|", generated)
    expected = f"{base}if x:\n{base}{unit}return 2\n{base}return 3"
    assert accepted == _PYTHON.format(u=unit) + expected


@pytest.mark.parametrize("unit", ["  ", "    ", "\t"])
@pytest.mark.parametrize("typed", [0, 1, 2])
@pytest.mark.parametrize("brought", [0, 1, 2, 3])
def test_complaint_10_a_first_line_begins_at_its_level_at_any_column(
    unit: str, typed: int, brought: int
) -> None:
    document = _PYTHON.format(u=unit) + unit * typed + "|\n"
    accepted = accept(document, unit * brought + "return x")
    assert accepted.split("\n")[-2] == unit * 2 + "return x"


@pytest.mark.parametrize("typed", ["", "  ", "\t"])
def test_complaint_10_tabs_stay_tabs_and_blanks_blanks_within_a_line(typed: str) -> None:
    document = "if x:\n\ty = 1\nif z:\n" + typed.replace("  ", "\t") + "|"
    assert accept(document, "  y = 2" if not typed else "y = 2").endswith("\n\ty = 2")


def test_complaint_10_a_line_after_a_deeper_one_may_leave_the_block() -> None:
    text = "def f():\n    if x:\n        y\n|"
    for line in ("    return 1", "        z = 2", "w = 3"):
        assert accept(text, line) == text.replace("|", line)


def test_complaint_10_lines_within_brackets_are_left_as_they_are() -> None:
    text = "value = function(first,\n|"
    assert accept(text, "                 second)") == text.replace("|", " " * 17 + "second)")


_SPECIALS = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|file_sep|>",
    "<|fim_middle|>",
    "<|repo_name|>",
    "<fim_suffix>",
    "<file_sep>",
    "<EOT>",
    "<｜fim▁hole｜>",
]


@pytest.mark.parametrize("special", _SPECIALS)
def test_complaint_11_special_tokens_are_never_shown(special: str) -> None:
    assert accept("x = |\n", "foo()" + special + "bar") == "x = foo()\n"
    assert accept("x = |\n", special + "bar") == "x = \n"


@pytest.mark.parametrize("special", _SPECIALS)
def test_complaint_11_nor_the_beginning_of_one_that_a_limit_cut(special: str) -> None:
    shortest = special.find("_") + 1 if special.startswith(("<fim", "<file")) else 2
    for length in range(shortest, len(special)):
        if special != "<EOT>":
            assert accept("x = |\n", "foo() " + special[:length]) == "x = foo()\n"


@pytest.mark.parametrize("text", ["a <| b", "a < b > c", "<s>struck</s>", "List<file>", "a |> b"])
def test_complaint_11_code_that_looks_alike_is_shown(text: str) -> None:
    assert accept("|\n", text, "elm") == text + "\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_complaint_15_no_carriage_return_is_ever_inserted(end: str) -> None:
    document = f"def f():{end}    x = 1{end}{end}def g():{end}    |{end}{end}y = 2{end}"
    generated = f"a = 1{end}    b = 2{end}{end}y = 2{end}"
    assert accept(document, generated).endswith(f"    a = 1\n    b = 2{end}{end}y = 2{end}")


_CODE = st.text("ab (){}[]\"'`#:,;=<|>\\\n\r\t\u2028\U0001f600é", max_size=60)


@given(_CODE, _CODE, _CODE, st.sampled_from(["python", "javascript", "markdown", ""]))
def test_complaint_15_no_document_and_no_text_break_the_way(
    before: str, after: str, generated: str, language: str
) -> None:
    lines, position = split_lines(before + after), end_of(before)
    rules = rules_for(lines, language, position, 5)
    place = look(lines, language, position)
    text = generated[: Stopper(rules).end(generated)]
    shaped = shape(text, place.prefix, place.suffix, place.below, 5, place=place)
    if shaped is not None:
        assert shaped.text.strip()
        assert "\r" not in shaped.text
        assert 0 <= shaped.replaces <= len(place.suffix)
        assert shaped.text.count("\n") < 6


@given(_CODE, st.integers(0, 9), st.integers(0, 99))
def test_complaint_15_positions_past_the_end_are_at_the_end(
    text: str, line: int, character: int
) -> None:
    lines = split_lines(text)
    place = look(lines, "python", Position(line, character))
    shaped = shape("value = 1", place.prefix, place.suffix, place.below, place=place)
    assert shaped is None or shaped.replaces <= len(place.suffix)


def test_complaint_15_a_cursor_behind_characters_of_two_utf_16_units() -> None:
    assert (
        accept("x = '\U0001f600' + |\n", "f('\U0001f600')")
        == "x = '\U0001f600' + f('\U0001f600')\n"
    )


def test_a_text_that_a_limit_cut_ends_with_a_word_or_bracket() -> None:
    assert accept("x = |\n", "first + second + thi", unfinished=True) == "x = first + second\n"
    assert accept("x = |\n", "f(a).bet", unfinished=True) == "x = f(a)\n"
    assert accept("def f():\n    |\n", "a = 1\n    b = 2\n    ret", unfinished=True).endswith(
        "b = 2\n"
    )
    assert accept("x = |\n", "hal", unfinished=True) == "x = \n"


def test_a_text_of_several_lines_leaves_nothing_open() -> None:
    text = "def f():\n    |\n\nx = 1\n"
    assert accept(text, "a = 1\n    b = (2,\n", unfinished=True).count("\n") == text.count("\n")
    accepted = accept(text, "a = 1\n    if a:\n    c = 2\n")
    assert accepted == text.replace("|", "a = 1")


def test_a_string_that_ends_below_is_not_ended_before() -> None:
    text = 'def f():\n    """Does.\n\n    |\n    """\n    return 1\n'
    assert accept(text, 'More."""\n') == text.replace("|", "More.")
    assert accept(text, '"""\n') == text.replace("|", "")
    open_ended = 'def f():\n    """Does.\n\n    |\n'
    assert accept(open_ended, '"""\n') == open_ended.replace("|", '"""')


def test_a_string_is_not_left_open_on_its_line() -> None:
    text = '402: ("required", |"),\n'
    assert accept(text, '"unauthorized"),\n') == text.replace("|", "")
    assert accept(text, '"payment') == text.replace("|", '"payment')
