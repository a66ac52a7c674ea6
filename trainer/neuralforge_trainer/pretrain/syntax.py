"""Whole nodes of a file's syntax tree, as places for a middle.

Invariant: a span is a named node of tree-sitter's tree, in characters. Knows no token.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

_GRAMMARS = {
    "c": ("tree_sitter_c", "language"),
    "go": ("tree_sitter_go", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "python": ("tree_sitter_python", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "typescript": ("tree_sitter_typescript", "language_tsx"),
}

Span = tuple[int, int]


class Tree:
    """The syntax tree of one document; empty for a language without a grammar."""

    def __init__(self, text: str, language: str) -> None:
        self._text = text
        self._ascii = text.isascii()
        self._bytes = text.encode("utf-8", "replace")
        parser = _parser(language)
        self._root = parser.parse(self._bytes).root_node if parser else None

    def node_at(self, position: int, least: int, most: int) -> Span | None:
        """The smallest named node around `position` with at least `least` characters.

        None where that one is longer than `most`, or there is no tree.
        """
        if self._root is None:
            return None
        offset = self._offset(position)
        node = self._root.named_descendant_for_byte_range(offset, offset + 1)
        while node is not None and node.end_byte - node.start_byte < least:
            node = node.parent
        if node is None or node.end_byte - node.start_byte > most:
            return None
        return self._position(node.start_byte), self._position(node.end_byte)

    def _offset(self, position: int) -> int:
        return position if self._ascii else len(self._text[:position].encode("utf-8", "replace"))

    def _position(self, offset: int) -> int:
        return offset if self._ascii else len(self._bytes[:offset].decode("utf-8", "replace"))


@cache
def _parser(language: str) -> Any | None:
    from tree_sitter import Language, Parser

    if language not in _GRAMMARS:
        return None
    module, function = _GRAMMARS[language]
    return Parser(Language(getattr(importlib.import_module(module), function)()))
