"""The commands of `workspace/executeCommand`, by name.

Invariant: a command that was answered is in force: in this server, and in the files that every
other server watches. Each gives a JSON value or raises an error that says what to do. Knows no
protocol type.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeGuard

from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.stack import Entries, StackEntry, with_adapter, without_adapter
from neuralforge_adapters.store import PERSONAL
from neuralforge_adapters.trainer_files import Command, is_running, read_state, request
from neuralforge_server.app import App
from neuralforge_server.documents import uri_path
from neuralforge_server.errors import CommandError, SessionLogError
from neuralforge_server.learning import trainer_process
from neuralforge_server.learning.trigger import Job
from neuralforge_server.session_writer import SessionWriter

_BEGIN_SECONDS = 10.0

ACCEPTED = "neuralforge.suggestion.accepted"

Handler = Callable[[App, list[Any]], Awaitable[Any]]


async def run(app: App, name: str, arguments: list[Any]) -> Any:
    """Carry out a command.

    Raises:
        CommandError: there is no such command, or its arguments are not its own.
        NeuralForgeError: it cannot be done.
    """
    if name not in COMMANDS:
        raise CommandError(f"there is no command {name!r}; there is: {', '.join(COMMANDS)}")
    try:
        await asyncio.wait_for(app.begun.wait(), _BEGIN_SECONDS)
    except TimeoutError as error:
        raise CommandError("the server waits for `initialized`; send it first") from error
    return await COMMANDS[name](app, arguments)


# adapters


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

    return {"adapters": await asyncio.to_thread(read), **_stack(app)}


async def load(app: App, arguments: list[Any]) -> Any:
    """`[adapter, scale?]` → the stack with it on top, or with its new scale."""
    name, scale = _text(arguments, 0, "adapter"), _number(arguments, 1, "scale", 1.0)
    return await _change(app, lambda entries: with_adapter(entries, StackEntry(name, scale)))


async def unload(app: App, arguments: list[Any]) -> Any:
    """`[adapter]` → the stack without it."""
    name = _text(arguments, 0, "adapter")
    return await _change(app, lambda entries: without_adapter(entries, name))


async def swap(app: App, arguments: list[Any]) -> Any:
    """`[adapter, ...]`, each a name, a path or `{adapter, scale}` → exactly this stack."""
    entries = tuple(_entry(item) for item in arguments)
    return await _change(app, lambda _: entries)


async def scale(app: App, arguments: list[Any]) -> Any:
    """`[adapter, scale]` → the stack with that scale."""
    name, value = _text(arguments, 0, "adapter"), _number(arguments, 1, "scale")

    def change(entries: Entries) -> Entries:
        without_adapter(entries, name)  # raises where it is not loaded
        return with_adapter(entries, StackEntry(name, value))

    return await _change(app, change)


async def rollback(app: App, arguments: list[Any]) -> Any:
    """`[adapter?]`, the personal one by default, or `name@v0001` → it, an older version now."""
    name = _text(arguments, 0, "adapter", PERSONAL)
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
    return {"adapter": version.reference, **_stack(app)}


async def _change(app: App, change: Callable[[Entries], Entries]) -> Any:
    await app.host.change(change)
    return _stack(app)


def _stack(app: App) -> dict[str, Any]:
    stack = app.host.engine.stack
    return {"stack": stack.describe(), "digest": stack.digest}


# learning


async def train_now(app: App, arguments: list[Any]) -> Any:
    """`[{repository?}]` → a training, started now; asking for it is the yes for a repository."""
    given = _options(arguments, {"repository"}).get("repository")
    assert app.learner is not None
    repository = None if given is None else await asyncio.to_thread(_repository, given)
    if repository is not None and app.consent is not None:
        await app.consent.answer(repository, "yes")
    return await app.learner.start(Job(repository))


def _order(command: Command, description: str) -> Handler:
    """A command for the trainer, whoever started it."""

    async def handler(app: App, _: list[Any]) -> Any:
        home = app.host.home
        order = await asyncio.to_thread(request, home, command)
        running = await asyncio.to_thread(is_running, home)
        return {"command": order.command, "sequence": order.sequence, "running": running}

    handler.__doc__ = f"`[]` → {description}"
    return handler


async def consent(app: App, arguments: list[Any]) -> Any:
    """`[repository, "yes" | "no"]` → the answer, kept."""
    repository, answer = _folder(_text(arguments, 0, "repository")), _text(arguments, 1, "answer")
    if answer not in ("yes", "no"):
        raise CommandError(f'answer is {answer!r}; give "yes" or "no"')
    _writer(app)
    assert app.consent is not None
    await app.consent.answer(repository, "yes" if answer == "yes" else "no")
    return {"repository": str(repository), "answer": answer}


# the log and the server


async def accepted(app: App, arguments: list[Any]) -> Any:
    """`[id]` → whether the acceptance of this suggestion was news; it is committed."""
    identifier, texts = _text(arguments, 0, "id"), app.snapshot()
    writer = _writer(app)
    recorded = await writer.ask(lambda recorder: recorder.accepted(identifier, None, texts))
    return {"recorded": recorded}


async def purge(app: App, arguments: list[Any]) -> Any:
    """`[{repository?, older_than_days?, everything?}]` → how much of log and replay is deleted."""
    options = _options(arguments, {"repository", "older_than_days", "everything"})
    everything, days = options.get("everything", False), options.get("older_than_days")
    folder = None if (given := options.get("repository")) is None else _folder(given)
    if not isinstance(everything, bool) or not (days is None or _is_number(days)):
        raise CommandError("everything must be true or false, older_than_days a number")
    if not everything and folder is None and days is None:
        raise CommandError(
            'say what to delete: {"everything": true}, {"repository": PATH} or '
            '{"older_than_days": N}'
        )
    if everything:
        folder = days = None
    gone = await _writer(app).ask(lambda recorder: recorder.log.purge(folder, days, everything))
    forgotten = await asyncio.to_thread(trainer_process.forget, app.host.home, folder, days)
    if days is None:
        await app.forget(folder)
    return {**asdict(gone), **forgotten}


async def status(app: App, _: list[Any]) -> Any:
    """`[]` → engine, stack, log, trainer, runs and their waste, indexes, own share of time."""
    engine, home, service = app.host.engine, app.host.home, app.host.service
    trainer = await asyncio.to_thread(read_state, home)
    return {
        "engine": {
            "state": engine.state,
            "restarts": engine.restarts,
            "pid": engine.pid,
            "base": str(engine.options.base.path),
            "base_digest": engine.options.base.digest,
            "info": None if engine.info is None else asdict(engine.info),
        },
        **_stack(app),
        "log": None if app.writer is None else await _log(app.writer),
        "trainer": None if trainer is None else asdict(trainer),
        "home": str(home.root),
        "profile": home.profile,
        "documents": len(app.documents),
        "completion": service.counts.describe(),
        "index": {f: asdict(p) for f, p in app.indexing.progress.items()} if app.indexing else {},
        "own_ms": _percentiles(list(app.own_ms)),
    }


async def _log(writer: SessionWriter) -> dict[str, Any]:
    try:
        return asdict(await writer.ask(lambda recorder: recorder.log.stats()))
    except (SessionLogError, HomeError) as error:
        return {"error": str(error)}


def _percentiles(values: list[float]) -> dict[str, float | int]:
    """p50 and p95 of what requests took outside the engine, in milliseconds."""
    if len(values) < 2:
        return {"requests": len(values)}
    cuts = statistics.quantiles(values, n=100)
    return {"requests": len(values), "p50": cuts[49], "p95": cuts[94]}


# arguments


def _writer(app: App) -> SessionWriter:
    if app.writer is None:
        raise CommandError("there is no session log; set neuralforge.log.enabled to true")
    return app.writer


def _value(arguments: list[Any], at: int, name: str) -> Any:
    """An argument by place, or by name in a single object."""
    if len(arguments) == 1 and isinstance(arguments[0], dict):
        return arguments[0].get(name)
    return arguments[at] if at < len(arguments) else None


def _text(arguments: list[Any], at: int, name: str, default: str | None = None) -> str:
    value = _value(arguments, at, name)
    value = default if value is None else value
    if not isinstance(value, str) or not value or "\0" in value:
        raise CommandError(f"argument {at + 1} ({name}) must be a string that is not empty")
    return value


def _number(arguments: list[Any], at: int, name: str, default: float | None = None) -> float:
    value = _value(arguments, at, name)
    value = default if value is None else value
    if not _is_number(value):
        raise CommandError(f"argument {at + 1} ({name}) must be a number")
    return float(value)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _entry(item: Any) -> StackEntry:
    pair = [item.get("adapter"), item.get("scale")] if isinstance(item, dict) else [item]
    return StackEntry(_text(pair, 0, "adapter"), _number(pair, 1, "scale", 1.0))


def _options(arguments: list[Any], known: set[str]) -> dict[str, Any]:
    options = arguments[0] if arguments and arguments[0] is not None else {}
    if not isinstance(options, dict) or len(arguments) > 1:
        raise CommandError(f"give one object with any of: {', '.join(sorted(known))}")
    if unknown := options.keys() - known:
        raise CommandError(f"there is no option {sorted(unknown)[0]!r}; there is: {sorted(known)}")
    return options


def _folder(given: Any) -> Path:
    """A folder that a client names by path or by URI."""
    text = _text([given], 0, "repository")
    path = Path(uri_path(text) or text)
    if not path.is_dir():
        raise CommandError(f"{path} is no folder; give the root folder of a repository")
    return path.resolve()


def _repository(given: Any) -> Path:
    """The root of the repository that a folder of the client's lies in."""
    from neuralforge_server.session.exclude import find_repository  # slow to import

    folder = _folder(given)
    if (root := find_repository(folder)) is None:
        raise CommandError(f"{folder} is no git repository; name a folder inside of one")
    return root


COMMANDS: dict[str, Handler] = {
    "neuralforge.adapter.list": list_adapters,
    "neuralforge.adapter.load": load,
    "neuralforge.adapter.unload": unload,
    "neuralforge.adapter.swap": swap,
    "neuralforge.adapter.scale": scale,
    "neuralforge.adapter.rollback": rollback,
    "neuralforge.train.now": train_now,
    "neuralforge.train.pause": _order("pause", "let the trainer wait, also one that starts later."),
    "neuralforge.train.resume": _order("run", "let the trainer go on."),
    "neuralforge.train.skip": _order("skip", "end the training, and never train on its samples."),
    "neuralforge.train.cancel": _order("cancel", "end the training; its samples stay new."),
    "neuralforge.status": status,
    "neuralforge.log.purge": purge,
    "neuralforge.consent": consent,
    ACCEPTED: accepted,
}


def docs_table() -> str:
    """The content of `docs/lsp-commands.md`."""
    rows = "\n".join(
        f"| `{name}` | {(handler.__doc__ or '').strip().replace('|', '&#124;')} |"
        for name, handler in COMMANDS.items()
    )
    return (
        "# Commands of the language server\n\n"
        "Made from `commands.py` by `make docs`; a test fails when it is stale.\n\n"
        "By `workspace/executeCommand`, with arguments by place or as one object with their "
        "names. What cannot be done is an error: code -32602 for wrong arguments, -32803 for "
        "the rest, with a message that says what to do and `data.kind`, the error's name.\n\n"
        f"| command | arguments → result |\n|---|---|\n{rows}\n"
    )
