"""The outside view of a suggestion: what it calls a defect, and what it lets pass."""

from __future__ import annotations

import pytest

from neuralforge_server.completion.defects import defects


@pytest.mark.parametrize(
    ("document", "text", "language", "found"),
    [
        ("x = |\n", "f(a)", "python", set()),
        ("def f():\n    |\n", "a = 1\n    return a", "python", set()),
        ("f(|, key=None)\n", "a, key=None)", "python", {"suffix", "brackets"}),
        ("a\n|\nreturn x;\n", "b\nreturn x", "javascript", {"suffix"}),
        ("x = |\n", "f(a))", "python", {"brackets"}),
        ("x = |\n", "f(a", "python", {"brackets"}),
        ("x = |\n", "f(", "python", set()),
        ("x = |\n", "'('", "python", set()),
        ("if (x) {|}\n", "\n  y();\n}", "javascript", {"brackets"}),
        ("f(|\n", "x]", "unknown", {"brackets"}),
        ("def f():\n|\n", "return 1", "python", {"indentation"}),
        ("x = 1\n|\n", "  y = 2", "python", {"indentation"}),
        ("if x:\n\ty\n\t|\n", "z\n    w", "python", {"indentation"}),
        ("class A:\n    def f(self):\n        x\n|\n", "  y = 1", "python", {"indentation"}),
        ("x = f(a,\n|\n", "      b)", "python", set()),
        ("promise\n|\n", "  .then(f)", "javascript", set()),
        ("x = |\n", "a<|im_end|>", "python", {"special"}),
        ("x = |\n", "a <| b", "python", set()),
        ("x = |\n", "a\r", "python", {"special"}),
        ("x = |\n", "a" + " + be" * 5, "python", {"loop"}),
        ("|\n", "foo()\nfoo()", "python", {"loop"}),
        ("x = |\n", " \n", "python", {"blank"}),
    ],
)
def test_defects_are_called_by_name(
    document: str, text: str, language: str, found: set[str]
) -> None:
    before, after = document.split("|")
    assert defects(before, text, after, language) == found


def test_line_ends_make_no_difference() -> None:
    before, text, after = "def f():\r\n    x = 1\r\n    ", "y = 2\n    z = 3", "\r\n"
    assert defects(before, text, after, "python") == set()
