"""Stacks in a running engine: folded, kept loaded, and never answering for one another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gguf_maker import make_adapter
from neuralforge_adapters.base import Base
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedStack, StackEntry, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.llama import LlamaEngine
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    Completion,
    LoadRequest,
    stack_request,
)
from neuralforge_server.engine.stacks import KEPT_STACKS
from neuralforge_server.engine.stop import StopFlag
from neuralforge_server.engine.stopping import StopRules
from neuralforge_server.errors import EngineError

PREFIX = '''import json


class Config:
    """Settings that are kept in a file."""

    def load(self):
        with open(self.path) as file:
            self.'''
SUFFIX = "\n\n    def save(self):\n        pass\n"


@pytest.fixture
def engine(base: Base) -> Iterator[EngineClient]:
    with EngineClient(base) as client:
        yield client


def ask(engine: EngineClient, **options: object) -> Completion:
    options = {"max_tokens": 24, "rules": StopRules(3)} | options
    return engine.complete(CompleteRequest(PREFIX, SUFFIX, **options))  # type: ignore[arg-type]


def stack_of(home: Home, base: Base, *paths: Path, scale: float = 1.0) -> ResolvedStack:
    return resolve([StackEntry(str(p), scale) for p in paths], AdapterStore(home), base.digest)


@pytest.fixture
def adapters(tmp_path: Path) -> list[Path]:
    return [make_adapter(tmp_path / f"{n}.gguf", seed=n, strength=0.2) for n in range(4)]


def test_complaint_llama_cpp_26207_keys_and_values_are_never_reused_across_adapters(
    engine: EngineClient, base: Base, home: Home, adapters: list[Path]
) -> None:
    """Each stack, met in any order with a warm cache, answers as it does from a cold start.

    One line, with its likelihood: sums depend on the shape of a batch, and behind a near tie a
    long text of a random adapter goes its own way.
    """
    stacks = [ResolvedStack(), *(stack_of(home, base, path) for path in adapters[:3])]
    cold = []
    for stack in stacks:
        with EngineClient(base) as fresh:
            fresh.set_stack(stack)
            cold.append(ask(fresh, rules=StopRules(1)))
    assert len({c.text for c in cold}) > 1, "the adapters change nothing: this proves nothing"
    for position in (0, 1, 2, 3, 1, 0, 3, 2):
        engine.set_stack(stacks[position])
        warm = ask(engine, rules=StopRules(1))
        assert warm.text == cold[position].text
        assert warm.mean_logprob == pytest.approx(cold[position].mean_logprob, abs=0.05)
        assert warm.stack == stacks[position].digest


def test_complaint_vllm_42125_a_changed_adapter_under_the_same_name_starts_anew(
    engine: EngineClient, base: Base, home: Home, tmp_path: Path
) -> None:
    path = make_adapter(tmp_path / "mine.gguf", seed=1, strength=0.2)
    engine.set_stack(stack_of(home, base, path))
    before = ask(engine)
    make_adapter(path, seed=2, strength=0.2)
    engine.set_stack(stack_of(home, base, path))
    after = ask(engine)
    assert after.cached_tokens == 0
    with EngineClient(base) as cold:
        cold.set_stack(stack_of(home, base, path))
        assert ask(cold).text == after.text != before.text


def test_even_under_the_same_digest_a_changed_file_starts_anew(base: Base, tmp_path: Path) -> None:
    engine = LlamaEngine(LoadRequest(str(base.path), base.digest, 512, 1), StopFlag())
    path = make_adapter(tmp_path / "mine.gguf", seed=1, strength=0.2)
    request = CompleteRequest(PREFIX, SUFFIX, max_tokens=24)
    engine.set_stack([(str(path), 1.0)], "same")
    engine.complete(request, lambda _: None)
    make_adapter(path, seed=2, strength=0.2)
    os.utime(path, ns=(1, 1))
    engine.set_stack([(str(path), 1.0)], "same")
    assert engine.complete(request, lambda _: None).cached_tokens == 0


def test_a_swap_back_finds_its_cache_again(
    engine: EngineClient, base: Base, home: Home, adapters: list[Path]
) -> None:
    one, two = stack_of(home, base, adapters[0]), stack_of(home, base, *adapters[:2])
    engine.set_stack(one)
    first = ask(engine)
    engine.set_stack(two)
    assert ask(engine).cached_tokens == 0
    engine.set_stack(one)
    again = ask(engine)
    assert again.cached_tokens > 0 and again.evaluated_tokens < first.evaluated_tokens
    assert again.text == first.text


def test_the_order_of_a_stack_changes_neither_text_nor_figures(
    engine: EngineClient, base: Base, home: Home, adapters: list[Path]
) -> None:
    answers = []
    for paths in (adapters, adapters[::-1], [adapters[n] for n in (2, 0, 3, 1)]):
        engine.set_stack(stack_of(home, base, *paths, scale=0.6))
        answers.append(ask(engine, evaluation=True))
    assert len({(a.text, a.mean_logprob) for a in answers}) == 1
    assert len({a.stack for a in answers}) == 3, "which are three stacks for everybody else"


def test_a_request_may_name_a_stack_that_was_put_in_force_before(
    engine: EngineClient, base: Base, home: Home, adapters: list[Path]
) -> None:
    one, two = stack_of(home, base, adapters[0]), stack_of(home, base, adapters[1])
    plain = ask(engine)
    engine.set_stack(one)
    first = ask(engine)
    engine.set_stack(two)
    assert ask(engine, stack=one.digest).text == first.text
    assert ask(engine, stack=ResolvedStack().digest).text == plain.text
    assert ask(engine).stack == two.digest


def test_a_stack_that_is_not_loaded_is_refused_with_what_to_do(engine: EngineClient) -> None:
    with pytest.raises(EngineError, match="0123456789abcdef is not loaded any more; put it"):
        ask(engine, stack="0123456789abcdef")


def test_the_stack_put_in_force_longest_ago_is_unloaded_first(base: Base, tmp_path: Path) -> None:
    engine = LlamaEngine(LoadRequest(str(base.path), base.digest, 512, 1), StopFlag())
    path = str(make_adapter(tmp_path / "a.gguf"))
    for number in range(KEPT_STACKS + 1):
        engine.set_stack([(path, 1.0 + number / 10)], str(number))
    request = CompleteRequest(PREFIX, SUFFIX, max_tokens=1, stack="1")
    assert engine.complete(request, lambda _: None).stack == "1"
    with pytest.raises(Exception, match="0 is not loaded"):
        engine.complete(CompleteRequest(PREFIX, SUFFIX, stack="0"), lambda _: None)


def test_a_folded_stack_leaves_no_file_behind(
    base: Base, home: Home, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    engine = LlamaEngine(LoadRequest(str(base.path), base.digest, 512, 1), StopFlag())
    request = stack_request(stack_of(home, base, *adapters))
    engine.set_stack(request.adapters, request.digest)
    assert engine.complete(CompleteRequest(PREFIX, SUFFIX), lambda _: None).stack == request.digest
    assert list(folder.iterdir()) == []


def test_a_stack_with_one_bad_adapter_leaves_the_old_one_with_its_cache(
    engine: EngineClient, base: Base, home: Home, adapters: list[Path], tmp_path: Path
) -> None:
    good = stack_of(home, base, *adapters[:2])
    engine.set_stack(good)
    ask(engine)
    bad = make_adapter(tmp_path / "bad.gguf", spoil=float("nan"))
    with pytest.raises(AdapterError, match=r"bad\.gguf"):
        engine.set_stack(stack_of(home, base, adapters[0], bad))
    again = ask(engine)
    assert again.stack == good.digest and again.cached_tokens > 0
