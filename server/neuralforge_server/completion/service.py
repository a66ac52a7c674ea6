"""A completion request's way: memory, the generation under way, the engine, the filter.

Invariants: at most one request of a document waits, a newer one answers it with nothing at once;
a generation goes on only while what was typed agrees with what it produces; a suggestion is
given only for the text it was computed for, or for that text with the suggestion's own beginning
typed. Runs in one asyncio loop. Knows no LSP, no log and no disk.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from neuralforge_adapters.fim import Window, split_lines
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.completion.filter import Shaped, shape
from neuralforge_server.completion.memory import Cost, Memory, Run, Spot
from neuralforge_server.documents import Change, Document, Position
from neuralforge_server.engine.protocol import CompleteRequest
from neuralforge_server.engine.stopping import StopRules
from neuralforge_server.engine.supervisor import EngineSupervisor
from neuralforge_server.errors import EngineError
from neuralforge_server.settings import CompletionSettings

_LINES_BELOW = 5
"""Lines in which the next one that is not blank is looked for."""


@dataclass(frozen=True)
class Suggestion:
    """A text to insert at `position` (code points) in place of the next `replaces` ones."""

    id: str
    """The same for every rest of one generation that is shown while the user types through it."""
    text: str
    position: Position
    replaces: int
    base: str
    """SHA-256 of the base's file."""
    stack: ResolvedStack
    prefix: str
    suffix: str
    milliseconds: float
    """From the request to the answer."""
    evaluated_tokens: int
    """Tokens computed for it; 0 where it was remembered."""
    engine_ms: float | None
    """Milliseconds of them in llama.cpp; None where it joined a generation under way."""


@dataclass(eq=False)
class _Waiting:
    """A request that is not answered yet."""

    spot: Spot
    offset: int
    """Of the spot, in code points."""
    started: float
    answer: asyncio.Future[Suggestion | None]
    run: Run | None = None
    before: str = ""
    """What was typed between the run's origin and the spot."""
    typed: str = ""
    """What was typed at the spot since the request came."""

    @property
    def consumed(self) -> str:
        """How much of the run's text the user has typed."""
        return self.before + self.typed

    def resolve(self, suggestion: Suggestion | None) -> None:
        """Answer, unless that has happened."""
        if not self.answer.done():
            self.answer.set_result(suggestion)


class CompletionService:
    """Answers the completion requests of one server; closed until `open` is called."""

    def __init__(self, engine: EngineSupervisor, settings: CompletionSettings) -> None:
        self.engine = engine
        self.settings = settings
        self._opened = False
        self._window = Window()
        self._waiting: dict[str, _Waiting] = {}
        self._running: dict[str, Run] = {}
        self._memory = Memory()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """The weights in force are known: serve what waits."""
        self._opened = True
        for waiting in list(self._waiting.values()):
            if waiting.typed:
                waiting.resolve(None)
            else:
                self._serve(waiting)

    def hold(self) -> None:
        """The weights are about to change: stop what runs, let requests wait until `open`."""
        self._opened = False
        for uri in list(self._running):
            self._stop(uri)

    async def complete(self, document: Document, position: Position) -> Suggestion | None:
        """The suggestion at a code point position; None for none, or where a newer request came.

        Cancelling the caller stops the computation.
        """
        uri = document.uri
        self._supersede(uri)
        if not self.settings.enabled or document.too_large or document.left_alone:
            return None
        waiting = self._waiting[uri] = self._wait_at(document, position)
        try:
            if self._opened:
                self._serve(waiting)
            return await waiting.answer
        except asyncio.CancelledError:
            if self._waiting.get(uri) is waiting:
                self._stop(uri)
            raise
        finally:
            if self._waiting.get(uri) is waiting:
                del self._waiting[uri]

    def on_change(self, document: Document, change: Change) -> None:
        """Follow an edit: the waiting request lives on only if it was typed at its cursor."""
        waiting = self._waiting.get(document.uri)
        if waiting is None:
            return
        if change.start == waiting.offset + len(waiting.typed) and not change.removed:
            waiting.typed += change.inserted
            if waiting.run is None or waiting.run.agrees(waiting.consumed):
                return
        self._supersede(document.uri)
        self._stop(document.uri)

    def close(self, document: Document) -> None:
        """Forget a document."""
        self._supersede(document.uri)
        self._stop(document.uri)
        self._memory.forget(document)

    def _wait_at(self, document: Document, position: Position) -> _Waiting:
        answer: asyncio.Future[Suggestion | None] = asyncio.get_running_loop().create_future()
        spot = Spot.at(document, position, self._window)
        return _Waiting(spot, document.offset(position), time.perf_counter(), answer)

    def _serve(self, waiting: _Waiting) -> None:
        """Answer from memory, or join the generation under way, or start one."""
        spot, uri = waiting.spot, waiting.spot.document.uri
        base, stack = self.engine.options.base.digest, self.engine.stack
        if found := self._memory.find(spot, base, stack):
            self._stop(uri)
            waiting.run, waiting.before = found
            self._finish(waiting, Cost(0, 0.0))
            return
        run = self._running.get(uri)
        typed = None if run is None else spot.typed_since(run.origin)
        if run is not None and typed is not None and run.agrees(typed):
            waiting.run, waiting.before = run, typed
        else:
            self._start(waiting)

    def _start(self, waiting: _Waiting) -> None:
        """Compute from the request's own spot; while the engine restarts there is nothing."""
        spot, engine = waiting.spot, self.engine
        self._stop(spot.document.uri)
        if engine.state not in ("starting", "ready"):
            waiting.resolve(None)
            return
        generation = engine.generate(self._request(spot))
        run = Run(spot, engine.options.base.digest, engine.stack, generation)
        waiting.run, waiting.before = run, ""
        self._running[spot.document.uri] = run
        generation.on_text(lambda _: self._on_text(run))
        task = asyncio.get_running_loop().create_task(self._follow(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _request(self, spot: Spot) -> CompleteRequest:
        return CompleteRequest(
            spot.prefix,
            spot.suffix,
            max_tokens=self.settings.max_tokens,
            rules=StopRules(max_lines=self.settings.max_lines),
            deadline_ms=float(self.settings.deadline_ms),
        )

    def _on_text(self, run: Run) -> None:
        """Leave a generation as soon as it says something else than what was typed."""
        waiting = self._waiting.get(run.origin.document.uri)
        if waiting is not None and waiting.run is run and not run.agrees(waiting.consumed):
            self._begin_anew(waiting)

    async def _follow(self, run: Run) -> None:
        """At the generation's end, remember it and answer whoever waits for it then."""
        uri, stop = run.origin.document.uri, "error"
        with suppress(EngineError):
            result = await run.generation.result()
            stop, run.cost = result.stop, Cost(result.evaluated_tokens, result.milliseconds)
        if self._running.get(uri) is run:
            del self._running[uri]
        if run.text and stop not in ("cancelled", "error"):
            self._memory.add(run)
        waiting = self._waiting.get(uri)
        if waiting is None or waiting.run is not run:
            return
        if run.text.startswith(waiting.consumed) and run.text != waiting.consumed:
            self._finish(waiting, run.cost)
        else:
            self._begin_anew(waiting)

    def _begin_anew(self, waiting: _Waiting) -> None:
        """A run that was joined went elsewhere, or ended; one of the request's own is nothing."""
        if waiting.before and not waiting.typed:
            self._start(waiting)
        else:
            self._stop(waiting.spot.document.uri)
            waiting.resolve(None)

    def _finish(self, waiting: _Waiting, cost: Cost) -> None:
        run, position = waiting.run, _moved(waiting.spot.position, waiting.typed)
        assert run is not None
        shaped = self._shape(waiting.spot.document, position, run.text[len(waiting.consumed) :])
        if shaped is None:
            waiting.resolve(None)
            return
        waiting.resolve(
            Suggestion(
                id=run.id,
                text=shaped.text,
                position=position,
                replaces=shaped.replaces,
                base=run.base,
                stack=run.stack,
                prefix=waiting.spot.prefix + waiting.typed,
                suffix=waiting.spot.suffix,
                milliseconds=(time.perf_counter() - waiting.started) * 1000,
                evaluated_tokens=cost.tokens,
                engine_ms=None if waiting.before and cost.tokens else cost.milliseconds,
            )
        )

    def _shape(self, document: Document, position: Position, text: str) -> Shaped | None:
        lines, below = document.lines, position.line + 1
        line = lines[position.line].rstrip("\r\n") if position.line < len(lines) else ""
        following = (t for t in lines[below : below + _LINES_BELOW] if t.strip())
        return shape(
            text,
            line[: position.character],
            line[position.character :],
            next(following, ""),
            self.settings.max_lines,
        )

    def _supersede(self, uri: str) -> None:
        """Answer the waiting request with nothing; its generation may go on."""
        if waiting := self._waiting.pop(uri, None):
            waiting.resolve(None)

    def _stop(self, uri: str) -> None:
        if run := self._running.pop(uri, None):
            run.generation.cancel()


def _moved(position: Position, typed: str) -> Position:
    """The position after `typed` was inserted at `position`."""
    lines = split_lines(typed + ".")  # the dot: a line end at the end begins a line
    start = position.character if len(lines) == 1 else 0
    return Position(position.line + len(lines) - 1, start + len(lines[-1]) - 1)
