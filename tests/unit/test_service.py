"""The service over an engine whose every word and delay the test decides."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from neuralforge_adapters.stack import ResolvedAdapter, ResolvedStack
from neuralforge_server.completion.service import CompletionService
from neuralforge_server.completion.waiting import Suggestion
from neuralforge_server.documents import Document, Edit, Position
from neuralforge_server.engine.generation import Generation
from neuralforge_server.engine.protocol import CompleteRequest
from neuralforge_server.settings import CompletionSettings, MemorySettings, Settings

TEXT = "def load(path):\n    with open(path) as file:\n        return js"
END = Position(2, 17)
LINE = "on.load(file)"


@dataclass
class Engine:
    """Writes what `say` makes of a request; at once, or when `release` is called."""

    say: Callable[[CompleteRequest], str] = lambda _: LINE
    held: bool = False
    state: str = "ready"
    stack: ResolvedStack = field(default_factory=ResolvedStack)
    info: Any = None
    options: Any = field(default_factory=lambda: SimpleNamespace(base=SimpleNamespace(digest="b")))
    runs: list[tuple[CompleteRequest, Generation]] = field(default_factory=list)

    def generate(self, request: CompleteRequest) -> Generation:
        generation = Generation(request, lambda: self.end(generation, "cancelled"))
        self.runs.append((request, generation))
        if not self.held:
            asyncio.get_running_loop().call_soon(self.finish, generation)
        return generation

    def write(self, generation: Generation, text: str) -> None:
        generation.receive({"piece": text})

    def finish(self, generation: Generation) -> None:
        if not generation.done:
            whole = self.say(generation.request)
            if rest := whole[len(generation.text) :]:
                self.write(generation, rest)
            self.end(generation, "line")

    def end(self, generation: Generation, stop: str) -> None:
        others = [f"{LINE}{n}" for n in range(1, generation.request.candidates)]
        fields = dict.fromkeys(["generated_tokens", "evaluated_tokens", "cached_tokens"], 7)
        completion = {"text": generation.text, "stop": stop, "stack": "s", "milliseconds": 3.0}
        generation.receive(
            {"result": {**completion, **fields, "mean_logprob": None, "others": tuple(others)}}
        )

    @property
    def asked(self) -> list[CompleteRequest]:
        """What somebody waited for."""
        return [request for request, _ in self.runs if not request.background]

    @property
    def ahead(self) -> list[CompleteRequest]:
        return [request for request, _ in self.runs if request.background]


class Typing:
    """A document, somebody who types in it, and the service."""

    def __init__(self, engine: Engine, text: str = TEXT, settings: Settings | None = None) -> None:
        self.engine = engine
        self.service = CompletionService(engine)  # type: ignore[arg-type]
        self.service.asking.use(settings or without_prefetch())
        self.service.open()
        self.document = Document.open("file:///a.py", "python", 1, text)

    def insert(self, text: str, at: Position, end: Position | None = None) -> None:
        self.document.version += 1
        change = self.document.apply(Edit(text, at, end or at))
        assert change is not None
        self.service.on_change(self.document, change)

    async def complete(self, at: Position, **options: Any) -> list[Suggestion]:
        return await asyncio.wait_for(
            self.service.complete(self.document, at, **options), timeout=10
        )

    async def texts(self, at: Position, **options: Any) -> list[str]:
        return [s.text for s in await self.complete(at, **options)]


def without_prefetch(**completion: Any) -> Settings:
    return Settings(completion=CompletionSettings(**{"prefetch": False, **completion}))


def at(character: int, line: int = 2) -> Position:
    return Position(line, character)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0)


# the cache


async def test_the_rest_is_served_while_it_is_typed_deleted_and_typed_again() -> None:
    user = Typing(Engine())
    assert await user.texts(END) == [LINE]
    user.insert("on.", END)
    assert await user.texts(at(20)) == [LINE[3:]]
    user.insert("", at(18), at(20))
    assert await user.texts(at(18)) == [LINE[1:]]
    user.insert("n.l", at(18))
    assert await user.texts(at(21)) == [LINE[4:]]
    assert len(user.engine.asked) == 1 and user.service.counts.cached == 3


async def test_deleting_before_its_origin_gives_the_deleted_text_and_the_suggestion() -> None:
    user = Typing(Engine())
    first = await user.complete(END)
    user.insert("", at(15), END)
    again = await user.complete(at(15))
    assert [s.text for s in again] == ["js" + LINE]
    assert again[0].id == first[0].id
    user.insert("j", at(15))
    assert await user.texts(at(16)) == ["s" + LINE]
    assert len(user.engine.asked) == 1


async def test_deleting_a_whole_line_is_another_intention() -> None:
    user = Typing(Engine())
    await user.complete(END)
    user.insert("", Position(1, 27), END)
    await user.complete(Position(1, 27))
    assert len(user.engine.asked) == 2


async def test_text_that_changed_elsewhere_is_computed_anew() -> None:
    user = Typing(Engine())
    await user.complete(END)
    user.insert("\n", Position(0, 0))
    await user.complete(at(17, 3))
    assert len(user.engine.asked) == 2


async def test_a_line_end_is_typed_through_in_a_file_with_two_character_line_ends() -> None:
    engine = Engine(lambda _: "if a:\n        b = 1")
    user = Typing(engine, "def f():\r\n    ", without_prefetch(max_lines=8))
    assert await user.texts(at(4, 1)) != []
    user.insert("if a:\r\n        ", at(4, 1))
    assert await user.texts(at(8, 2)) == ["b = 1"]
    assert len(engine.asked) == 1


@pytest.mark.parametrize("change", ["stack", "base", "settings"])
async def test_no_text_of_another_stack_base_or_setting_is_served(change: str) -> None:
    user = Typing(Engine())
    await user.complete(END)
    if change == "stack":
        user.engine.stack = ResolvedStack((ResolvedAdapter("a", Path("a"), 1.0, "d"),))
    elif change == "base":
        user.engine.options.base.digest = "other"
    else:
        settings = replace(without_prefetch(), memory=MemorySettings(scale=0.5))
        user.service.asking.use(settings)
    await user.complete(END)
    assert len(user.engine.asked) == 2


async def test_that_there_is_nothing_to_say_is_kept_too() -> None:
    user = Typing(Engine(lambda _: ""))
    assert await user.texts(END) == [] == await user.texts(END)
    assert len(user.engine.asked) == 1
    assert user.service.counts.wasted_share == 0


async def test_texts_that_say_the_same_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shaped: list[str] = []

    def nothing(text: str, *_: Any, **__: Any) -> None:
        shaped.append(text)

    monkeypatch.setattr("neuralforge_server.completion.service.shape", nothing)
    user = Typing(Engine(lambda request: LINE[len(request.prefix) - len(TEXT) :]))
    for key in range(8):  # each has a run of its own, since none comes to a suggestion
        await user.texts(at(17 + key))
        user.insert(LINE[key], at(17 + key))
    assert len(user.engine.asked) == 8
    assert len(shaped) == 8 + 7, "once for the text, once for what the keys before left of it"


async def test_typing_through_costs_little_however_long_the_file_is() -> None:
    line = "        self.total = combine(self.first, self.second)\n"
    body = f"class Sum:\n    def add(self):\n{line}".splitlines(keepends=True) * 1000
    user = Typing(Engine(lambda _: "result = compute_everything_there_is(first, second)"),
                  "".join(body), without_prefetch())  # fmt: skip
    here = Position(1503, 0)
    user.insert("        \n", here)
    (text,) = await user.texts(at(8, 1503))
    began = time.thread_time()
    for typed in range(1, len(text)):
        user.insert(text[typed - 1], at(7 + typed, 1503))
        assert await user.texts(at(8 + typed, 1503)) == [text[typed:]]
    assert (time.thread_time() - began) / len(text) < 0.004, "seconds of processor time a key"
    assert len(user.engine.asked) == 1


# a run under way


async def test_a_request_joins_a_run_that_may_still_fit() -> None:
    engine = Engine(held=True)
    user = Typing(engine)
    older = asyncio.ensure_future(user.complete(END))
    await until(lambda: len(engine.runs) == 1)
    user.insert("on", END)
    newer = asyncio.ensure_future(user.texts(at(19)))
    assert await older == []
    engine.finish(engine.runs[0][1])
    assert await newer == [LINE[2:]]
    assert len(engine.runs) == 1 and user.service.counts.runs_used == 1


@pytest.mark.parametrize("cancel_comes", ["before the key", "after the key"])
async def test_a_run_whose_request_is_cancelled_serves_the_next_key(cancel_comes: str) -> None:
    engine = Engine(held=True)
    user = Typing(engine)
    older = asyncio.ensure_future(user.complete(END))
    await until(lambda: len(engine.runs) == 1)
    if cancel_comes == "before the key":
        older.cancel()
        await until(older.done)
    user.insert("on", END)
    older.cancel()
    await until(older.done)
    newer = asyncio.ensure_future(user.texts(at(19)))
    await asyncio.sleep(0)
    assert not engine.runs[0][1].done
    engine.finish(engine.runs[0][1])
    assert older.cancelled() and await newer == [LINE[2:]]
    assert len(engine.runs) == 1


async def test_a_run_whose_request_is_cancelled_ends_if_no_other_comes() -> None:
    engine = Engine(held=True)
    user = Typing(engine)
    answer = asyncio.ensure_future(user.complete(END))
    await until(lambda: len(engine.runs) == 1)
    answer.cancel()
    await until(lambda: engine.runs[0][1].done)
    assert engine.runs[0][1].done and not user.service.is_waited_for


async def test_a_run_out_of_time_with_nothing_is_not_an_answer_to_keep() -> None:
    engine = Engine(held=True)
    user = Typing(engine)
    answer = asyncio.ensure_future(user.texts(END))
    await until(lambda: len(engine.runs) == 1)
    engine.end(engine.runs[0][1], "deadline")
    assert await answer == []
    engine.held = False
    assert await user.texts(END) == [LINE], "that there is nothing to say was not found out"


async def test_a_run_that_says_something_else_is_left_at_once() -> None:
    engine = Engine(held=True)
    user = Typing(engine)
    older = asyncio.ensure_future(user.complete(END))
    await until(lambda: len(engine.runs) == 1)
    user.insert("XY", END)
    newer = asyncio.ensure_future(user.texts(at(19)))
    await older
    engine.write(engine.runs[0][1], "on") if not engine.runs[0][1].done else None
    await until(lambda: len(engine.runs) == 2)
    assert engine.runs[0][1].done
    engine.finish(engine.runs[1][1])
    assert await newer == [LINE]
    assert user.service.counts.wasted_share == 0.5


async def test_a_complete_first_line_is_given_when_its_time_is_over() -> None:
    engine = Engine(held=True)
    user = Typing(engine, "def f():\n    ", without_prefetch(max_lines=8, deadline_ms=20))
    answer = asyncio.ensure_future(user.texts(at(4, 1)))
    await until(lambda: len(engine.runs) == 1)
    engine.write(engine.runs[0][1], "first = 1\n    second = 2\n    thi")
    assert await answer == ["first = 1\n    second = 2"]
    assert engine.runs[0][1].done


async def test_a_slow_engine_gets_one_run_for_a_burst_of_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = itertools.count(0.0, 120.0)
    user = Typing(Engine())
    for _ in range(3):
        user.service.pace.ran(900, 900)
    answers = []
    for n, key in enumerate("abcdefgh"):
        now = next(keys)
        monkeypatch.setattr("neuralforge_server.completion.service._now", lambda now=now: now)
        user.insert(key, at(17 + n))
        answers.append(asyncio.ensure_future(user.texts(at(18 + n))))
        await asyncio.sleep(0)
    *older, last = await asyncio.gather(*answers)
    assert not any(older) and last == [LINE]
    assert len(user.engine.asked) == 1 and user.service.counts.wasted_share == 0


async def test_an_invoked_request_never_waits_for_a_pause() -> None:
    user = Typing(Engine(held=True))
    for _ in range(3):
        user.service.pace.ran(900, 900)
    user.insert("x", END)
    answer = asyncio.ensure_future(user.complete(at(18), invoked=True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(user.engine.asked) == 1
    user.engine.finish(user.engine.runs[0][1])
    await answer


async def test_while_the_weights_change_requests_wait_and_none_is_lost() -> None:
    engine = Engine(held=True)
    user = Typing(engine)
    answer = asyncio.ensure_future(user.texts(END))
    await until(lambda: len(engine.runs) == 1)
    user.service.hold()
    assert engine.runs[0][1].done and not answer.done()
    engine.held = False
    user.service.open()
    assert await answer == [LINE]


async def test_a_text_that_cannot_be_shaped_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    user = Typing(Engine())
    monkeypatch.setattr("neuralforge_server.completion.service.shape", fail)
    assert await user.complete(END) == []


async def test_what_is_learned_elsewhere_outdates_texts_also_those_under_way() -> None:
    engine = Engine()
    user, other = Typing(engine), Document.open("file:///b.py", "python", 1, "")
    await user.complete(END)
    user.service.learned(user.document)
    await user.complete(END)
    assert len(engine.asked) == 1
    engine.held = True
    user.service.learned(other)
    answer = asyncio.ensure_future(user.complete(END))
    await until(lambda: len(engine.asked) == 2)
    user.service.learned(other)
    engine.held = False
    engine.finish(engine.runs[-1][1])
    assert await answer
    await user.complete(END)
    assert len(engine.asked) == 3


# several candidates


async def test_an_invoked_request_gets_several_each_with_its_own_id() -> None:
    user = Typing(Engine())
    await user.complete(END)
    found = await user.complete(END, invoked=True)
    assert [s.text for s in found] == [LINE, f"{LINE}1", f"{LINE}2"]
    assert len({s.id for s in found}) == 3
    again = await user.complete(END, invoked=True)
    assert [(s.id, s.text) for s in again] == [(s.id, s.text) for s in found]
    assert [request.candidates for request in user.engine.asked] == [1, 3]


async def test_typing_through_the_second_candidate_serves_its_rest() -> None:
    user = Typing(Engine())
    found = await user.complete(END, invoked=True)
    user.insert(found[1].text[:-1], END)
    rest = await user.complete(at(17 + len(found[1].text) - 1))
    assert rest[0].text in {"1", "2"} and len(user.engine.asked) == 1


# prefetch


def say_then_next(request: CompleteRequest) -> str:
    return ".close()" if request.prefix.endswith(LINE) else LINE


async def test_accepting_is_answered_from_what_was_computed_ahead() -> None:
    engine = Engine(say_then_next)
    user = Typing(engine, settings=Settings())
    (shown,) = await user.complete(END)
    await until(lambda: len(engine.ahead) == 1)
    await until(lambda: engine.runs[-1][1].done)
    user.insert(shown.text, END)
    assert await user.texts(at(17 + len(LINE))) == [".close()"]
    assert len(engine.asked) == 1
    assert user.service.counts.prefetches_used == 1


async def test_accepting_joins_what_is_still_being_computed_ahead() -> None:
    engine = Engine(say_then_next)
    user = Typing(engine, settings=Settings())
    (shown,) = await user.complete(END)
    engine.held = True
    await until(lambda: len(engine.ahead) == 1)
    user.insert(shown.text, END)
    answer = asyncio.ensure_future(user.texts(at(17 + len(LINE))))
    await asyncio.sleep(0)
    engine.finish(engine.runs[-1][1])
    assert await answer == [".close()"] and len(engine.asked) == 1


async def test_joining_a_run_ahead_that_has_nothing_to_say_starts_no_other() -> None:
    engine = Engine(lambda request: "" if request.prefix.endswith(LINE) else LINE)
    user = Typing(engine, settings=Settings())
    (shown,) = await user.complete(END)
    engine.held = True
    await until(lambda: len(engine.ahead) == 1)
    user.insert(shown.text, END)
    answer = asyncio.ensure_future(user.texts(at(17 + len(LINE))))
    await asyncio.sleep(0)
    engine.finish(engine.runs[-1][1])
    assert await answer == [] and len(engine.asked) == 1
    assert user.service.counts.prefetches_used == 1


async def test_where_nothing_comes_after_it_the_next_line_is_computed_ahead() -> None:
    def say(request: CompleteRequest) -> str:
        if request.prefix.endswith("\n        "):
            return "file.close()"
        return "" if request.prefix.endswith(LINE) else LINE

    engine = Engine(say)
    user = Typing(engine, settings=Settings())
    (shown,) = await user.complete(END)
    await until(lambda: len(engine.ahead) == 2)
    await until(lambda: engine.runs[-1][1].done)
    user.insert(shown.text, END)
    assert await user.texts(at(17 + len(LINE))) == []
    user.insert("\n        ", at(17 + len(LINE)))
    assert await user.texts(at(8, 3)) == ["file.close()"]
    assert len(engine.asked) == 1


async def test_anything_else_that_the_user_does_stops_what_is_computed_ahead() -> None:
    engine = Engine(say_then_next)
    user = Typing(engine, settings=Settings())
    await user.complete(END)
    engine.held = True
    await until(lambda: len(engine.ahead) == 1)
    user.insert("x", Position(0, 0))
    assert engine.runs[-1][1].done
    assert user.service.counts.prefetches_used == 0


async def test_nothing_is_computed_ahead_while_a_suggestion_is_typed_through() -> None:
    engine = Engine(say_then_next)
    user = Typing(engine, settings=Settings())
    await user.complete(END)
    for n, key in enumerate(LINE[:5]):
        user.insert(key, at(17 + n))
        await user.complete(at(18 + n))
    assert engine.ahead == []
    await until(lambda: len(engine.ahead) == 1)
    assert engine.ahead[0].prefix.endswith(LINE)
