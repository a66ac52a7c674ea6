"""What a file imports, and which files of the workspace that may be, by tree-sitter.

Invariant: only names are compared: no module is loaded, no configuration of a project is read, so
aliases of a bundler are unknown. Candidates are ordered, likeliest first. Knows no index.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from neuralforge_adapters.grammar import parser

if TYPE_CHECKING:
    from tree_sitter import Node

_HEAD_LINES = 300
"""Imports further down are not looked for."""
_LONGEST_LINE = 400
_ROOTS = ("", "src", "lib", "python")
_ENDINGS = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".d.ts")
_HOLDERS = {"module", "program", "block", "if_statement", "else_clause", "try_statement"}
_HOLDERS |= {"except_clause", "finally_clause"}
_SCRIPTS = {"javascript", "javascriptreact", "typescript", "typescriptreact"}


@dataclass(frozen=True)
class Import:
    """One import: of names of a module, or of the module itself where `names` is empty.

    `module` is as written (`..models`, `./api`); `names` are (its name there, its name here).
    """

    module: str
    names: tuple[tuple[str, str], ...]
    alias: str = ""
    """What the module itself is called here."""


def imports(lines: Sequence[str], language: str) -> list[Import]:
    """The imports at the head of a file, in its order."""
    head = "".join(line[:_LONGEST_LINE] for line in lines[:_HEAD_LINES])
    return list(_imports(head, language))


def candidates(imported: Import, path: str, language: str) -> list[str]:
    """Paths in the workspace that the import in `path` may mean."""
    if language in _SCRIPTS:
        return _script_paths(imported.module, posixpath.dirname(path))
    return _python_paths(imported, posixpath.dirname(path))


@lru_cache(64)
def _imports(head: str, language: str) -> tuple[Import, ...]:
    known = parser(language) if language in _SCRIPTS or language == "python" else None
    if known is None:
        return ()
    read = _python if language == "python" else _script
    root = known.parse(head.encode("utf-8", "replace")).root_node
    return tuple(found for node in _statements(root) for found in read(node))


def _statements(root: Node) -> Iterator[Node]:
    """Import statements and, for `require`, declarations, in the order of the text."""
    wanted = {"import_statement", "import_from_statement", "lexical_declaration"}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type in wanted:
            yield node
        elif node.type in _HOLDERS:
            waiting.extend(reversed(node.named_children))


def _python(node: Node) -> Iterator[Import]:
    if node.type == "import_statement":
        for child in node.children_by_field_name("name"):
            module, alias = _aliased(child)
            yield Import(module, (), alias or module)
        return
    module_name = node.child_by_field_name("module_name")
    names = tuple(_aliased(child) for child in node.children_by_field_name("name"))
    if module_name is not None and names:
        yield Import(_text(module_name), tuple((name, here or name) for name, here in names))


def _aliased(node: Node) -> tuple[str, str]:
    """A name and what it is called here, empty where that is the same."""
    name, alias = node.child_by_field_name("name"), node.child_by_field_name("alias")
    return _text(name if name is not None else node), "" if alias is None else _text(alias)


def _script(node: Node) -> Iterator[Import]:
    source = node.child_by_field_name("source") or _required(node)
    if source is None:
        return
    module, names, alias = _text(source).strip("'\"`"), [], ""
    waiting = list(node.named_children)
    while waiting:
        child = waiting.pop(0)
        if child.type == "import_specifier":
            name, here = _aliased(child)
            names.append((name, here or name))
        elif child.type == "namespace_import":
            alias = _text(child.named_children[-1])
        elif child.type == "shorthand_property_identifier_pattern":
            names.append((_text(child), _text(child)))
        elif child.type == "identifier":
            names.append((_text(child), _text(child)))  # a default import keeps its name mostly
        elif child.type != "call_expression":
            waiting.extend(child.named_children)
    yield Import(module, tuple(names), alias)


def _required(node: Node) -> Node | None:
    """The string in `const … = require("…")`."""
    declared = node.named_children[0] if node.named_children else None
    value = declared.child_by_field_name("value") if declared is not None else None
    if value is None or value.type != "call_expression":
        return None
    called, given = value.child_by_field_name("function"), value.child_by_field_name("arguments")
    if called is None or given is None or _text(called) != "require" or not given.named_children:
        return None
    return given.named_children[0]


def _python_paths(imported: Import, folder: str) -> list[str]:
    module = imported.module.lstrip(".")
    dots = len(imported.module) - len(module)
    inside = module.replace(".", "/")
    if dots:
        for _ in range(dots - 1):
            folder = posixpath.dirname(folder)
        places = [posixpath.join(folder, inside)]
    else:
        places = [posixpath.join(above, inside) for above in [*_ancestors(folder), *_ROOTS]]
    found = []
    for place in dict.fromkeys(place.rstrip("/") for place in places):
        found += [f"{place}.py", f"{place}/__init__.py"] if place else ["__init__.py"]
        found += [posixpath.join(place, f"{name}.py") for name, _ in imported.names]
    return found


def _script_paths(module: str, folder: str) -> list[str]:
    if not module.startswith("."):
        return []
    place = posixpath.normpath(posixpath.join(folder, module))
    stem, ending = posixpath.splitext(place)
    written = [stem + known for known in _ENDINGS] if ending in {".js", ".jsx", ".mjs"} else []
    inside = [posixpath.join(place, f"index{known}") for known in _ENDINGS]
    return [place, *(place + known for known in _ENDINGS), *written, *inside]


def _ancestors(folder: str) -> Iterator[str]:
    while folder.strip("/"):
        yield folder
        folder = posixpath.dirname(folder)


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")
