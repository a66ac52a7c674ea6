"""Whole nodes of a file's syntax tree, as places for a middle.

Invariant: a span is a named node of tree-sitter's tree, in characters. Knows no token.
"""

from __future__ import annotations

from collections.abc import Iterator

from neuralforge_adapters.grammar import parser

Span = tuple[int, int]


class Tree:
    """The syntax tree of one document; empty for a language without a grammar."""

    def __init__(self, text: str, language: str) -> None:
        self._text = text
        self._ascii = text.isascii()
        self._bytes = text.encode("utf-8", "replace")
        known = parser(language)
        self._root = known.parse(self._bytes).root_node if known else None

    def node_at(self, position: int, least: int, most: int) -> Span | None:
        """The smallest named node around `position` with at least `least` characters.

        None where that one is longer than `most`, or there is no tree.
        """
        fitting = (span for span in self.nodes_at(position) if span[1] - span[0] >= least)
        span = next(fitting, None)
        return None if span is None or span[1] - span[0] > most else span

    def nodes_at(self, position: int) -> Iterator[Span]:
        """The named nodes around `position`, the smallest first; each span once."""
        if self._root is None:
            return
        offset, last = self._offset(position), None
        node = self._root.named_descendant_for_byte_range(offset, offset + 1)
        while node is not None:
            span = self._position(node.start_byte), self._position(node.end_byte)
            if span != last:
                yield span
            node, last = node.parent, span

    @property
    def known(self) -> bool:
        """Whether there is a grammar for the language."""
        return self._root is not None

    @property
    def errors(self) -> int:
        """How many places do not follow the language's grammar; 0 without a tree."""
        waiting, found = [self._root], 0
        while waiting:
            node = waiting.pop()
            if node is not None and node.has_error:
                found += node.is_error or node.is_missing
                waiting += node.children
        return found

    def _offset(self, position: int) -> int:
        return position if self._ascii else len(self._text[:position].encode("utf-8", "replace"))

    def _position(self, offset: int) -> int:
        return offset if self._ascii else len(self._bytes[:offset].decode("utf-8", "replace"))
