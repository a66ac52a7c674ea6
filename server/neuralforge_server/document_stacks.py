"""Which adapters serve which files: stacks of some languages' and workspaces' own.

Invariant: a file whose own stack cannot be served has none of its own, and is served the shared
one; what is wrong with it is told. Knows no engine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

from neuralforge_adapters.errors import NeuralForgeError, StackError
from neuralforge_adapters.stack import ResolvedStack, StackEntry, check_entries, resolve
from neuralforge_adapters.store import AdapterStore

MOST = 3
"""Stacks besides the shared one: an engine keeps four at a time."""


class DocumentStacks:
    """The setting `stacks`, resolved for one base."""

    def __init__(self, setting: Mapping[str, Sequence[str]]) -> None:
        self._setting = setting
        self._patterns = {
            key: GitIgnoreSpec.from_lines([key]) for key in setting if _is_pattern(key)
        }
        self._stacks: dict[str, ResolvedStack] = {}

    @property
    def wanted(self) -> bool:
        """Whether any file has a stack of its own."""
        return bool(self._setting)

    @property
    def named(self) -> list[StackEntry]:
        """Everything that the setting names, as far as it can be read."""
        found: list[StackEntry] = []
        for names in self._setting.values():
            with contextlib.suppress(StackError):
                found += map(parse_entry, names)
        return found

    @property
    def resolved(self) -> list[ResolvedStack]:
        """The different stacks."""
        return list({stack.digest: stack for stack in self._stacks.values()}.values())

    def resolve(self, store: AdapterStore, base_digest: str) -> list[str]:
        """Pin every stack to files; returns what is wrong with those left out."""
        problems: list[str] = []
        found: dict[str, ResolvedStack] = {}
        for key, names in self._setting.items():
            try:
                stack = resolve(check_entries(tuple(map(parse_entry, names))), store, base_digest)
                if stack not in found.values() and len({*found.values()}) == MOST:
                    raise StackError(f"there may be {MOST} different ones")
                found[key] = stack
            except NeuralForgeError as error:
                problems.append(
                    f"neuralforge.stacks has {key!r}: {error}; its files get the stack in force."
                )
        self._stacks = found
        return problems

    def of(self, language: str, path: str | None) -> ResolvedStack | None:
        """The stack of a file's own; None where the shared one serves it."""
        for key in self._setting:
            if key == language or (path is not None and self._fits(key, path)):
                return self._stacks.get(key)
        return None

    def _fits(self, key: str, path: str) -> bool:
        pattern = self._patterns.get(key)
        if pattern is None:
            return False
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - keeps links, drops ".."
        return pattern.match_file(absolute.relative_to(absolute.anchor).as_posix())


def parse_entry(text: str) -> StackEntry:
    """The stack entry that `name`, `name@v0003`, a path or any of them with `*0.5` means.

    Raises:
        StackError: what follows the last `*` is no number.
    """
    name, star, scale = text.rpartition("*")
    if not star:
        return StackEntry(text)
    try:
        return StackEntry(name, float(scale))
    except ValueError as error:
        raise StackError(f"{scale!r} is no scale; write for example {name}*0.5") from error


def _is_pattern(key: str) -> bool:
    return any(character in key for character in "*?[/.")
