"""The behaviours that the suites of other tools test, as cases of our own.

Taken as ideas from Tabby's post-processing suite and golden files, Continue's filtering and
stream tests, Copilot's ghost text tests (suffix check, snipping, repetition, indentation) and
what llama.vim does; `|` marks the cursor. What is deliberately done otherwise here:

- Tabby drops suggestions of fewer than four characters; a closing bracket or a name's last
  letters are worth a key, so they are shown (`test_short_suggestions_are_shown`).
- Tabby and Continue cut lines that are merely similar (`const b = 1;`, `const c = 1;` …);
  tables and enumerations consist of such lines, so only repetitions are cut
  (`test_similar_lines_are_no_repetition`).
- Tabby keeps what comes after the cursor's line in a line's completion in some languages and
  closes one more block than was opened; here a line's completion is a line.
- Copilot finds repetition from ten tokens on; text is looked at here, from four times on.
- Copilot turns two blanks into the editor's four on an empty line from the editor's settings;
  LSP tells no settings, so the file's own lines decide, and a file without any is left alone.
- Continue removes Markdown fences, sentences in English, path lines and `[/CODE]`, which models
  that chat write; a base writes none, and in Markdown they are text.
- Continue ends a heading's or list's completion after several lines of prose; prose is
  completed line by line here.
- llama.vim asks nothing with more than eight characters right of the cursor; here a suggestion
  in the middle of a line is shown where it comes to what stands there, else not.
- llm-ls measures pass rates of whole repositories with a model; that is an evaluation, not a
  case of shaping.
"""

from __future__ import annotations

import pytest

from accepting import accept
from neuralforge_server.engine.stopping import loop_start


def check(text: str, generated: str, shown: str, language: str) -> None:
    """Assert that `shown` is what accepting `generated` at `|` inserts."""
    assert accept(text, generated, language) == text.replace("|", shown)


@pytest.mark.parametrize(
    ("text", "generated", "shown"),
    [
        # a line is completed to its end, and no further
        ("let a =|\n", " 1;\nlet b = 2;", " 1;"),
        (
            "try {\n  log|\n} catch (e) {\n  b();\n}\n",
            "('x', { y });\n  return z;\n}",
            "('x', { y });",
        ),
        ("// if a is set, then t|\nreturn false;\n", "rue\nif (a) {\n  return true;\n}", "rue"),
        ("assert(|, 'a is not b');\n", "a === b", "a === b"),
        ("sum(|baz)\n", "bar, ", "bar, "),
        ("let foo = new |\n", "Foo(); ", "Foo();"),
        ("let foo = |\n", " sum(bar);", "sum(bar);"),
        # a block is completed to its end, and no further
        (
            "function max(xs) {|}\n",
            "\n  let m = xs[0];\n  for (const x of xs) {\n    m = x;\n  }\n  return m;\n}\nmax();",
            None,
        ),
        (
            "class A {\n  get x() {|\n\n  y() {}\n}\n",
            "\n    return 1;\n  }\n\n  set x(v) {\n  }",
            None,
        ),
        ("it('a', () => {\n  |\n});\n", "b();\n  c();\n});\n\nit('d'", "b();\n  c();"),
        # what stands below is not written again
        ("const f = () => {\n  |return a + b;\n};\n", "return a + b;", ""),
        ("let s = () => {\n  return 1;\n  |\n};\n", "}", ""),
        (
            "const xs = [\n  |\n  { id: 2 },\n  { id: 3 }\n];\n",
            "{ id: 1 },\n  { id: 2 },",
            "{ id: 1 },",
        ),
        (
            "class A {\n  constructor() {\n    |\n    this.b();\n  }\n}\n",
            "this.a = 1;\n    this.b();",
            "this.a = 1;",
        ),
        ("function f() {\n  |\n  log('done');\n}\n", "log('busy');", "log('busy');"),
        ("function p(o) {\n  |\n  console.log(o);\n}\n", "console.log(o);", ""),
        ("function hello() {\n  |\n}\n", "log('hello');\n}", "log('hello');"),
        ("if (!c) {\n  |\n} else {\n  d();\n}\n", "throw e;\n}", "throw e;"),
        (
            "  useEffect(() => {\n    |\n    return () => clear(x);\n  });\n",
            "return () => clear(x);",
            "",
        ),
        # brackets that the editor closed are replaced, those that are missing are kept
        ("if (a) {\n  if (b) {\n    |\n}\n", "c();\n  }", "c();\n  }"),
        ("class C {\n  add(n) {\n    this.r += n;|\n", "\n  }\n\n  sub(n) {", ""),
        # repetitions
        ("let foo = |\n", "foo = foo = foo = foo = foo = foo =", "foo"),
        ("hello();\n|\n", "hello();\nhello();\nhello();", ""),
        ("a();\n|\n", "b();\nb();\nb();", "b();"),
        ("|\n", "1000000000000", "1000000000000"),
    ],
)
def test_lines_blocks_and_what_stands_below(text: str, generated: str, shown: str | None) -> None:
    if shown is None:
        head, tail = text.split("|")
        accepted = accept(text, generated, "javascript")
        assert accepted.startswith(head + generated[:12])
        assert accepted.count("{") == accepted.count("}")
        assert accepted.endswith(tail[1:] if tail.startswith("}") else tail)
    else:
        check(text, generated, shown, "javascript")


@pytest.mark.parametrize(
    ("text", "generated", "accepted"),
    [
        ("function hello(|)", ") {\n  log('Hello');\n}", "function hello()"),
        ("log('Obj: |')\n", "', obj);", "log('Obj: ', obj);\n"),
        ("return max(min(|))\n", "value, max), min);", "return max(min(value, max), min);\n"),
        ('b.insert("|")\n', 'text".to_string(), text);', 'b.insert("text".to_string(), text);\n'),
        ("  <App |/>\n", "message={message} />", "  <App message={message} />\n"),
        ("foo(|);", "{});", "foo({});"),
        ('foo("|");', 'bar", {});', 'foo("bar", {});'),
        ("print(|message);\n", "message);\nthrow error;", "print(message);\n"),
    ],
)
def test_what_the_editor_closed_is_replaced(text: str, generated: str, accepted: str) -> None:
    assert accept(text, generated, "javascript") == accepted


def test_a_python_function_ends_where_its_body_does() -> None:
    generated = "best = xs[0]\n    for x in xs:\n        best = x\n    return best\n\nfind([1, 2])"
    shown = "best = xs[0]\n    for x in xs:\n        best = x\n    return best"
    check("def find(xs):\n    |\n", generated, shown, "python")


def test_a_function_in_an_auto_closed_bracket_is_one_line_of_it() -> None:
    assert accept("def f(|)\n", "n):\n  return 1\n", "python") == "def f(n):\n"


@pytest.mark.parametrize(
    ("text", "generated", "shown"),
    [
        ("function f() {\n  |\n}\n", "  return 1;", "return 1;"),
        ("function f() {\n  a();\n}\nfunction g() {\n|\n}\n", "return 1;", "  return 1;"),
        ("function f() {\n   a();\n}\nif (x) {\n   |\n}\n", " b();\n   c();", "b();\n   c();"),
        ("if (x) {\n\ta();\n}\nif (y) {|\n", "\n  b();\n  c();\n}", "\n\tb();\n\tc();\n}"),
        (
            "if (x) {\n  a();\n}\nif (y) {|\n",
            "\n\tb();\n\tif (z) {\n\t\tc();\n\t}\n}",
            "\n  b();\n  if (z) {\n    c();\n  }\n}",
        ),
    ],
)
def test_indentation_is_that_of_the_file(text: str, generated: str, shown: str) -> None:
    check(text, generated, shown, "javascript")


def test_a_file_without_indentation_is_left_alone() -> None:
    check("if (y) {|\n", "\n   b();\n}", "\n   b();\n}", "javascript")


@pytest.mark.parametrize("text", [")])", "b", "1"])
def test_short_suggestions_are_shown(text: str) -> None:
    check("x = f([(a|\n", text, text, "python")


def test_similar_lines_are_no_repetition() -> None:
    lines = "const b = 1;\n  const c = 1;\n  const d = 1;"
    check("function f() {\n  |\n}\n", lines, lines, "javascript")


@pytest.mark.parametrize(
    ("words", "loop"),
    [
        (["Bar"] * 14, True),
        (["Baz"] * 3 + ["Bar"] * 14, True),
        (["Bar", "Far", "Car"] * 12, True),
        (["Bar"] * 2, False),
        (
            [
                "12",
                "1",
                "23",
                "43",
                "ac",
                "er",
                "gf",
                "gf",
                "12",
                "er",
                "gd",
                "34",
                "dg",
                "35",
                "lo",
                "34",
                "xc",
                "4t",
                "ggf",
                "gf",
                "46",
            ],
            False,
        ),
        (["prefix"] + ["foo"] * 10, True),
    ],
)
def test_loops_of_words_are_found(words: list[str], loop: bool) -> None:
    assert (loop_start(" ".join(words)) is not None) is loop


def test_nothing_is_suggested_that_is_only_blank() -> None:
    for blank in ("\n", "\t\n", "   ", ""):
        check("dummy|\n", blank, "", "javascript")


def test_prose_and_markup_pass() -> None:
    check("## |\n\n### End\n", "Features\nHere is a list", "Features", "markdown")
    check("body {\n  a: b;\n}\nh4|\n\nc {\n}\n", " {", " {", "css")
    check("  environment:\n    USER: u|\n", "ser\n    B: c", "ser", "yaml")
    check(
        "SELECT a\nFROM b\nWHERE c\n|\n", " AND EXISTS (SELECT 1)", "AND EXISTS (SELECT 1)", "sql"
    )
