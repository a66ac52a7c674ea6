"""Which base a profile uses, and which one it waits for: one small file in the profile.

Invariant: the base in use changes in one step; a base that is awaited changes nothing until a
personal adapter for it has passed the gate (`settle`). Where the user never chose, it is the
embedded one. Knows no model: it keeps paths and digests.
"""

from __future__ import annotations

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
        self._write(Choice(str(path) if path else None))

    def wait_for(self, path: Path | None, digest: str) -> None:
        """Go on with the present base until `settle` is told of that digest."""
        self._write(replace(self.read(), awaited=Awaited(str(path or ""), digest)))

    def settle(self, digest: str) -> bool:
        """A personal adapter for the base `digest` was promoted: use it if it was awaited."""
        awaited = self.read().awaited
        if awaited is None or awaited.digest != digest:
            return False
        self.use(Path(awaited.path) if awaited.path else None)
        return True

    def refuse(self, digest: str, reason: str) -> None:
        """No personal adapter for the awaited base `digest` was promoted, for `reason`."""
        choice = self.read()
        if choice.awaited is not None and choice.awaited.digest == digest:
            self._write(replace(choice, awaited=replace(choice.awaited, refused=reason)))

    def _write(self, choice: Choice) -> None:
        with locked(self._path.parent / ".base.lock", timeout=30):
            content: dict[str, Any] = asdict(choice)
            write_json(self._path, content)
