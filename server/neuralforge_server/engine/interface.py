"""What a server needs of an engine, wherever it computes: a child process or an endpoint.

Knows neither: see `supervisor.EngineSupervisor` and `remote.RemoteEngine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from neuralforge_adapters.base import Base
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.generation import Generation
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    EngineInfo,
    RememberRequest,
    WarmRequest,
)

State = Literal["starting", "ready", "restarting", "stopped", "failed"]


@dataclass(frozen=True)
class EngineOptions:
    """What to load and with how much."""

    base: Base
    context: int
    """Tokens of the KV cache."""
    threads: int
    gpu_layers: int = 0
    """Layers for the GPU; -1 for all."""
    batch: int = 256
    """Tokens evaluated by one call."""
    memory: str = ""
    """Folder of the fast memory's segments; empty for none."""
    share: bool = False
    """Use one engine together with the user's other servers."""


class Engine(Protocol):
    """One engine; the methods are described where they are implemented."""

    options: EngineOptions
    state: State
    info: EngineInfo | None
    stack: ResolvedStack
    """The last one that worked."""
    restarts: int
    on_ready: Callable[[], None]
    """Called whenever the engine can compute, knowing nothing else yet."""

    @property
    def pid(self) -> int | None:
        """Of the process that computes, where it is on this machine."""

    def prepare(self) -> None:
        """Start what can be started before the base is known."""

    async def start(self) -> EngineInfo:
        """Be able to compute; also again after `stop`."""

    async def set_stack(self, stack: ResolvedStack) -> None:
        """Put a stack in force; on an error the old one stays."""

    async def serve_beside(self, stacks: Sequence[ResolvedStack]) -> None:
        """Have these at hand besides the one in force."""

    def tell(self, request: WarmRequest | RememberRequest) -> None:
        """Pass on what nobody waits for."""

    def generate(self, request: CompleteRequest) -> Generation:
        """Start a completion."""

    async def stop(self) -> None:
        """End; `start` brings it back with the same stacks."""
