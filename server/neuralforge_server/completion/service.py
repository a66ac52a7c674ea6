"""A completion request's way: cache, the generation under way, the engine, the filter.

Invariants: at most one request of a document waits, a newer one answers it with nothing at once;
a generation goes on only while what was typed agrees with what it produces; a suggestion is
given only for the text it was computed for, or for that text with the suggestion's own beginning
typed. Runs in one asyncio loop. Knows no LSP, no log and no disk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from neuralforge_server.completion.asking import Asking
from neuralforge_server.completion.cache import Cost, Key, Made, Run, SuggestionCache, Use
from neuralforge_server.completion.counts import Counts
from neuralforge_server.completion.extent import Place, look
from neuralforge_server.completion.filter import Shaped, shape
from neuralforge_server.completion.pace import Pace
from neuralforge_server.completion.prefetch import Prefetch, Target
from neuralforge_server.completion.spot import Spot
from neuralforge_server.completion.waiting import Suggestion, Waiting
from neuralforge_server.documents import Change, Document, Position
from neuralforge_server.engine.interface import Engine
from neuralforge_server.engine.protocol import Completion
from neuralforge_server.errors import EngineError
from neuralforge_server.settings import Settings

logger = logging.getLogger(__name__)

_GRACE = 0.15
"""Seconds that a run goes on after its request was cancelled: the next key's may join it."""


class CompletionService:
    """Answers the completion requests of one server; closed until `open` is called."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.asking = Asking(Settings())
        self.pace = Pace()
        self.counts = Counts()
        self.on_closed: Callable[[], None] = lambda: None
        """Called by a request that meets a closed service."""
        self._opened = False
        self._waiting: dict[str, Waiting] = {}
        self._running: dict[str, Run] = {}
        self._cache = SuggestionCache()
        self._ahead = Prefetch(self.asking.window, self._start_ahead)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_waited_for(self) -> bool:
        """Whether a request is not answered yet."""
        return bool(self._waiting)

    def open(self) -> None:
        """The weights in force are known: serve what waits."""
        self._opened = True
        for waiting in list(self._waiting.values()):
            if not self.asking.wanted(waiting.spot.document):
                waiting.resolve([])  # the settings came after the request
            elif waiting.idle:
                self._serve(waiting)

    def hold(self) -> None:
        """The weights are about to change: stop what runs, let requests wait until `open`."""
        self._opened = False
        self._ahead.stop()
        for waiting in self._waiting.values():
            waiting.leave()
        for uri in list(self._running):
            self._stop(uri)

    def refuse(self) -> None:
        """Answer what waits with nothing: there will be no engine."""
        for uri in list(self._waiting):
            self._supersede(uri)

    def replace_engine(self, engine: Engine) -> None:
        """Another engine: what was measured of the one before says nothing."""
        self.engine = engine
        self.pace.forget_engine()

    async def complete(
        self, document: Document, position: Position, *, invoked: bool = False
    ) -> list[Suggestion]:
        """The suggestions at a code point position; none also where a newer request came.

        Several are given where the user `invoked` it. Cancelling the caller, as editors do with
        every key, stops the computation, unless another request joins it.
        """
        uri = document.uri
        self._supersede(uri)
        if not self.asking.wanted(document):
            return []
        waiting = self._waiting[uri] = self._wait_at(document, position, invoked)
        self.counts.requests += 1
        try:
            if self._opened:
                self._serve(waiting)
            else:
                self.on_closed()
            return await waiting.answer
        except asyncio.CancelledError:
            if self._waiting.get(uri) is waiting:
                waiting.resolve([])
                self._stop_unless_joined(waiting)
            raise
        finally:
            if self._waiting.get(uri) is waiting:
                del self._waiting[uri]

    def on_change(self, document: Document, change: Change) -> None:
        """Follow an edit: the waiting request lives on only if it was typed at its cursor."""
        self.pace.key(_now())
        self._ahead.changed(document.uri, change)
        waiting = self._waiting.get(document.uri)
        if waiting is None:
            return
        if change.start == waiting.offset + len(waiting.typed) and not change.removed:
            waiting.typed += change.inserted
            if waiting.run is not None and waiting.run.agrees(waiting.use):
                return
        self._supersede(document.uri)
        self._stop(document.uri)

    def warm(self, document: Document, position: Position) -> None:
        """Have the prompt at a position computed ahead, unless one is being computed."""
        if self._opened and self.asking.wanted(document) and not self._running:
            spot = Spot.at(document, position, self.asking.window)
            self.engine.tell(self.asking.warm(spot, self.asking.key(document, self.engine)))

    def close(self, document: Document) -> None:
        """Forget a document."""
        self._supersede(document.uri)
        self._stop(document.uri)
        self._ahead.stop()
        self._cache.forget(document)

    def forget(self) -> None:
        """Forget every text: something that they were made from is to be forgotten."""
        self.hold()
        self._cache.forget_others(None)
        self.open()

    def learned(self, document: Document) -> None:
        """The fast memory knows more of `document`: texts made elsewhere may be outdated."""
        self._cache.forget_others(document)
        for run in (*self._running.values(), self._ahead.run):
            if run is not None and run.origin.document is not document:
                run.outdated = True

    def _wait_at(self, document: Document, position: Position, invoked: bool) -> Waiting:
        answer: asyncio.Future[list[Suggestion]] = asyncio.get_running_loop().create_future()
        spot = Spot.at(document, position, self.asking.window)
        return Waiting(spot, document.offset(position), invoked, answer)

    # where an answer comes from

    def _serve(self, waiting: Waiting) -> None:
        """Answer from the cache, or join the generation under way, or start one in time."""
        spot, uri = waiting.spot, waiting.spot.document.uri
        key = self.asking.key(spot.document, self.engine)
        if self._serve_cached(waiting, key) or self._join(waiting, key):
            return
        self._stop(uri)
        self._start_in_time(waiting)

    def _start_in_time(self, waiting: Waiting) -> None:
        wait = 0.0 if waiting.invoked else self.pace.wait(_now())
        if wait <= 0:
            self._start(waiting)
        else:
            loop = asyncio.get_running_loop()
            waiting.delay(loop.call_later(wait / 1000, self._start, waiting))

    def _serve_cached(self, waiting: Waiting, key: Key) -> bool:
        wanted, found, known = self._wanted(waiting), list[Suggestion](), False
        tried = set[str | None]()
        for made, use in self._cache.find(waiting.spot, key):
            if made.candidates < wanted:
                break
            rest = use.rest(made.text)
            if rest in tried and use != Use():
                continue  # runs of the keys before often say the same
            tried.add(rest)
            waiting.joined = use
            suggestion = self._suggestion(waiting, made, Cost())
            if suggestion is not None:
                found.append(suggestion)
            elif use != Use():
                continue  # used up; but where it begins, it says that there is nothing to say
            self._used(made)
            known = True
            if wanted in (1, len(found)):
                break
        if known:
            self._stop(waiting.spot.document.uri)
            self.counts.cached += 1
            self._answer(waiting, found)
        return known

    def _join(self, waiting: Waiting, key: Key) -> bool:
        """Wait for the run of an older request, or for the one ahead, if it may still fit."""
        uri = waiting.spot.document.uri
        for run in (self._running.get(uri), self._ahead.run):
            if run is None or run.key != key or waiting.invoked:
                continue
            step = waiting.spot.since(run.origin)
            if step is None or not run.agrees(use := Use.of(step)):
                continue
            if run is self._ahead.run:
                self._stop(uri)
                self._running[uri] = run
                self._ahead.release()
            waiting.join(run, use)
            self._limit(run)
            self._look(run)
            return True
        return False

    def _limit(self, run: Run) -> None:
        """Somebody waits: a complete first line is to be given after so long."""
        if run.timer is None:
            budget = self.pace.budget(self.asking.completion.deadline_ms)
            run.timer = asyncio.get_running_loop().call_later(budget / 1000, self._overdue, run)

    def _start(self, waiting: Waiting) -> None:
        """Compute from the request's own spot; while the engine restarts there is nothing."""
        spot, document = waiting.spot, waiting.spot.document
        self._stop(document.uri)
        self._ahead.stop()
        place = self.asking.place(document, spot.position)
        run = self._run(spot, place, self._wanted(waiting), background=False)
        if run is None:
            waiting.resolve([])
            return
        waiting.begin(run)
        self._running[document.uri] = run
        self._limit(run)

    def _start_ahead(self, spot: Spot, lines: Sequence[str]) -> Run | None:
        """Compute what nobody has asked for yet, if it is not known."""
        key = self.asking.key(spot.document, self.engine)
        if not self._opened or self._running or self._cache.holds(spot, key):
            return None
        place = look(lines, spot.document.language, spot.position)
        return self._run(spot, place, 1, background=True)

    def _run(self, spot: Spot, place: Place, candidates: int, *, background: bool) -> Run | None:
        engine = self.engine
        if engine.state not in ("starting", "ready"):
            return None
        key = self.asking.key(spot.document, engine)
        request = self.asking.complete(spot, place, key, candidates, background)
        run = Run(spot, key, engine.generate(request), candidates, background)
        self.counts.started(background)
        run.generation.on_text(lambda _: self._look(run))
        task = asyncio.get_running_loop().create_task(self._follow(run))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._followed(done, run))
        return run

    # while a run goes on

    def _look(self, run: Run) -> None:
        """Leave a run that says something else than was typed; end one that has said enough."""
        waiting = self._waiting.get(run.origin.document.uri)
        if run.first_line_ms is None and "\n" in run.text.lstrip("\r\n"):
            run.first_line_ms = run.milliseconds
        if waiting is None or waiting.run is not run or run.generation.done:
            return
        if not run.agrees(waiting.use):
            self._begin_anew(waiting)
        elif run.overdue and (end := run.text.rfind("\n")) > 0:
            rest = waiting.use.rest(run.text[:end])
            if rest is not None and rest.strip():
                run.end_early(end)

    def _overdue(self, run: Run) -> None:
        run.overdue = True
        self._look(run)

    async def _follow(self, run: Run) -> None:
        """At the run's end, keep its text and answer whoever waits for it then."""
        try:
            result = await run.generation.result()
        except EngineError:
            result = None
        uri = run.origin.document.uri
        if self._running.get(uri) is run:
            del self._running[uri]
        made: list[Made] = []
        if result is not None and run.is_whole(result):
            if run.candidates == 1:
                self.pace.ran(run.milliseconds, run.first_line_ms)
            made = [] if run.came_to_nothing(result) else run.made(result)
            if not run.outdated:
                self._cache.add(*made)
        elif result is not None:
            self.pace.overtaken(run.milliseconds)
        waiting = self._waiting.get(uri)
        if waiting is not None and waiting.run is run:
            self._finish(waiting, made, result)
        self._ahead.ended(run, made[0].text if made else None)

    def _followed(self, task: asyncio.Task[None], run: Run) -> None:
        """Nobody may wait on, whatever went wrong with the run's text."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a run could not be answered from", exc_info=error)
            waiting = self._waiting.get(run.origin.document.uri)
            if waiting is not None and waiting.run is run:
                waiting.resolve([])

    def _finish(self, waiting: Waiting, made: list[Made], result: Completion | None) -> None:
        fitting = [m for m in made if waiting.use.rest(m.text)]
        if made and not fitting and waiting.use == Use():
            self._used(made[0])  # there is nothing to say
            waiting.resolve([])
            return
        if result is None or not fitting:
            self._begin_anew(waiting)
            return
        cost = Cost(result.evaluated_tokens, result.milliseconds)
        found = [self._suggestion(waiting, m, cost) for m in fitting]
        self._used(fitting[0])
        self._answer(waiting, [s for s in found if s is not None][: self._wanted(waiting)])

    def _begin_anew(self, waiting: Waiting) -> None:
        """A run that was joined went elsewhere, or ended; one of the request's own is nothing."""
        self._stop(waiting.spot.document.uri)
        if waiting.own or waiting.typed:
            waiting.resolve([])
        else:
            waiting.leave()
            self._start_in_time(waiting)

    # answers

    def _wanted(self, waiting: Waiting) -> int:
        return self.asking.completion.candidates if waiting.invoked else 1

    def _used(self, made: Made) -> None:
        if not made.run.used:
            made.run.used = True
            self.counts.used(made.run.background)

    def _suggestion(self, waiting: Waiting, made: Made, cost: Cost) -> Suggestion | None:
        rest = waiting.use.rest(made.text)
        shaped = rest and self._shape(waiting, made, rest)
        if not shaped:
            return None
        return Suggestion(
            id=made.id,
            text=shaped.text,
            position=waiting.position,
            replaces=shaped.replaces,
            base=made.key.base,
            stack=made.key.stack,
            prefix=waiting.spot.prefix + waiting.typed,
            suffix=waiting.spot.suffix,
            milliseconds=waiting.milliseconds,
            evaluated_tokens=cost.tokens,
            engine_ms=waiting.engine_ms(cost.milliseconds),
        )

    def _shape(self, waiting: Waiting, made: Made, rest: str) -> Shaped | None:
        place = self.asking.place(waiting.spot.document, waiting.position)
        lines = self.asking.completion.max_lines
        return shape(rest, "", "", max_lines=lines, place=place, unfinished=made.unfinished)

    def _answer(self, waiting: Waiting, suggestions: list[Suggestion]) -> None:
        """Give the suggestions, and look ahead to what comes after the first."""
        waiting.resolve(suggestions)
        if not suggestions or not self.asking.completion.prefetch:
            return
        first, document = suggestions[0], waiting.spot.document
        spot = Spot.at(document, first.position, self.asking.window)
        target = Target(spot, document.offset(first.position), first.text, first.replaces)
        self._ahead.shown(target, self.pace.pause / 1000)

    def _supersede(self, uri: str) -> None:
        """Answer the waiting request with nothing; its generation may go on."""
        if waiting := self._waiting.pop(uri, None):
            waiting.resolve([])

    def _stop_unless_joined(self, waiting: Waiting) -> None:
        """Stop what runs for a cancelled request, if no other waits for it in a while."""
        uri = waiting.spot.document.uri
        run = self._running.get(uri)

        def stop() -> None:
            other = self._waiting.get(uri)
            if self._running.get(uri) is run and (other is None or other.run is not run):
                self._stop(uri)

        if run is not None:
            asyncio.get_running_loop().call_later(_GRACE, stop)

    def _stop(self, uri: str) -> None:
        if run := self._running.pop(uri, None):
            run.stop()


def _now() -> float:
    return time.perf_counter() * 1000
