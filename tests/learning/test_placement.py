"""Where a base is trained. No GPU is at hand: what torch says of CUDA and of Apple's GPU is a
stand-in here, so these tests hold the choice to what was decided, and not to a device.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from neuralforge_adapters.base_memory import Shape, training_bytes
from neuralforge_trainer.learn import placement
from neuralforge_trainer.learn.placement import Placement, pick_device, place, put, savings

SHAPE = Shape(10**9, 10**9, 24, 1024, 256, 4096, 150_000)
WEIGHTS = 4 * SHAPE.parameters
CUDA, MPS, CPU = map(torch.device, ("cuda", "mps", "cpu"))


@dataclass
class Machine:
    """What torch and the installed packages say of the machine."""

    cuda: bool = False
    mps: bool = False
    bfloat16: bool = False
    """Of GPU or CPU."""
    free: int = 10**12
    packages: tuple[str, ...] = ()

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        flags = {"avx512_bf16": self.bfloat16, "amx_bf16": False}
        for where, name, answer in (
            (torch.cuda, "is_available", self.cuda),
            (torch.cuda, "is_bf16_supported", self.bfloat16),
            (torch.cuda, "mem_get_info", (self.free, self.free)),
            (torch.backends.mps, "is_available", self.mps),
            (torch.cpu, "get_capabilities", flags),
        ):
            monkeypatch.setattr(where, name, lambda *_, answer=answer, **__: answer)
        monkeypatch.setattr(placement, "_installed", lambda package: package in self.packages)


@pytest.mark.parametrize(
    ("machine", "device"),
    [
        (Machine(cuda=True, mps=True), CUDA),
        (Machine(mps=True), MPS),
        (Machine(), CPU),
    ],
)
def test_a_gpu_goes_before_the_cpu(
    machine: Machine, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.stand_in(monkeypatch)
    assert pick_device() == device


@pytest.mark.parametrize(
    ("machine", "chosen"),
    [
        (Machine(cuda=True, bfloat16=True), ("bfloat16", "sdpa")),
        (
            Machine(cuda=True, bfloat16=True, packages=("flash_attn",)),
            ("bfloat16", "flash_attention_2"),
        ),
        (Machine(cuda=True), ("float16", "sdpa")),
        (Machine(mps=True, bfloat16=True, packages=("flash_attn",)), ("float32", "sdpa")),
        (Machine(bfloat16=True, packages=("flash_attn",)), ("bfloat16", "neuralforge_folded")),
        (Machine(), ("float32", "sdpa")),
    ],
)
def test_precision_and_attention_follow_what_the_device_is_fast_at(
    machine: Machine, chosen: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.stand_in(monkeypatch)
    found = place(SHAPE)
    assert (found.precision, found.attention) == chosen
    assert not found.four_bit or found.device == CUDA


@pytest.mark.parametrize(
    ("kind", "packages", "free", "four_bit"),
    [
        ("cuda", ("bitsandbytes",), 2.3 * WEIGHTS, False),
        ("cuda", ("bitsandbytes",), 2.1 * WEIGHTS, True),
        ("cuda", (), 2.1 * WEIGHTS, False),
        ("mps", ("bitsandbytes",), 2.1 * WEIGHTS, False),
        ("cpu", ("bitsandbytes",), 2.1 * WEIGHTS, False),
    ],
)
def test_weights_become_4_bit_where_they_would_take_half_of_the_room(
    kind: str,
    packages: tuple[str, ...],
    free: float,
    four_bit: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0.9 of the free memory is room; in float32, the weights take half of that at 2.22 times."""
    assert training_bytes(SHAPE) > 0.9 * free, "checkpointing is what comes first"
    monkeypatch.setattr(placement, "_installed", lambda package: package in packages)
    assert savings(SHAPE, kind, int(free)) == (four_bit, True)


def test_nothing_is_saved_where_everything_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(cuda=True, bfloat16=True, packages=("bitsandbytes",)).stand_in(monkeypatch)
    assert place(SHAPE) == Placement(CUDA, "bfloat16")


class Linear4bit(torch.nn.Linear):
    """Stands in for that of bitsandbytes, which needs CUDA to compute."""

    def __init__(self, inputs: int, outputs: int, bias: bool, dtype: Any, quant_type: str) -> None:
        super().__init__(inputs, outputs, bias)
        self.compute_dtype = dtype
        self.quant_type = quant_type


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_4_bit_layers_compute_in_the_precision_of_the_run(
    precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake: Any = ModuleType("bitsandbytes.nn")
    fake.Linear4bit = Linear4bit
    fake.Params4bit = lambda weight, **_: torch.nn.Parameter(weight, requires_grad=False)
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", fake)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    model = put(
        Qwen2ForCausalLM(Qwen2Config(**sizes, **heads)), Placement(CPU, precision, four_bit=True)
    )
    packed = [layer for layer in model.modules() if isinstance(layer, Linear4bit)]
    assert len(packed) == 7, "all but the head"
    assert {layer.compute_dtype for layer in packed} == {getattr(torch, precision)}
    assert model.is_loaded_in_4bit
