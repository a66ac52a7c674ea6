"""The engine on real llama.cpp and the embedded base: prompts, cache, stacks, stops."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gguf_maker import make_adapter, make_base
from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedStack, StackEntry, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest, Completion, ScoreRequest
from neuralforge_server.engine.stopping import StopRules
from neuralforge_server.errors import EngineError

SOURCE = '''import json


class Config:
    """Settings that are kept in a file."""

    def __init__(self, path, data):
        self.path = path
        self.data = data

    def load(self):
        with open(self.path) as file:
            self.data = json.load(file)

    def save(self):
        with open(self.path, "w") as file:
            json.dump(self.data, file)
'''
CUTS = [SOURCE.index("self.data = data") + n for n in (0, 5, 9, 12)] + [
    SOURCE.index("json.load") + 3,
    SOURCE.index("json.dump") + 6,
    SOURCE.index('"w"'),
]


@pytest.fixture
def engine(base: Base) -> Iterator[EngineClient]:
    with EngineClient(base) as client:
        yield client


def at(cut: int, **options: object) -> CompleteRequest:
    return CompleteRequest(SOURCE[:cut], SOURCE[cut:], **options)  # type: ignore[arg-type]


def texts(engine: EngineClient) -> list[str]:
    """Outputs in evaluation mode, several lines each, so that differences have room to show."""
    requests = [at(cut, evaluation=True, rules=StopRules(3), max_tokens=40) for cut in CUTS]
    return [engine.complete(request).text for request in requests]


def stack_of(home: Home, base: Base, *paths: Path, scale: float = 1.0) -> ResolvedStack:
    entries = [StackEntry(str(path), scale) for path in paths]
    return resolve(entries, AdapterStore(home), base.digest)


def test_completes_the_rest_of_a_line_and_stops_at_its_end(engine: EngineClient) -> None:
    completion = engine.complete(at(CUTS[4]))
    assert completion.text and "\n" not in completion.text
    assert completion.stop == "line"


@pytest.mark.parametrize(("typed", "rest"), [("json.lo", "ad"), ("json.du", "mp"), ("jso", "n")])
def test_token_healing_goes_on_from_the_middle_of_a_word(
    engine: EngineClient, typed: str, rest: str
) -> None:
    prefix = f"import os\nimport json\n\nwith open(path) as file:\n    data = {typed}"
    assert engine.complete(CompleteRequest(prefix, "\n")).text.startswith(rest)


@pytest.mark.parametrize("text", ["größe = 'añ", "名前 = '日", "x = '🎉", "\t", "", "a" * 5000])
def test_any_text_before_the_cursor_gets_an_answer(engine: EngineClient, text: str) -> None:
    completion = engine.complete(CompleteRequest(text, ""))
    assert "\ufffd" not in completion.text
    assert completion.stop in ("line", "end", "length", "constraint")


def test_evaluation_mode_gives_the_same_tokens_whatever_came_before(engine: EngineClient) -> None:
    first = texts(engine)
    for cut in (40, 200, 90):
        engine.complete(at(cut))
    assert texts(engine) == first


def test_a_keystroke_evaluates_only_what_is_new(engine: EngineClient) -> None:
    """Suffix first: what stands before the cursor stays cached, by llama.cpp's own counters."""
    start = SOURCE.index("self.data = json")
    engine.complete(at(start, max_tokens=1))
    for cut in range(start + 1, start + 12):
        completion = engine.complete(CompleteRequest(SOURCE[:cut], SOURCE[start:], max_tokens=1))
        assert completion.cached_tokens > 0
        assert completion.evaluated_tokens <= 6, f"at {SOURCE[:cut][-12:]!r}"


def test_generated_tokens_that_the_user_typed_stay_cached(engine: EngineClient) -> None:
    first = engine.complete(at(CUTS[0]))
    typed = CompleteRequest(SOURCE[: CUTS[0]] + first.text[:4], SOURCE[CUTS[0] :], max_tokens=1)
    assert engine.complete(typed).evaluated_tokens <= 3


def test_swapped_stack_equals_a_cold_start_and_back_again(
    engine: EngineClient, base: Base, home: Home, tmp_path: Path
) -> None:
    one = make_adapter(tmp_path / "one.gguf", seed=1, strength=0.2)
    two = make_adapter(tmp_path / "two.gguf", seed=2, strength=0.2)
    stacks = [stack_of(home, base, one), stack_of(home, base, one, two, scale=0.5)]
    plain, warm = texts(engine), []
    for stack in stacks:
        engine.set_stack(stack)
        warm.append(texts(engine))
    engine.set_stack(ResolvedStack())
    assert texts(engine) == plain
    for stack, swapped in zip(stacks, warm, strict=True):
        with EngineClient(base) as cold:
            cold.set_stack(stack)
            assert texts(cold) == swapped
    assert plain != warm[0] != warm[1], "the adapters change nothing: the test proves nothing"


def test_swap_within_typing_is_not_contaminated_by_the_cache(
    engine: EngineClient, base: Base, home: Home, tmp_path: Path
) -> None:
    """The cache of the old stack must not answer for the new one (llama.cpp#26207)."""
    stack = stack_of(home, base, make_adapter(tmp_path / "a.gguf", strength=0.2))
    request = at(CUTS[2], rules=StopRules(3))
    before = engine.complete(request)
    engine.set_stack(stack)
    swapped = engine.complete(request)
    assert swapped.cached_tokens == 0
    assert (before.stack, swapped.stack) == (ResolvedStack().digest, stack.digest)
    with EngineClient(base) as cold:
        cold.set_stack(stack)
        assert cold.complete(request).text == swapped.text


def test_scale_changes_live_and_zero_is_the_base(
    engine: EngineClient, base: Base, home: Home, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path / "a.gguf", strength=0.2)
    plain = texts(engine)
    engine.set_stack(stack_of(home, base, adapter, scale=1.0))
    full = texts(engine)
    engine.set_stack(stack_of(home, base, adapter, scale=0.0))
    assert texts(engine) == plain != full


def test_swap_takes_at_most_twenty_milliseconds_without_reloading(
    engine: EngineClient, base: Base, home: Home, tmp_path: Path
) -> None:
    """A generous multiple of the benchmark's 20 ms: this guards the mechanism, not the figure."""
    stack = stack_of(home, base, make_adapter(tmp_path / "a.gguf", rank=16))
    started = time.perf_counter()
    engine.set_stack(stack)
    assert time.perf_counter() - started < 0.2


@pytest.mark.parametrize("spoil", [np.nan, np.inf, -np.inf])
def test_adapter_with_a_number_that_is_not_finite_is_refused_and_the_old_stack_stays(
    engine: EngineClient, base: Base, home: Home, tmp_path: Path, spoil: float
) -> None:
    good = stack_of(home, base, make_adapter(tmp_path / "good.gguf", strength=0.2))
    engine.set_stack(good)
    served = texts(engine)
    bad = make_adapter(tmp_path / "bad.gguf", spoil=spoil)
    with pytest.raises(AdapterError, match="bad"):
        engine.set_stack(stack_of(home, base, bad))
    assert texts(engine) == served
    assert engine.complete(at(CUTS[0])).stack == good.digest


def test_adapter_for_another_base_is_refused_by_digest(
    engine: EngineClient, base: Base, home: Home, tmp_path: Path
) -> None:
    other = make_adapter(tmp_path / "other.gguf", base_digest="0" * 64)
    with pytest.raises(AdapterError, match="base"):
        engine.set_stack(stack_of(home, base, other))


def test_adapter_cut_off_anywhere_is_refused(
    engine: EngineClient, base: Base, home: Home, tmp_path: Path
) -> None:
    whole = make_adapter(tmp_path / "whole.gguf").read_bytes()
    for length in (0, 3, 20, 200, len(whole) // 2, len(whole) - 1):
        cut = tmp_path / f"cut{length}.gguf"
        cut.write_bytes(whole[:length])
        with pytest.raises(AdapterError):
            engine.set_stack(stack_of(home, base, cut))
    assert engine.complete(at(CUTS[0])).text, "the engine lives on"


def test_score_prefers_what_was_written(engine: EngineClient) -> None:
    cut = SOURCE.index("self.data = data")
    right = engine.score(ScoreRequest(SOURCE[:cut], SOURCE[cut:], "self.data = data"))
    wrong = engine.score(ScoreRequest(SOURCE[:cut], SOURCE[cut:], "lambda: banana[7] ^ 3"))
    assert right.nll / right.tokens < wrong.nll / wrong.tokens


def test_score_agrees_with_the_probabilities_of_its_own_generation(engine: EngineClient) -> None:
    completion = engine.complete(at(CUTS[0], evaluation=True))
    score = engine.score(ScoreRequest(SOURCE[: CUTS[0]], SOURCE[CUTS[0] :], completion.text))
    generated = completion.generated_tokens - 1  # without the token that ended the line
    assert completion.mean_logprob is not None
    assert score.tokens == generated
    assert -score.nll / score.tokens == pytest.approx(completion.mean_logprob, abs=0.35)


def test_deadline_answers_with_what_there_is(engine: EngineClient) -> None:
    completion = engine.complete(at(CUTS[0], rules=StopRules(99), max_tokens=900, deadline_ms=8))
    assert completion.stop == "deadline"
    assert completion.milliseconds < 400
    assert engine.complete(at(CUTS[0])).stop == "line", "and the next request is served in full"


def test_base_without_fim_goes_left_to_right(tmp_path: Path, home: Home) -> None:
    path = make_base(tmp_path / "plain.gguf", layers=2, width=64, heads=2, kv_heads=1, hidden=128,
                     vocabulary=12288, fim=False)  # fmt: skip
    with EngineClient(open_base(path, home)) as engine:
        assert engine.info.fim_order == "left-to-right"
        one = engine.complete(at(CUTS[0], evaluation=True, max_tokens=8))
        other = engine.complete(
            CompleteRequest(SOURCE[: CUTS[0]], "something else", evaluation=True, max_tokens=8)
        )
        assert one.text == other.text, "the suffix is not shown to such a base"


def test_base_whose_card_says_nothing_gets_prefix_first(tmp_path: Path, home: Home) -> None:
    path = make_base(tmp_path / "qwen.gguf", layers=2, width=64, heads=2, kv_heads=1, hidden=128,
                     vocabulary=12400)  # fmt: skip
    with EngineClient(open_base(path, home)) as engine:
        assert engine.info.fim_order == "prefix-first"
        assert isinstance(engine.complete(at(CUTS[0], max_tokens=4)), Completion)


def damaged_bases(tmp_path: Path, whole: bytes) -> Iterator[Path]:
    contents = {
        "empty": b"",
        "text": b"this is no model\n" * 50,
        "header-only": whole[:24],
        "cut-in-metadata": whole[: 24 + 4000],
        "cut-in-tensors": whole[: len(whole) // 2],
        "huge-counts": whole[:8] + b"\xff" * 16 + whole[24:],
        "huge-string": whole[:24] + b"\xff" * 8 + whole[32:],
        "old-version": whole[:4] + b"\x01\0\0\0" + whole[8:],
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        yield path


def test_damaged_and_hostile_bases_are_named_not_fatal(
    tmp_path: Path, base: Base, home: Home
) -> None:
    for path in damaged_bases(tmp_path, base.path.read_bytes()):
        with pytest.raises(Exception, match=path.stem) as caught:
            EngineClient(open_base(path, home))
        assert caught.type.__name__ in ("BaseFileError", "EngineError"), path.stem


def test_engine_that_was_killed_raises_and_says_so(engine: EngineClient) -> None:
    import psutil

    psutil.Process(engine.pid).kill()
    with pytest.raises(EngineError, match="ended"):
        engine.complete(at(CUTS[0]))


def test_typing_with_a_warm_cache_agrees_with_a_cold_start(engine: EngineClient) -> None:
    """Batch shapes differ, so sums differ in their last bits: the first token may not (99 %)."""
    source = Path(json.__file__).read_text("utf-8")
    rest = source[2200:]
    cuts = range(2000, 2200)
    warm = [
        engine.complete(CompleteRequest(source[800:cut], rest[:300], max_tokens=6)).text
        for cut in cuts
    ]
    cold = [
        engine.complete(
            CompleteRequest(source[800:cut], rest[:300], max_tokens=6, evaluation=True)
        ).text
        for cut in cuts
    ]
    agreeing = sum(a[:1] == b[:1] for a, b in zip(warm, cold, strict=True))
    assert agreeing >= 0.99 * len(cuts)
