"""Which code and which libraries a figure of the proof depends on, found by following imports.

Invariant: every module that the roots import, at once or later, is in the closure; comments, layout
and docstrings of a module do not count. Nothing is imported to find out.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, version
from importlib.resources import files
from pathlib import Path

_PACKAGES = ("neuralforge_trainer", "neuralforge_server", "neuralforge_adapters")
ROOTS = (
    "neuralforge_trainer.evaluate.history.course",
    "neuralforge_trainer.evaluate.history.one_update",
    "neuralforge_server.engine.__main__",
)
"""What runs, each in a process of its own."""


def code_digest() -> str:
    """Names the code that a figure depends on, and the versions of the libraries below it."""
    found, libraries = closure()
    digest = hashlib.sha256()
    for name in sorted(libraries):
        digest.update(f"{name} {version(name)}\n".encode())
    for name, path in sorted(found.items()):
        digest.update(f"{name}\n{meaning(path.read_text('utf-8'))}\n".encode())
    return digest.hexdigest()


def closure() -> tuple[dict[str, Path], frozenset[str]]:
    """Our modules by name, and the distributions of the others."""
    found: dict[str, Path] = {}
    foreign: set[str] = set()
    waiting = [*ROOTS]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is None:
            foreign.add(name.partition(".")[0])
        elif name not in found:
            found[name] = path
            waiting += _imported(path)
    foreign -= {*_PACKAGES, *sys.stdlib_module_names}
    known = _distributions()
    foreign |= {name for name in known if name.startswith("tree_sitter")}  # imported by their names
    return found, frozenset(d for name in foreign for d in known.get(name, ()))


def meaning(source: str) -> str:
    """What of a module makes a difference when it runs."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring, of whatever it stands in or under."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _file(name: str) -> Path | None:
    """The file of a module of ours; None for a name in one, and for all that is foreign."""
    package, _, rest = name.partition(".")
    if package not in _PACKAGES:
        return None
    path = Path(str(files(package))).joinpath(*filter(None, rest.split(".")))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
