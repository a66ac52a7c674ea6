"""Stacks that the user gave a name, to come back to: one file of the profile.

Invariant: saving and removing change nothing that is served; a name means the entries as they were
saved, so that an adapter without a version is the one that is current when the stack is used.
Knows no store: whether a stack can be served is for whoever uses it to find out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from neuralforge_adapters.errors import StackError
from neuralforge_adapters.home import Home, locked, read_json, write_json
from neuralforge_adapters.stack import Entries, StackEntry, check_entries

_NAME = re.compile(r"[\w][\w .+-]{0,63}")


@dataclass(frozen=True)
class NamedStack:
    """One stack to come back to."""

    name: str
    entries: Entries
    base_digest: str
    """The base that was in use when it was saved."""
    saved: float
    """Unix seconds."""


class NamedStacks:
    """The named stacks of one profile."""

    def __init__(self, home: Home) -> None:
        self._file = home.profile_dir / "stacks.json"

    def all(self) -> list[NamedStack]:
        """By name; what is damaged is left out."""
        content = read_json(self._file)
        found = map(_parsed, content if isinstance(content, list) else [])
        return sorted((stack for stack in found if stack is not None), key=lambda s: s.name)

    def get(self, name: str) -> NamedStack:
        """The stack of that name.

        Raises:
            StackError: there is none.
        """
        stacks = self.all()
        for stack in stacks:
            if stack.name == name:
                return stack
        known = ", ".join(stack.name for stack in stacks) or "none yet"
        raise StackError(f"there is no stack {name!r}; there is: {known}")

    def save(self, name: str, entries: Entries, base_digest: str) -> NamedStack:
        """Keep `entries` under a name, in place of what had it before.

        Raises:
            StackError: the name or the entries cannot be used.
            HomeError: the disk is full or read-only.
        """
        if not _NAME.fullmatch(name):
            raise StackError(
                f"{name!r} cannot name a stack: take at most 64 letters, digits, spaces, "
                "'.', '_', '+', '-'"
            )
        stack = NamedStack(name, check_entries(entries), base_digest, time.time())
        self._update(lambda stacks: [*(s for s in stacks if s.name != name), stack])
        return stack

    def remove(self, name: str) -> NamedStack:
        """Forget the name; its adapters stay.

        Raises:
            StackError: there is none of that name.
            HomeError: the disk is full or read-only.
        """
        stack = self.get(name)
        self._update(lambda stacks: [s for s in stacks if s.name != name])
        return stack

    def _update(self, change: Callable[[list[NamedStack]], list[NamedStack]]) -> None:
        with locked(self._file.parent / ".stacks.lock", timeout=30):
            write_json(self._file, [asdict(stack) for stack in change(self.all())])


def _parsed(content: object) -> NamedStack | None:
    try:
        known = dict(content)  # type: ignore[call-overload]
        entries = tuple(StackEntry(str(e["adapter"]), float(e["scale"])) for e in known["entries"])
        return NamedStack(
            str(known["name"]), entries, str(known["base_digest"]), float(known["saved"])
        )
    except (KeyError, TypeError, ValueError):
        return None
