"""Commands on adapters and on the stack in force.

Invariant: a stack that cannot be served changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from neuralforge_adapters.stack import Entries, StackEntry, with_adapter, without_adapter
from neuralforge_adapters.store import PERSONAL
from neuralforge_server.app import App
from neuralforge_server.commands.arguments import entry, number, text
from neuralforge_server.commands.shared import stack_in_force


async def list_adapters(app: App, _: list[Any]) -> Any:
    """`[]` → every version of every adapter, and the stack."""
    store = app.host.store

    def read() -> list[dict[str, Any]]:
        return [
            {
                "adapter": version.reference,
                "current": version == store.current(name),
                "created": version.manifest.created,
                "base": version.manifest.base_digest,
                "metrics": version.manifest.metrics,
            }
            for name in store.names()
            for version in store.versions(name)
        ]

    return {"adapters": await asyncio.to_thread(read), **stack_in_force(app)}


async def load(app: App, arguments: list[Any]) -> Any:
    """`[adapter, scale?]` → the stack with it on top, or with its new scale."""
    name, scale = text(arguments, 0, "adapter"), number(arguments, 1, "scale", 1.0)
    return await _change(app, lambda entries: with_adapter(entries, StackEntry(name, scale)))


async def unload(app: App, arguments: list[Any]) -> Any:
    """`[adapter]` → the stack without it."""
    name = text(arguments, 0, "adapter")
    return await _change(app, lambda entries: without_adapter(entries, name))


async def swap(app: App, arguments: list[Any]) -> Any:
    """`[adapter, ...]`, each a name, a path or `{adapter, scale}` → exactly this stack."""
    entries = tuple(entry(item) for item in arguments)
    return await _change(app, lambda _: entries)


async def scale(app: App, arguments: list[Any]) -> Any:
    """`[adapter, scale]` → the stack with that scale."""
    name, value = text(arguments, 0, "adapter"), number(arguments, 1, "scale")

    def change(entries: Entries) -> Entries:
        without_adapter(entries, name)  # raises where it is not loaded
        return with_adapter(entries, StackEntry(name, value))

    return await _change(app, change)


async def rollback(app: App, arguments: list[Any]) -> Any:
    """`[adapter?]`, the personal one by default, or `name@v0001` → it, an older version now."""
    name = text(arguments, 0, "adapter", PERSONAL)
    store = app.host.store
    before = store.current(name.partition("@")[0])
    go = store.set_current if "@" in name else store.roll_back
    version = await asyncio.to_thread(go, name)
    try:
        await app.host.reload()
    except BaseException:
        if before is not None:
            await asyncio.to_thread(store.set_current, before.reference)
        raise
    return {"adapter": version.reference, **stack_in_force(app)}


async def _change(app: App, change: Callable[[Entries], Entries]) -> Any:
    await app.host.change(change)
    return stack_in_force(app)
