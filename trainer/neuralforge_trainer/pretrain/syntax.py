"""Whole nodes of a file's syntax tree, as places for a middle.

Invariant: a span is a named node of tree-sitter's tree, in characters. Knows no token.
"""

from __future__ import annotations

from neuralforge_adapters.grammar import parser

Span = tuple[int, int]

_WITH_JSX = {"typescript": "typescriptreact"}
"""A corpus counts .tsx files as TypeScript."""


class Tree:
    """The syntax tree of one document; empty for a language without a grammar."""

    def __init__(self, text: str, language: str) -> None:
        self._text = text
        self._ascii = text.isascii()
        self._bytes = text.encode("utf-8", "replace")
        known = parser(_WITH_JSX.get(language, language))
        self._root = known.parse(self._bytes).root_node if known else None

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
