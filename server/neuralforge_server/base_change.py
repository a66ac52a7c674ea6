"""Changing a profile's base: at once, or once the personal adapter has been retrained for it.

Invariant: the old pair of base and personal adapter stays in force until the new one has passed
the gate, unless the user says now or has no such adapter; a base that the engine cannot serve
changes nothing. Knows no terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neuralforge_adapters.base import Base, embedded_base, open_base
from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.base_facts import read_facts
from neuralforge_adapters.errors import BaseFileError
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import PERSONAL, AdapterStore
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import EngineInfo
from neuralforge_server.training_check import obstacle

Result = Literal["already", "switched", "awaited"]


@dataclass(frozen=True)
class Change:
    """What came of it."""

    result: Result
    base: Base
    info: EngineInfo
    """What the engine found in the base."""
    personal: str | None
    """The personal adapter's version for the base, where there is one."""


def change_base(path: Path, home: Home, *, now: bool) -> Change:
    """Use the base at `path`, or wait for a personal adapter for it.

    Raises:
        BaseFileError: it cannot be served, or the personal adapter not be trained for it.
        EngineError: the engine cannot load it.
    """
    if why := read_facts(path).unservable:
        raise BaseFileError(f"{path.name} {why}")
    base, old = open_base(path, home), open_base(None, home)
    with EngineClient(base) as engine:
        info = engine.info
    store, choice = AdapterStore(home), BaseChoice(home)
    ready = store.current_for(PERSONAL, base.digest)
    reference = ready.reference if ready is not None else None
    stored = None if path == embedded_base() else path
    if now or ready is not None or store.current_for(PERSONAL, old.digest) is None:
        if ready is not None:
            store.set_current(ready.reference)
        choice.use(stored)
        same = base.digest == old.digest
        return Change("already" if same else "switched", base, info, reference)
    if why := obstacle(path, home):
        raise BaseFileError(
            f"your personal adapter cannot be retrained for {path.name}: {why}. The old base "
            "stays; --now uses the new one without your adapter"
        )
    choice.wait_for(stored, base.digest)
    return Change("awaited", base, info, None)
