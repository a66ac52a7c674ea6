"""What the command line says to a server; kept apart so that nothing heavy is imported for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuralforge_adapters.stack import Entries


@dataclass(frozen=True)
class ServeOptions:
    """What the command line says; it goes before the settings of a client."""

    base: Path | None = None
    adapters: Entries = ()
    """Of this server alone, on top of the stack in force."""
    endpoint: str = ""
    """Of another machine's engine; empty for one of this machine."""
    profile: str | None = None
    tcp: tuple[str, int] | None = None
    """Host and port to listen on instead of stdio; port 0 lets the system choose."""
