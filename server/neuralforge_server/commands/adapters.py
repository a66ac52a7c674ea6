"""Commands on adapters and on the stack in force.

Invariant: a stack that cannot be served changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neuralforge_adapters.export import export_version
from neuralforge_adapters.stack import Entries, StackEntry, with_adapter, without_adapter
from neuralforge_adapters.store import PERSONAL
from neuralforge_server.app import App
from neuralforge_server.commands.arguments import entry, number, text
from neuralforge_server.commands.shared import shelf, stack_in_force
from neuralforge_server.documents import uri_path


async def list_adapters(app: App, _: list[Any]) -> Any:
    """`[]` → `adapters`, every version with all that a picker shows; `stack`, `digest` in force."""
    return {"adapters": await asyncio.to_thread(shelf(app).adapters), **stack_in_force(app)}


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
    if "@" in name:
        version = await asyncio.to_thread(store.set_current, name)
    else:
        base = app.host.engine.options.base.digest
        version = await asyncio.to_thread(store.roll_back, name, base)
    try:
        await app.host.reload()
    except BaseException:
        if before is not None:
            await asyncio.to_thread(store.set_current, before.reference)
        raise
    return {"adapter": version.reference, **stack_in_force(app)}


async def export(app: App, arguments: list[Any]) -> Any:
    """`[path, adapter?]` → `path`, where it stands now: as `.zip`, else as a folder for PEFT."""
    path, name = text(arguments, 0, "path"), text(arguments, 1, "adapter", PERSONAL)
    version = await asyncio.to_thread(app.host.store.get, name)
    target = Path(uri_path(path) or path)
    written = await asyncio.to_thread(export_version, version, target)
    return {"adapter": version.reference, "path": str(written)}


async def _change(app: App, change: Callable[[Entries], Entries]) -> Any:
    await app.host.change(change)
    return stack_in_force(app)
