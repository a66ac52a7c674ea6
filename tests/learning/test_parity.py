"""torch and llama.cpp agree on a trained adapter: what was trained is what is served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from gguf.constants import GGUFValueType
from gguf.quants import dequantize

from neuralforge_adapters.base import Base
from neuralforge_server.engine.llama import LlamaEngine
from neuralforge_server.engine.protocol import LoadRequest
from neuralforge_server.engine.stop import StopFlag
from neuralforge_trainer.evaluate.general import general_samples
from neuralforge_trainer.learn.encode import Encoder, encode_all
from neuralforge_trainer.learn.lora import attach_lora, load_base
from neuralforge_trainer.learn.vocabulary import Vocabulary
from trained import Trained

PROMPTS = 600
TIE = 0.1
"""Nats between two tokens, which llama.cpp's rounding of activations may overturn."""


@dataclass(frozen=True)
class Agreement:
    top_1: float
    close: float
    """Share of prompts at which the engine's best token is torch's best, or ties with it."""
    mean_kl: float


@pytest.fixture(scope="module")
def prompts(vocabulary: Vocabulary) -> list[list[int]]:
    """Prompts without their last token's end, cut from real code."""
    encoded = encode_all(Encoder(vocabulary, tokens=128), general_samples(2 * PROMPTS, seed=5))
    return [list(example.ids[:-1]) for example in encoded[:PROMPTS]]


@pytest.fixture(scope="module")
def torch_logs(trained: Trained, shared_base: Base, prompts: list[list[int]]) -> list[torch.Tensor]:
    model = attach_lora(load_base(shared_base), 0, trained.version.path).eval()
    with torch.no_grad():
        return [
            model(input_ids=torch.tensor([p]), logits_to_keep=1).logits[0, -1].log_softmax(-1)
            for p in prompts
        ]


def _agreement(
    base: Base, adapter: Path, prompts: list[list[int]], expected: list[torch.Tensor]
) -> Agreement:
    engine = LlamaEngine(LoadRequest(str(base.path), base.digest, 256, 2), StopFlag())
    engine.set_stack([(str(adapter), 1.0)], "stack")
    same, close, divergence = [], [], []
    for prompt, wanted in zip(prompts, expected, strict=True):
        got = torch.from_numpy(engine.logits(prompt)).log_softmax(-1)
        same.append(int(got.argmax()) == int(wanted.argmax()))
        close.append(float(wanted.max() - wanted[got.argmax()]) < TIE)
        divergence.append(float((wanted.exp() * (wanted - got)).sum()))
    return Agreement(float(np.mean(same)), float(np.mean(close)), float(np.mean(divergence)))


def test_the_served_adapter_is_the_trained_one(
    trained: Trained,
    shared_base: Base,
    prompts: list[list[int]],
    torch_logs: list[torch.Tensor],
) -> None:
    found = _agreement(shared_base, trained.version.gguf, prompts, torch_logs)
    print(found)
    assert found.close >= 0.99 and found.top_1 >= 0.97
    assert found.mean_kl < 0.01


def test_without_the_bases_quantisation_they_agree_all_but_exactly(
    trained: Trained,
    shared_base: Base,
    prompts: list[list[int]],
    torch_logs: list[torch.Tensor],
    tmp_path: Path,
) -> None:
    """llama.cpp also rounds activations where weights are Q8_0; with F32 weights it does not."""
    plain = _dequantised(shared_base.path, tmp_path / "f32.gguf")
    found = _agreement(Base(plain, shared_base.digest), trained.version.gguf, prompts, torch_logs)
    print(found)
    assert found.top_1 >= 0.99
    assert found.mean_kl < 1e-4


def test_without_the_adapter_they_do_not_agree(
    shared_base: Base, prompts: list[list[int]], torch_logs: list[torch.Tensor]
) -> None:
    """The adapter changes enough for the other tests to mean something."""
    engine = LlamaEngine(LoadRequest(str(shared_base.path), shared_base.digest, 256, 2), StopFlag())
    same = [
        int(engine.logits(prompt).argmax()) == int(wanted.argmax())
        for prompt, wanted in zip(prompts, torch_logs, strict=True)
    ]
    assert np.mean(same) < 0.95


def _dequantised(base: Path, out: Path) -> Path:
    """`base` with every tensor in F32."""
    reader = GGUFReader(base)
    writer = GGUFWriter(out, "qwen2")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
