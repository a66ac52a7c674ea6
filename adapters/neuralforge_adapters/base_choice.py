"""Which base a profile uses, and which one it waits for: one small file in the profile.

Invariant: the base in use changes in one step; a base that is awaited changes nothing until a
personal adapter for it has passed the gate (`settle`). Where the user never chose, it is the
embedded one. Knows no model: it keeps paths and digests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from neuralforge_adapters.home import Home, locked, read_json, write_json


@dataclass(frozen=True)
class Awaited:
    """A base that is to be used once a personal adapter has been trained for it."""

    path: str
    """Empty for the embedded one."""
    digest: str
    refused: str = ""
    """Why the last training for it gave no version; empty while it is still to be trained."""


@dataclass(frozen=True)
class Choice:
    """What the file says."""

    path: str | None = None
    """Of the base in use; None for the embedded one."""
    awaited: Awaited | None = None


class BaseChoice:
    """The base of one profile."""

    def __init__(self, home: Home) -> None:
        self._path = home.profile_dir / "base.json"

    @property
    def path(self) -> Path:
        """The file to watch for changes."""
        return self._path

    def read(self) -> Choice:
        """What is chosen; a damaged file chooses nothing."""
        content = read_json(self._path)
        if not isinstance(content, dict):
            return Choice()
        try:
            awaited = content.get("awaited")
            path = content.get("path")
            return Choice(
                str(path) if path else None, Awaited(**awaited) if awaited is not None else None
            )
        except TypeError:
            return Choice()

    def use(self, path: Path | None) -> None:
        """Use the base at `path` (None: the embedded one) from now on, and await none."""
        self._change(lambda _: _used(path))

    def wait_for(self, path: Path | None, digest: str) -> None:
        """Go on with the present base until `settle` is told of that digest."""
        self._change(lambda now: replace(now, awaited=Awaited(str(path or ""), digest)))

    def settle(self, digest: str) -> bool:
        """A personal adapter for the base `digest` was promoted: use it if it was awaited."""

        def settled(now: Choice) -> Choice | None:
            if now.awaited is None or now.awaited.digest != digest:
                return None
            return _used(Path(now.awaited.path) if now.awaited.path else None)

        return self._change(settled)

    def refuse(self, digest: str, reason: str) -> None:
        """No personal adapter for the awaited base `digest` was promoted, for `reason`."""

        def refused(now: Choice) -> Choice | None:
            if now.awaited is None or now.awaited.digest != digest:
                return None
            return replace(now, awaited=replace(now.awaited, refused=reason))

        self._change(refused)

    def _change(self, change: Callable[[Choice], Choice | None]) -> bool:
        """Replace what is chosen by what `change` makes of it, None for no change; whether it did.

        Nobody else's choice in between is lost.
        """
        with locked(self._path.parent / ".base.lock", timeout=30):
            chosen = change(self.read())
            if chosen is not None:
                content: dict[str, Any] = asdict(chosen)
                write_json(self._path, content)
        return chosen is not None


def _used(path: Path | None) -> Choice:
    return Choice(str(path) if path else None)
