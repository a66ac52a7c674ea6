"""Signatures of what is in use at a cursor: imported names, and members that are called.

Invariant: a piece lists a file's own signatures in the order of the file. A name that is defined
in many places says nothing and is left out. Knows no ranking.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from neuralforge_adapters.language import language_of
from neuralforge_server.context.definitions import Definition
from neuralforge_server.context.imports import Import, candidates, imports
from neuralforge_server.context.rank import Focus
from neuralforge_server.context.search import Piece

_MOST_MEMBERS = 10
_MOST_PLACES = 2
"""Definitions of one name in the workspace that are still worth showing."""
_MOST_SEARCHED = 50
"""Definitions of a name among which one that a package passes on is looked for."""
_NEAR = 0.3
"""Weight of a word about five lines above the cursor."""
_LEAST_NAME = 4
_PIECE_CHARS = 480

Found = dict[str, set[Definition]]


class Definitions(Protocol):
    """Where definitions are looked up: the index, with open documents over it."""

    def files(self, paths: Sequence[str]) -> set[str]:
        """Those of `paths` that exist."""

    def definitions(self, path: str) -> list[Definition]:
        """What a file defines."""

    def named(self, names: Iterable[str], most: int) -> list[tuple[str, Definition]]:
        """(path, definition) of what is so named, about `most` of each name."""


def signatures(focus: Focus, lines: Sequence[str], known: Definitions) -> list[Piece]:
    """A piece for each file that defines what is in use near the cursor."""
    found: Found = defaultdict(set)
    language = language_of(focus.path) or ""
    for imported in imports(lines, language):
        if _is_used(imported, focus):
            _add_imported(found, imported, focus, known)
    _add_called(found, focus, known)
    found.pop(focus.path, None)
    return [_piece(path, some, focus) for path, some in sorted(found.items()) if some]


def _is_used(imported: Import, focus: Focus) -> bool:
    here = [name for _, name in imported.names] or [imported.alias]
    return any(name.partition(".")[0] in focus.names for name in here)


def _add_imported(found: Found, imported: Import, focus: Focus, known: Definitions) -> None:
    paths = candidates(imported, focus.path, language_of(focus.path) or "")
    existing = known.files(paths)
    modules = [path for path in paths if path in existing]
    if not modules:
        return
    if not imported.names:
        found[modules[0]] |= _used(known.definitions(modules[0]), focus)
    for name, here in imported.names:
        if here in focus.names:
            _add_name(found, name, modules, focus, known)


def _add_name(
    found: Found, name: str, modules: Sequence[str], focus: Focus, known: Definitions
) -> None:
    """The definition of `name` in the first of `modules` that has it, or in what is beside it."""
    for module in modules:
        if posixpath.splitext(posixpath.basename(module))[0] == name:
            found[module] |= _used(known.definitions(module), focus)
            return
        if own := _with_members(name, known.definitions(module), focus):
            found[module] |= own
            return
    folder = posixpath.dirname(modules[0])
    for path, definition in known.named([name], _MOST_SEARCHED):
        if not definition.owner and path.startswith(f"{folder}/" if folder else ""):
            found[path] |= _with_members(name, known.definitions(path), focus)
            return


def _with_members(name: str, defined: Iterable[Definition], focus: Focus) -> set[Definition]:
    """What is called `name` at the top of a file; of a class, also its members."""
    own = [d for d in defined if (d.name == name and not d.owner) or d.owner == name]
    if not any(not d.owner for d in own):
        return set()
    own.sort(key=lambda d: (bool(d.owner), -focus.names.get(d.name, 0.0), d.line))
    return set(own[: 1 + _MOST_MEMBERS])


def _used(defined: Iterable[Definition], focus: Focus) -> set[Definition]:
    """What of a module is in use."""
    return {d for d in defined if d.name in focus.names}


def _add_called(found: Found, focus: Focus, known: Definitions) -> None:
    """Names near the cursor that the workspace defines in a place or two."""
    near = [n for n, weight in focus.names.items() if weight >= _NEAR and len(n) >= _LEAST_NAME]
    places: Mapping[str, list[tuple[str, Definition]]] = defaultdict(list)
    for path, definition in known.named(near, _MOST_PLACES + 1):
        places[definition.name].append((path, definition))
    for some in places.values():
        if len(some) <= _MOST_PLACES:
            for path, definition in some:
                found[path].add(definition)


def _piece(path: str, some: set[Definition], focus: Focus) -> Piece:
    """The signatures, those in use first to find room, in the order of the file."""
    by_use = sorted(some, key=lambda d: (-focus.names.get(d.name, 0.0), d))
    kept, room = list[Definition](), _PIECE_CHARS
    for definition in by_use:
        room -= len(definition.signature) + 5
        if room < 0 and kept:
            break
        kept.append(definition)
    kept.sort(key=lambda d: (d.line, d))
    owners = {d.name for d in kept if not d.owner}
    text = "\n".join(("    " if d.owner in owners else "") + d.signature for d in kept)
    return Piece(path, kept[0].line, re.sub(r"[ \t]+\n", "\n", text), is_signatures=True)
