"""Commands on stacks that have a name."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from neuralforge_adapters.named_stacks import NamedStacks
from neuralforge_server.app import App
from neuralforge_server.commands.arguments import entry, text, value
from neuralforge_server.commands.shared import shelf, stack_in_force
from neuralforge_server.errors import CommandError


async def list_stacks(app: App, _: list[Any]) -> Any:
    """`[]` → `stacks`, each with all that a picker shows; `stack`, `digest` in force."""
    return {"stacks": await asyncio.to_thread(shelf(app).stacks), **stack_in_force(app)}


async def save(app: App, arguments: list[Any]) -> Any:
    """`[name, adapters?]` → the named stack; without a list of adapters, the one in force."""
    name, given = text(arguments, 0, "name"), value(arguments, 1, "adapters")
    if not (given is None or isinstance(given, list)):
        raise CommandError("argument 2 (adapters) must be a list of names, paths or entries")
    host = app.host

    def keep() -> dict[str, Any]:
        entries = host.stack_file.read() if given is None else tuple(map(entry, given))
        digest = host.engine.options.base.digest
        return asdict(NamedStacks(host.home).save(name, entries, digest))

    return await asyncio.to_thread(keep)


async def remove(app: App, arguments: list[Any]) -> Any:
    """`[name]` → the named stack, forgotten; its adapters stay."""
    name = text(arguments, 0, "name")
    return asdict(await asyncio.to_thread(NamedStacks(app.host.home).remove, name))


async def use(app: App, arguments: list[Any]) -> Any:
    """`[name]` → exactly this stack in force."""
    name = text(arguments, 0, "name")
    stack = await asyncio.to_thread(NamedStacks(app.host.home).get, name)
    await app.host.change(lambda _: stack.entries)
    return {"name": stack.name, **stack_in_force(app)}
