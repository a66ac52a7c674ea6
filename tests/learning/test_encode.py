"""What the trainer learns from is what the engine serves, token for token."""

from __future__ import annotations

import inspect
import random
import struct
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from gguf_maker import make_base
from neuralforge_adapters import fim, store
from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.base_facts import read_facts
from neuralforge_adapters.fim import Window, heal
from neuralforge_adapters.fim_families import named_fim
from neuralforge_adapters.gguf_header import read_gguf_header
from neuralforge_adapters.home import Home
from neuralforge_server.engine.vocabulary import Vocabulary as EngineVocabulary
from neuralforge_trainer.errors import BaseNotTrainableError
from neuralforge_trainer.learn.encode import Encoder
from neuralforge_trainer.learn.lora import load_base
from neuralforge_trainer.learn.plan import plan
from neuralforge_trainer.learn.vocabulary import Vocabulary, load_vocabulary
from neuralforge_trainer.samples.sample import Sample

TEXTS = [
    "",
    " ",
    "\n\n\t\tif x:\r\n    return 'ä€😀'  # ½ ２\x0c",
    "<|endoftext|><|fim_prefix|>not special here<|fim_middle|>",
    "don't I'LL 12345 __init__ foo.bar(baz=1)\u2028next",
    inspect.getsource(fim),
    inspect.getsource(store),
]


@contextmanager
def served(base: Base) -> Iterator[EngineVocabulary]:
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(base.path).encode(), parameters)
    named = named_fim(read_gguf_header(base.path).metadata)  # as the engine does
    yield EngineVocabulary(llama_cpp.llama_model_get_vocab(model), named)
    llama_cpp.llama_model_free(model)


@pytest.fixture(scope="module")
def engine_vocabulary(shared_base: Base) -> Iterator[EngineVocabulary]:
    with served(shared_base) as vocabulary:
        yield vocabulary


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_those_of_llama_cpp(
    text: str, vocabulary: Vocabulary, engine_vocabulary: EngineVocabulary
) -> None:
    assert vocabulary.encode(text) == engine_vocabulary.tokenize(text)


def test_special_tokens_equal_those_of_llama_cpp(
    vocabulary: Vocabulary, engine_vocabulary: EngineVocabulary
) -> None:
    assert vocabulary.fim == engine_vocabulary.fim
    assert vocabulary.end in engine_vocabulary.end_tokens
    assert vocabulary.order == "suffix-first"


def test_no_tensor_of_the_base_is_missing(shared_base: Base) -> None:
    model = load_base(shared_base)
    in_file = sum(prod(t.shape) for t in read_gguf_header(shared_base.path).tensors)
    assert sum(p.numel() for p in model.parameters()) == in_file
    assert not any(p.requires_grad for p in model.parameters())


def test_a_base_that_transformers_cannot_read_is_named(tmp_path: Path, home: Home) -> None:
    content = bytearray(open_base(None, home).path.read_bytes())
    at = content.index(b"qwen2")
    content[at : at + 5] = b"qwenX"
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(content)
    with pytest.raises(BaseNotTrainableError, match=r"strange\.gguf can be served but not trained"):
        load_base(open_base(strange, home))


def test_a_base_whose_tokens_were_moved_is_not_trained(tmp_path: Path, home: Home) -> None:
    """Its FIM tokens stand elsewhere than its metadata says."""
    content = bytearray(open_base(None, home).path.read_bytes())
    at = content.index(b"tokenizer.ggml.fim_mid_token_id") + len("tokenizer.ggml.fim_mid_token_id")
    content[at + 4 : at + 8] = (17).to_bytes(4, "little")
    moved = tmp_path / "moved.gguf"
    moved.write_bytes(content)
    with pytest.raises(BaseNotTrainableError, match="FIM token for the middle"):
        load_vocabulary(open_base(moved, home), home)


def of_2023(path: Path) -> Path:
    """A base that names its FIM tokens by the old keys alone, and spells them as no family does."""

    def stored(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + text.encode()

    make_base(path, layers=1, width=64, heads=2, kv_heads=1, hidden=64, vocabulary=12_288)
    content = path.read_bytes()
    for new, old in (("fim_pre", "prefix"), ("fim_suf", "suffix"), ("fim_mid", "middle")):
        key = "tokenizer.ggml.{}_token_id".format
        content = content.replace(stored(key(new)), stored(key(old)))
        content = content.replace(f"<|fim_{old}|>".encode(), f"<|xyz_{old}|>".encode())
    path.write_bytes(content.replace(stored("random"), stored("random..."), 1))  # nothing may move
    return path


def test_fim_tokens_named_by_the_keys_of_2023_are_those_of_llama_cpp(
    tmp_path: Path, home: Home
) -> None:
    base = open_base(of_2023(tmp_path / "old.gguf"), home)
    vocabulary = load_vocabulary(base, home)
    with served(base) as engine:
        assert vocabulary.fim == engine.fim and engine.fim.complete
    assert vocabulary.order == read_facts(base.path).order == "prefix-first"


def test_the_cached_tokenizer_is_the_converted_one(shared_base: Base, home: Home) -> None:
    fresh = load_vocabulary(shared_base, home)
    cached = load_vocabulary(shared_base, home)
    assert len(list((home.cache / "tokenizers").iterdir())) == 1
    assert [cached.encode(t) for t in TEXTS] == [fresh.encode(t) for t in TEXTS]


def _cut(text: str, seed: int) -> Sample:
    source = random.Random(seed)
    start = source.randrange(len(text) - 40)
    end = text.find("\n", start + 1)
    return Sample(text[:start], text[start:end], text[end:], "python", "a.py", "r", 0.0, "git")


def _served_prompt(engine: Any, sample: Sample, room: int) -> list[int]:
    """The engine's own prompt, built by its own code, without a model."""
    from neuralforge_server.engine.prompt import Prompts
    from neuralforge_server.engine.protocol import Surroundings

    prefix, suffix = Window().cut_text(sample.prefix, sample.suffix)
    prompts = Prompts(engine, "suffix-first", room)
    return prompts.make(heal(prefix)[0], suffix, Surroundings(), 0).tokens


@pytest.mark.parametrize("seed", range(25))
def test_a_sample_is_laid_out_as_the_engine_serves_it(
    seed: int, vocabulary: Vocabulary, engine_vocabulary: EngineVocabulary
) -> None:
    sample = _cut(inspect.getsource(store), seed)
    encoded = Encoder(vocabulary, tokens=4096).encode(sample)
    assert encoded is not None
    target = [t for t, w in zip(encoded.ids, encoded.weights, strict=True) if w]
    prompt = list(encoded.ids[: -len(target)])
    assert prompt == _served_prompt(engine_vocabulary, sample, 4096)
    healed = heal(sample.prefix)[1]
    assert target[:-1] == engine_vocabulary.tokenize(healed + sample.middle)
    assert target[-1] == vocabulary.end


@pytest.mark.parametrize("seed", range(10))
def test_a_long_sample_is_cut_at_its_far_ends(seed: int, vocabulary: Vocabulary) -> None:
    sample = _cut(inspect.getsource(store), seed)
    whole = Encoder(vocabulary, tokens=4096).encode(sample)
    short = Encoder(vocabulary, tokens=128).encode(sample)
    assert whole is not None
    assert short is not None
    assert len(short) <= 128
    middle = short.ids.index(vocabulary.fim.middle)
    tail = short.ids[middle + 1 :]
    assert whole.ids[-len(tail) :] == tail
    assert sum(w > 0 for w in short.weights) == sum(w > 0 for w in whole.weights)


def test_a_middle_without_room_for_context_is_left_out(vocabulary: Vocabulary) -> None:
    sample = Sample("x = ", "[" + "1, 2, 3, " * 50 + "]", "\n", "python", "a.py", "r", 0.0, "git")
    assert Encoder(vocabulary, tokens=128).encode(sample) is None


def test_prefix_weight_falls_on_the_prefix_alone(vocabulary: Vocabulary) -> None:
    code = textwrap.dedent("def f():\n    first = 1\n    return fir")
    sample = Sample(code, "st", "\n\nrest = 2\n", "python", "a.py", "r", 0.0, "git")
    encoded = Encoder(vocabulary, 256, prefix_weight=0.25).encode(sample)
    assert encoded is not None
    middle = encoded.ids.index(vocabulary.fim.middle)
    assert set(encoded.weights[: middle + 1]) == {0.0}
    assert set(encoded.weights[middle + 1 :]) == {0.25, 1.0}


def test_every_epoch_takes_every_example_once() -> None:
    lengths = [random.Random(3).randrange(10, 300) for _ in range(101)]
    order = plan(lengths, batch=4, epochs=3, seed=5)
    for epoch in range(3):
        assert sorted(order[101 * epoch : 101 * (epoch + 1)]) == list(range(101))
    assert order == plan(lengths, batch=4, epochs=3, seed=5)
    assert order[:101] != order[101:202]
    assert order != plan(lengths, batch=4, epochs=3, seed=6)


def test_batches_hold_examples_of_like_length() -> None:
    lengths = [random.Random(3).randrange(10, 300) for _ in range(400)]
    order = plan(lengths, batch=4, epochs=1, seed=0)
    batches = [[lengths[i] for i in order[s : s + 4]] for s in range(0, 400, 4)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)
