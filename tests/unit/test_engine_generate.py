"""The decode loop on the embedded base: drafts, the memory's mixture, candidates, deadlines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from neuralforge_adapters.base import Base
from neuralforge_server.engine.generate import Drafter, Writer
from neuralforge_server.engine.llama import LlamaEngine
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    Completion,
    LoadRequest,
    RememberRequest,
    ScoreRequest,
    Snippet,
    Surroundings,
    WarmRequest,
)
from neuralforge_server.engine.stop import StopFlag
from neuralforge_server.engine.stopping import Stopper, StopRules

SOURCE = Path(json.__file__).read_text("utf-8")
CURSORS = range(2300, 2300 + 40 * 23, 23)
SECRET = "frobnicate_zyx(quux_level=17, mode='sideways')"


class Always:
    """Drafts so many tokens whatever it costs."""

    def __init__(self, length: int) -> None:
        self._length = length
        self.seen: list[tuple[int, int]] = []

    def length(self) -> int:
        return self._length

    def observe(self, drafted: int, accepted: int, milliseconds: float) -> None:
        assert milliseconds > 0
        self.seen.append((drafted, accepted))


@pytest.fixture
def engine(base: Base) -> LlamaEngine:
    return LlamaEngine(LoadRequest(str(base.path), base.digest, 768, 1), StopFlag())


def ask(engine: LlamaEngine, cut: int, **options: object) -> Completion:
    request = CompleteRequest(SOURCE[cut - 1200 : cut], SOURCE[cut : cut + 200], **options)  # type: ignore[arg-type]
    return engine.complete(request, lambda _: None)


def with_pace(engine: LlamaEngine, length: int) -> Always:
    pace = Always(length)
    engine._pace = pace  # type: ignore[assignment]
    return pace


def test_drafts_change_no_text_but_save_evaluations(engine: LlamaEngine) -> None:
    """Sums depend on the shape of a batch, so a few texts may differ: at most 5 %."""
    runs: list[list[Completion]] = []
    for length in (0, 5):
        pace = with_pace(engine, length)
        runs.append([ask(engine, cut, max_tokens=24, rules=StopRules(2)) for cut in CURSORS])
    same = sum(a.text == b.text for a, b in zip(*runs, strict=True))
    assert same >= 0.95 * len(CURSORS)
    accepted = sum(c.accepted_tokens for c in runs[1])
    assert sum(c.drafted_tokens for c in runs[1]) >= accepted > 0
    assert sum(c.drafted_tokens for c in runs[0]) == 0
    assert sum(a for _, a in pace.seen) == accepted
    assert sum(d for d, _ in pace.seen) == sum(c.drafted_tokens for c in runs[1])


def test_evaluation_mode_drafts_nothing(engine: LlamaEngine) -> None:
    with_pace(engine, 5)
    assert sum(ask(engine, cut, evaluation=True).drafted_tokens for cut in CURSORS[:10]) == 0


def test_rejected_drafts_leave_the_cache_as_it_was(engine: LlamaEngine) -> None:
    """Typing on after a run full of drafts gives what a cold start gives."""
    with_pace(engine, 7)
    engine._kv._can_shift = False  # a moved chunk may change a text, a draft may not
    warm = [ask(engine, cut, max_tokens=12).text for cut in CURSORS]
    cold = [ask(engine, cut, max_tokens=12, evaluation=True).text for cut in CURSORS]
    assert sum(a == b for a, b in zip(warm, cold, strict=True)) >= 0.95 * len(CURSORS)


def test_the_memory_repeats_what_was_written_a_moment_ago(engine: LlamaEngine) -> None:
    engine.remember(RememberRequest("a.py", f"def one():\n    {SECRET}\n\n" * 3))
    request = CompleteRequest("def two():\n    frobnicate_zyx(", "\n", memory=1.0)
    with_memory = engine.complete(request, lambda _: None).text
    assert with_memory.startswith("quux_level=17")
    without = CompleteRequest("def two():\n    frobnicate_zyx(", "\n")
    assert not engine.complete(without, lambda _: None).text.startswith("quux_level")
    engine.remember(RememberRequest("a.py", ""))
    assert engine.complete(request, lambda _: None).text != with_memory, "forgotten at once"


def test_scores_count_the_memory_and_the_surroundings(engine: LlamaEngine) -> None:
    prefix = "def two():\n    frobnicate_zyx("
    middle = "quux_level=17, mode='sideways')"
    shown = Surroundings("r", "b.py", (Snippet("a.py", f"{SECRET}\n{SECRET}\n"),))
    plain = engine.score(ScoreRequest(prefix, "\n", middle))
    around = engine.score(ScoreRequest(prefix, "\n", middle, around=shown))
    engine.remember(RememberRequest("a.py", f"def one():\n    {SECRET}\n\n" * 3))
    mixed = engine.score(ScoreRequest(prefix, "\n", middle, memory=1.0))
    assert mixed.tokens == plain.tokens == around.tokens
    assert mixed.nll < plain.nll and around.nll < plain.nll


def test_candidates_are_different_texts_with_the_greedy_one_first(engine: LlamaEngine) -> None:
    for cut in CURSORS[:12]:
        alone = ask(engine, cut, evaluation=True)
        several = ask(engine, cut, evaluation=True, candidates=3)
        texts = [several.text, *several.others]
        assert several.text == alone.text
        assert len({text.strip() for text in texts}) == len(texts)
        assert len(several.others) <= 2
    assert ask(engine, CURSORS[3], candidates=3).others, "there are other ways to go on"
    assert not alone.others


def test_candidates_keep_to_what_was_typed(engine: LlamaEngine) -> None:
    request = CompleteRequest("import os\nimport js", "\n", candidates=4, max_tokens=8)
    completion = engine.complete(request, lambda _: None)
    for text in (completion.text, *completion.others):
        assert not text.startswith((" ", "\n"))
        assert text.startswith("on") or text[:1].isidentifier()


def test_a_warmed_prompt_is_found_cached(engine: LlamaEngine) -> None:
    prefix, suffix = SOURCE[1000:2200], SOURCE[2200:2400]
    engine.warm(WarmRequest(prefix, suffix))
    completion = engine.complete(CompleteRequest(prefix, suffix, max_tokens=1), lambda _: None)
    assert completion.evaluated_tokens <= 1
    assert completion.cached_tokens > 200


@pytest.mark.parametrize(
    ("pieces", "text", "broken"),
    [
        ((b"a", b"\xf0\x9f", b"\x8e\x89", b"b"), "a\N{PARTY POPPER}b", False),
        ((b"a\xf0\x9f", b"b"), "a", True),  # a character that is not gone on with
        ((b"ab", b"\x8e\x89!'"), "ab", True),  # one without its beginning
        ((b"\xff",), "", True),
    ],
)
def test_bytes_that_no_text_has_end_it(pieces: Sequence[bytes], text: str, broken: bool) -> None:
    said: list[str] = []
    writer = Writer(b"", Stopper(StopRules(9)), said.append)
    complete = [writer.add(piece) for piece in pieces]
    assert writer.text == "".join(said) == text
    assert complete == [*(False for _ in pieces[1:]), broken]


def writer_of(text: str) -> Writer:
    writer = Writer(b"", Stopper(StopRules(9)), lambda _: None)
    writer.text = text
    return writer


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a = 1\nb = ", "a = 1"),
        ("a = 1\r\nb = ", "a = 1"),
        ("a = 1\n  b = 2\n", "a = 1\n  b = 2"),
        ("only one li", "only one li"),
        ("\n    half a li", "\n    half a li"),
    ],
)
def test_an_unfinished_line_is_dropped_where_a_whole_one_stands(text: str, kept: str) -> None:
    writer = writer_of(text)
    writer.drop_unfinished_line()
    assert writer.text == kept


@pytest.mark.parametrize("limit", range(6, 40, 3))
def test_a_text_that_ran_out_of_tokens_holds_whole_lines(engine: LlamaEngine, limit: int) -> None:
    prefix = "VALUES = {\n    'a': 1,\n    'b': 2,\n    'c': 3,\n"
    request = CompleteRequest(prefix, "", rules=StopRules(30), max_tokens=limit, evaluation=True)
    whole = CompleteRequest(prefix, "", rules=StopRules(30), max_tokens=120, evaluation=True)
    short, long = (engine.complete(r, lambda _: None) for r in (request, whole))
    if short.stop == "length" and "\n" in short.text:
        assert long.text.startswith(short.text + "\n")


class Scripted:
    """A memory that drafts what it is told."""

    def __init__(self, *drafts: Sequence[int]) -> None:
        self._drafts = [list(draft) for draft in drafts]

    def draft(self, limit: int) -> list[int]:
        return self._drafts.pop(0)[:limit]


def test_the_pace_hears_of_each_draft_once() -> None:
    pace = Always(3)
    drafter = Drafter(Scripted([1, 2, 3], [4]), pace)  # type: ignore[arg-type]
    assert drafter.propose(9) == [1, 2, 3]
    drafter.evaluated(3, 1.0)
    drafter.accepted += 2
    assert drafter.propose(9) == [4]
    drafter.evaluated(1, 1.0)
    drafter.settle()
    drafter.settle()
    assert pace.seen == [(3, 2), (1, 0)]
    assert drafter.propose(0) == []
