"""The tree-sitter grammars that are installed, by the language ids of `language`.

Invariant: a grammar is imported when it is first asked for. A parser belongs to one thread, so
each caller gets its own. Knows no node.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Language, Parser

_GRAMMARS = {
    "c": ("tree_sitter_c", "language"),
    "go": ("tree_sitter_go", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "javascriptreact": ("tree_sitter_javascript", "language"),
    "python": ("tree_sitter_python", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "typescriptreact": ("tree_sitter_typescript", "language_tsx"),
}


@cache
def grammar(language: str) -> Language | None:
    """The grammar of a language; None for one that has none here."""
    from tree_sitter import Language

    if language not in _GRAMMARS:
        return None
    module, function = _GRAMMARS[language]
    return Language(getattr(importlib.import_module(module), function)())


def parser(language: str) -> Parser | None:
    """A new parser of a language; None for one without a grammar."""
    from tree_sitter import Parser

    known = grammar(language)
    return None if known is None else Parser(known)
