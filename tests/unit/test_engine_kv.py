"""The KV cache's book-keeping against llama.cpp's own, on a tiny base with random weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_maker import make_base
from neuralforge_server.engine.evaluate import ChunkSize, Logits, StoppedError
from neuralforge_server.engine.kv import LEAST_MOVED, KvCache, common_length, plan_reuse
from neuralforge_server.engine.llama import LlamaEngine, kept_sequences
from neuralforge_server.engine.protocol import LoadRequest
from neuralforge_server.engine.stop import StopFlag

CONTEXT = 256
FRONT = list(range(300, 340))
"""What several prompts begin with."""


@dataclasses.dataclass
class Rig:
    """An engine's cache and evaluator, used without its prompts."""

    engine: LlamaEngine
    stop: StopFlag

    @property
    def kv(self) -> KvCache:
        return self.engine._kv

    def ask(self, stack: int, prompt: list[int], *, shift: bool = True) -> tuple[int, Logits]:
        """Tokens reused, and the logits after the prompt."""
        sequence = self.kv.open(stack, prompt, shift=shift)
        assert sequence.stack == stack
        assert sequence.tokens == prompt[: len(sequence.tokens)] and sequence.tokens != prompt
        reused = len(sequence.tokens)
        return reused, self.engine._evaluator.prompt(sequence, prompt).copy()

    def check(self) -> None:
        """Every sequence holds, for llama.cpp, positions 0 to its length."""
        memory = llama_cpp.llama_get_memory(self.engine._context)
        for sequence in self.kv.sequences:
            last = llama_cpp.llama_memory_seq_pos_max(memory, sequence.number)
            assert last + 1 == len(sequence.tokens)
            if sequence.tokens:
                assert llama_cpp.llama_memory_seq_pos_min(memory, sequence.number) == 0


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    path = make_base(tmp_path_factory.mktemp("base") / "tiny.gguf", layers=2, width=64, heads=2,
                     kv_heads=1, hidden=128, vocabulary=12288)  # fmt: skip
    stop = StopFlag()
    return Rig(LlamaEngine(LoadRequest(str(path), "0" * 64, CONTEXT, 1, batch=64), stop), stop)


@pytest.fixture(autouse=True)
def _empty(rig: Rig) -> Iterator[None]:
    yield
    for sequence in rig.kv.sequences:
        sequence.clear()


def close(first: Logits, second: Logits) -> bool:
    """Equal but for the last bits, which depend on the shape of the batches."""
    return bool(np.abs(first - second).max() <= 0.03 * np.ptp(first))


def numbers(seed: int, count: int) -> list[int]:
    return [int(n) for n in np.random.default_rng(seed).integers(1000, 9000, count)]


PROMPTS = st.builds(
    lambda front, seed, length: [*(FRONT if front else []), *numbers(seed, 150)[:length]],
    st.booleans(), st.integers(0, 4), st.integers(2, 150),
)  # fmt: skip
REQUESTS = st.lists(st.tuples(st.integers(0, 2), PROMPTS), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(REQUESTS)
def test_any_requests_leave_the_books_as_llama_cpp_has_them_and_answer_as_a_cold_start(
    rig: Rig, requests: list[tuple[int, list[int]]]
) -> None:
    for stack, prompt in requests:
        _, warm = rig.ask(stack, prompt, shift=False)
        rig.check()
        assert close(warm, rig.engine.logits(prompt))
        rig.check()


@settings(max_examples=40, deadline=None)
@given(REQUESTS, st.lists(st.integers(0, 160), min_size=1, max_size=4))
def test_moved_chunks_keep_the_books_right(
    rig: Rig, requests: list[tuple[int, list[int]]], cuts: list[int]
) -> None:
    for stack, prompt in requests:
        rig.ask(stack, prompt)
        for cut in cuts:
            rig.ask(stack, prompt[:30] + prompt[30 + cut :] + [7])
            rig.check()


def test_typing_takes_the_sequence_that_it_took_before(rig: Rig) -> None:
    prompt = numbers(1, 100)
    rig.ask(0, prompt)
    assert rig.ask(0, [*prompt, 5])[0] == 100
    assert rig.ask(0, [*prompt, 6])[0] == 100
    assert sum(bool(s.tokens) for s in rig.kv.sequences) == 1


def test_another_file_takes_a_copy_of_the_common_head_and_leaves_the_first(rig: Rig) -> None:
    first, second = FRONT + numbers(1, 100), FRONT + numbers(2, 100)
    rig.ask(0, first)
    reused, warm = rig.ask(0, second)
    assert reused == len(FRONT)
    assert rig.ask(0, [*first, 5])[0] == len(first), "the first file's prompt still stands"
    assert close(warm, rig.engine.logits(second))


def test_the_least_recently_used_goes_first(rig: Rig) -> None:
    prompts = [numbers(seed, 50) for seed in range(5)]
    for prompt in prompts[:4]:
        rig.ask(0, prompt)
    rig.ask(0, prompts[0])
    rig.ask(0, prompts[4])  # takes the place of the second
    reused = [rig.ask(0, [*prompts[n], 5])[0] for n in (0, 2, 3, 4)]
    assert reused == [50] * 4
    assert rig.ask(0, prompts[1])[0] == 0


def test_nothing_is_reused_across_stacks(rig: Rig) -> None:
    prompt = numbers(1, 80)
    rig.ask(1, prompt)
    assert rig.ask(2, prompt)[0] == 0
    assert rig.ask(1, [*prompt, 5])[0] == 80, "and back again it finds its own"
    rig.kv.forget(1)
    assert rig.ask(1, prompt)[0] == 0


def test_a_chunk_that_moved_left_is_shifted_not_computed(rig: Rig) -> None:
    head, gone, rest = numbers(1, 20), numbers(2, 40), numbers(3, 100)
    rig.ask(0, [*head, *gone, *rest])
    reused, logits = rig.ask(0, [*head, *rest, 5])
    assert reused == 120
    assert np.isfinite(logits).all()
    rig.check()


def test_a_shifted_sequence_is_never_used_where_exactness_is_wanted(rig: Rig) -> None:
    head, gone, rest = numbers(1, 20), numbers(2, 40), numbers(3, 100)
    rig.ask(0, [*head, *gone, *rest])
    rig.ask(0, [*head, *rest, 5])
    assert rig.ask(0, [*head, *rest, 5, 6], shift=False)[0] == 0


def test_an_aborted_prompt_keeps_its_finished_batches_and_goes_on_exactly(rig: Rig) -> None:
    prompt, evaluator = numbers(1, 200), rig.engine._evaluator
    sequence = rig.kv.open(0, prompt)
    evaluator.prompt(sequence, prompt[:128])  # two batches
    rig.stop._byte[0] = b"\1"  # what llama.cpp sees within the third
    with pytest.raises(StoppedError):
        evaluator.prompt(sequence, prompt)
    rig.stop._byte[0] = b"\0"
    rig.check()
    reused, warm = rig.ask(0, prompt)
    assert reused == 128
    assert close(warm, rig.engine.logits(prompt))


def test_a_stop_within_a_chunk_lets_it_finish(rig: Rig) -> None:
    prompt, evaluator = numbers(1, 200), rig.engine._evaluator
    sequence = rig.kv.open(0, prompt)
    rig.stop.begin(1, None)
    with rig.stop.finishing():
        rig.stop.cancel(1)
        assert rig.stop.raised and rig.stop._byte[0] == b"\0", "llama.cpp is not told"
    with pytest.raises(StoppedError):
        evaluator.prompt(sequence, prompt)
    rig.stop.end()
    rig.stop.begin(2, None)
    rig.stop.cancel(2)
    assert rig.stop._byte[0] == b"\1", "anything longer is stopped where it is"
    rig.stop.end()
    rig.stop.begin(3, None)


@pytest.mark.parametrize(
    ("milliseconds", "tokens"), [(0.01, 256), (0.15, 256), (0.2, 128), (1.0, 32), (50.0, 16)]
)
def test_chunks_are_as_long_as_a_stop_may_wait(milliseconds: float, tokens: int) -> None:
    size = ChunkSize(256)
    assert size.tokens == 16, "while nothing is known"
    size.observe(16, 16 * milliseconds)
    size.observe(3, 900.0)  # says nothing of a chunk
    assert size.tokens == tokens
    for _ in range(20):
        size.observe(16, 16 * 0.5)
    assert size.tokens == 64, "it follows the machine's load"
    assert ChunkSize(8).tokens == 8


def test_rolling_back_drafted_tokens_leaves_no_trace(rig: Rig) -> None:
    prompt, evaluator = numbers(1, 60), rig.engine._evaluator
    sequence = rig.kv.open(0, prompt)
    evaluator.prompt(sequence, prompt)
    evaluator.extend(sequence, [3, 4, 5, 6])
    sequence.truncate(61)
    rows = evaluator.extend(sequence, [9])
    assert close(rows[0].copy(), rig.engine.logits([*prompt, 3, 9]))
    rig.check()


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60))
def test_the_plan_for_random_tokens_says_what_is_true(held: list[int], wanted: list[int]) -> None:
    plan = plan_reuse(held, wanted, shift=True)
    assert plan.common == common_length(held, wanted)
    after = list(held)
    for source, target in plan.moves:
        del after[target:source]
    assert after[: plan.reused] == wanted[: plan.reused]


def test_short_chunks_are_not_worth_a_move() -> None:
    chunk = numbers(1, LEAST_MOVED)
    held = [1, 2, 3, *chunk]
    assert plan_reuse(held, [1, *chunk], shift=True).reused == 1 + LEAST_MOVED
    assert plan_reuse(held, [1, *chunk[:-1], 8], shift=True).reused == 1
    assert plan_reuse(held, [1, *chunk], shift=False).reused == 1


@pytest.mark.parametrize(
    ("megabytes", "kept"), [(0, 4), (12, 4), (128, 4), (200, 2), (400, 1), (3000, 1)]
)
def test_a_large_cache_keeps_fewer_prompts(megabytes: int, kept: int) -> None:
    assert kept_sequences(megabytes << 20) == kept


def test_with_room_for_one_prompt_only_requests_still_take_turns(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.kv, "sequences", rig.kv.sequences[:1])
    first, second = FRONT + numbers(1, 100), FRONT + numbers(2, 100)
    for prompt in (first, second, first):
        _, warm = rig.ask(0, prompt)
        assert close(warm, rig.engine.logits(prompt))
        rig.check()


@pytest.mark.skipif(llama_cpp.llama_supports_gpu_offload(), reason="llama.cpp has a GPU here")
def test_layers_for_a_gpu_that_is_not_there_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The default asks for all layers on a GPU; attention and cache are then still a CPU's."""
    path = make_base(tmp_path_factory.mktemp("base") / "tiny.gguf", layers=2, width=64, heads=2,
                     kv_heads=1, hidden=128, vocabulary=12288)  # fmt: skip
    logits = [
        LlamaEngine(LoadRequest(str(path), "d", CONTEXT, 1, gpu_layers=layers), StopFlag()).logits(
            numbers(5, 60)
        )
        for layers in (0, -1)
    ]
    assert (logits[0] == logits[1]).all()
