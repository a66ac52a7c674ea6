"""What a file defines, as signatures without bodies, by tree-sitter.

Invariant: a definition's text is the file's own, its lines joined and its body left out; names
that a function defines inside itself are not found. Knows no other file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from neuralforge_adapters.grammar import grammar, parser

if TYPE_CHECKING:
    from tree_sitter import Node, Query

LONGEST = 240
"""Characters of one signature."""

_SCRIPT = """
    (function_declaration name: (_) @name) @def
    (generator_function_declaration name: (_) @name) @def
    (class_declaration name: (_) @name) @def
    (method_definition name: (_) @name) @def
    (variable_declarator name: (identifier) @name value: (arrow_function)) @def
    (variable_declarator name: (identifier) @name value: (function_expression)) @def
"""
_TYPED = """
    (abstract_class_declaration name: (_) @name) @def
    (interface_declaration name: (_) @name) @def
    (type_alias_declaration name: (_) @name) @def
    (enum_declaration name: (_) @name) @def
    (function_signature name: (_) @name) @def
    (method_signature name: (_) @name) @def
"""
_QUERIES = {
    "c": "(function_definition declarator: (function_declarator declarator: (_) @name)) @def"
    "(function_definition declarator: (pointer_declarator"
    " declarator: (function_declarator declarator: (_) @name))) @def"
    "(struct_specifier name: (_) @name body: (_)) @def",
    "go": "(function_declaration name: (_) @name) @def (method_declaration name: (_) @name) @def"
    "(type_spec name: (_) @name) @def",
    "java": "(class_declaration name: (_) @name) @def (interface_declaration name: (_) @name) @def"
    "(method_declaration name: (_) @name) @def (enum_declaration name: (_) @name) @def"
    "(record_declaration name: (_) @name) @def",
    "javascript": _SCRIPT,
    "javascriptreact": _SCRIPT,
    "python": "(function_definition name: (_) @name) @def (class_definition name: (_) @name) @def",
    "rust": "(function_item name: (_) @name) @def (struct_item name: (_) @name) @def"
    "(enum_item name: (_) @name) @def (trait_item name: (_) @name) @def"
    "(function_signature_item name: (_) @name) @def",
    "typescript": _SCRIPT + _TYPED,
    "typescriptreact": _SCRIPT + _TYPED,
}
_HOLDERS = ("class", "interface", "trait", "impl", "enum", "struct", "record")
"""Nodes so named hold members; a definition inside anything else that is defined is local."""
_WHOLE = ("type_alias", "type_spec", "struct_specifier", "struct_item", "enum", "interface")
"""Types without methods of their own: their body is what they say."""


@dataclass(frozen=True, order=True)
class Definition:
    """One function, class or type; `owner` names the class that it is a member of, or is empty."""

    name: str
    owner: str
    line: int
    signature: str


def definitions(text: str, language: str) -> list[Definition]:
    """What `text` defines, in its order; nothing for a language without a grammar."""
    known, query = parser(language), _query(language)
    if known is None or query is None:
        return []
    from tree_sitter import QueryCursor

    source = text.encode("utf-8", "replace")
    matches = QueryCursor(query).matches(known.parse(source).root_node)
    found = {match["def"][0].start_byte: match for _, match in matches}
    nodes = {match["def"][0].id: _text(match["name"][0]) for match in found.values()}
    return list(_described(source, (found[place] for place in sorted(found)), nodes))


def _described(
    source: bytes, matches: Iterable[dict[str, list[Node]]], nodes: dict[int, str]
) -> Iterator[Definition]:
    for match in matches:
        node = match["def"][0]
        owner = _owner(node, nodes)
        if owner is None:
            continue
        name, line = _text(match["name"][0]), node.start_point[0]
        yield Definition(name, owner, line, _signature(source, node))


def _owner(node: Node, nodes: dict[int, str]) -> str | None:
    """The class around a definition, empty for none; None inside of a function."""
    above = node.parent
    while above is not None:
        if above.id in nodes or above.type == "impl_item":
            if not above.type.startswith(_HOLDERS):
                return None
            return nodes.get(above.id) or _implemented(above)
        above = above.parent
    return ""


def _implemented(node: Node) -> str:
    """The type of a Rust `impl`."""
    named = node.child_by_field_name("type")
    return "" if named is None else _text(named)


def _signature(source: bytes, node: Node) -> str:
    end = node.end_byte
    if not node.type.startswith(_WHOLE):
        end = _body(node) or end
    text = source[node.start_byte : end].decode("utf-8", "replace")
    joined = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"([(\[{]) | (?=[)\]])", r"\1", joined).rstrip(" {=")[:LONGEST]


def _body(node: Node) -> int | None:
    """Where a definition's body begins."""
    if node.type == "variable_declarator":
        value = node.child_by_field_name("value")
        return None if value is None else _body(value)
    body = node.child_by_field_name("body")
    return None if body is None else body.start_byte


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


@cache
def _query(language: str) -> Query | None:
    from tree_sitter import Query

    known = grammar(language)
    if known is None or language not in _QUERIES:
        return None
    return Query(known, _QUERIES[language])
