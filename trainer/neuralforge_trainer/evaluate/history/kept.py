"""Keeps what was measured, so that a run goes on where it was ended.

One small JSON file for each thing measured, under the base's digest, the repository's commit and
the settings' digest, in the home's cache. Invariant: a file is there whole or not at all, and
nothing in it depends on when it was made. Knows no figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from neuralforge_adapters.base import Base
from neuralforge_adapters.home import Home, private_dir, read_json, write_json
from neuralforge_trainer.evaluate.history.settings import ProofSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Mark:
    """What one system made of one line."""

    commit: str
    exact: bool
    similarity: float
    nll: float
    """Nats over the line's tokens."""
    tokens: int


@dataclass(frozen=True)
class Typed:
    """What typing one passage came to, in characters."""

    commit: str
    written: int
    accepted: int
    """Of these, how many came with suggestions."""
    asked: int
    """Suggestions that were computed for it."""


@dataclass(frozen=True)
class Cost:
    """What one update cost."""

    examples: int
    """New, replayed and general ones."""
    new: int
    replayed: int
    steps: int
    seconds: float
    """Of training, Fisher information included; not of starting a process."""
    fisher_seconds: float
    cpu_seconds: float
    """Of all its threads, over the same time: what `seconds` would be on one core left alone."""
    peak_bytes: int
    """Most resident memory of the process."""


@dataclass(frozen=True)
class Cell:
    """One measurement: a system, after how many updates (0 for none), on an exam."""

    system: str
    updates: int
    exam: str

    @property
    def path(self) -> Path:
        """Below the folder of everything kept."""
        return Path(f"{self.system}-{self.updates}") / f"{self.exam}.json"


class Kept:
    """What is kept of one repository's run."""

    def __init__(self, home: Home, base: Base, name: str, head: str, digest: str) -> None:
        repository = f"{name.replace('/', '+')}-{head[:12]}"
        self.digest = digest
        self.folder = home.cache / "proof" / base.digest[:16] / repository / digest
        """Private to the run."""
        private_dir(self.folder)
        self._unsettled: list[Path] = []

    def __contains__(self, cell: Cell) -> bool:
        return (self.folder / cell.path).is_file()

    def put(self, cell: Cell, measured: list[Any]) -> None:
        """Keep a list of marks, of typed passages or of costs."""
        write_json(self.folder / cell.path, [asdict(one) for one in measured])
        self._unsettled.append(self.folder / cell.path)

    def settle(self) -> None:
        """Everything put so far stands."""
        self._unsettled.clear()

    def drop_unsettled(self) -> None:
        """Forget what was put since."""
        while self._unsettled:
            self._unsettled.pop().unlink(missing_ok=True)

    def marks(self, cell: Cell) -> list[Mark]:
        """Those of `cell`; none where it was not measured."""
        return self._get(cell, lambda fields: Mark(**fields))

    def typed(self, cell: Cell) -> list[Typed]:
        """Likewise."""
        return self._get(cell, lambda fields: Typed(**fields))

    def costs(self, cell: Cell) -> list[Cost]:
        """Likewise."""
        return self._get(cell, lambda fields: Cost(**fields))

    def _get(self, cell: Cell, make: Callable[[dict[str, Any]], T]) -> list[T]:
        content = read_json(self.folder / cell.path)
        return [make(fields) for fields in content] if isinstance(content, list) else []


def keep(home: Home, base: Base, name: str, head: str, settings: ProofSettings) -> Kept:
    """What is kept of `name` at `head` for these settings."""
    return Kept(home, base, name, head, settings.digest())
