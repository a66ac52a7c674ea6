"""What clients give to commands: read by place or by name, and named where it is wrong.

Invariant: nothing is taken for something else; every refusal is a `CommandError` that says which
argument, and what it must be. Knows no command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

from neuralforge_adapters.stack import StackEntry
from neuralforge_server.documents import uri_path
from neuralforge_server.errors import CommandError


def value(arguments: list[Any], at: int, name: str) -> Any:
    """An argument by place, or by name in a single object."""
    if len(arguments) == 1 and isinstance(arguments[0], dict):
        return arguments[0].get(name)
    return arguments[at] if at < len(arguments) else None


def text(arguments: list[Any], at: int, name: str, default: str | None = None) -> str:
    """A string that is not empty."""
    given = value(arguments, at, name)
    given = default if given is None else given
    if not isinstance(given, str) or not given or "\0" in given:
        raise CommandError(f"argument {at + 1} ({name}) must be a string that is not empty")
    return given


def number(arguments: list[Any], at: int, name: str, default: float | None = None) -> float:
    """A number."""
    given = value(arguments, at, name)
    given = default if given is None else given
    if not is_number(given):
        raise CommandError(f"argument {at + 1} ({name}) must be a number")
    return float(given)


def flag(arguments: list[Any], at: int, name: str) -> bool:
    """True or false; false where it is not given."""
    given = value(arguments, at, name)
    if not (given is None or isinstance(given, bool)):
        raise CommandError(f"argument {at + 1} ({name}) must be true or false")
    return bool(given)


def is_number(given: Any) -> TypeGuard[int | float]:
    """Whether it is a number that anything here can be."""
    return isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < 1e12


def entry(item: Any) -> StackEntry:
    """A stack entry: a name, a path or `{adapter, scale}`."""
    pair = [item.get("adapter"), item.get("scale")] if isinstance(item, dict) else [item]
    return StackEntry(text(pair, 0, "adapter"), number(pair, 1, "scale", 1.0))


def options(arguments: list[Any], known: set[str]) -> dict[str, Any]:
    """The single object that a command takes, whose keys are all known."""
    given = arguments[0] if arguments and arguments[0] is not None else {}
    if not isinstance(given, dict) or len(arguments) > 1:
        raise CommandError(f"give one object with any of: {', '.join(sorted(known))}")
    if unknown := given.keys() - known:
        raise CommandError(f"there is no option {sorted(unknown)[0]!r}; there is: {sorted(known)}")
    return given


def folder_of(given: Any) -> Path:
    """A folder that a client names by path or by URI."""
    named = text([given], 0, "repository")
    path = Path(uri_path(named) or named)
    if not path.is_dir():
        raise CommandError(f"{path} is no folder; give the root folder of a repository")
    return path.resolve()


def repository_of(given: Any) -> Path:
    """The root of the repository that a folder of the client's lies in."""
    from neuralforge_server.session.exclude import find_repository  # slow to import

    inside = folder_of(given)
    if (root := find_repository(inside)) is None:
        raise CommandError(f"{inside} is no git repository; name a folder inside of one")
    return root
