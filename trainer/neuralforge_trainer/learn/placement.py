"""Where and how a base is trained here: device, precision, attention, and what saves memory.

Invariant: the choice is a function of the base's shape and of the machine. Measured on a CPU
alone; what is said of CUDA and Apple's GPU follows the libraries' documentation and has not been
run by the authors. Knows no samples.
"""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from neuralforge_adapters.base_memory import Shape, training_bytes
from neuralforge_adapters.machine_memory import available_bytes

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "float16"]

_ROOM = 0.9
"""Of the free memory, what a run may take."""
_F32 = 4


@dataclass(frozen=True)
class Placement:
    """How one run computes."""

    device: torch.device
    precision: Precision = "float32"
    """Of the products; the LoRA's weights stay in float32."""
    attention: str = "sdpa"
    """By transformers' names."""
    four_bit: bool = False
    """QLoRA (Dettmers et al. 2023): the frozen weights as 4-bit NormalFloat."""
    checkpointing: bool = False
    """Activations are computed again in the backward pass: a third slower, far smaller."""


def place(shape: Shape) -> Placement:
    """The best placement of a base of that shape on this machine."""
    device = pick_device()
    precision = pick_precision(device)
    four_bit, checkpointing = savings(shape, device.type, free_bytes(device))
    attention = _attention(device, precision)
    return Placement(device, precision, attention, four_bit, checkpointing)


def pick_device() -> torch.device:
    """CUDA, else Apple's GPU, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_precision(device: torch.device) -> Precision:
    """The narrowest that `device` computes in faster than in float32.

    A CPU with bfloat16 instructions: twice as fast (measured). CUDA: bfloat16 where it is native,
    else float16 with a loss scale. Apple's GPU: float32, where nothing was measured.
    """
    import torch

    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if native else "float16"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bfloat16" if device.type == "cpu" and native else "float32"


def half_products(device: torch.device) -> AbstractContextManager[None]:
    """Computes matrix products in bfloat16 where `device` does so faster, and sums in float32.

    Outside a Trainer, which does so by itself; never in float16, which needs a loss scale.
    """
    import torch

    enabled = pick_precision(device) == "bfloat16"
    context: AbstractContextManager[None] = torch.autocast(
        device.type, torch.bfloat16, enabled=enabled
    )
    return context


def savings(shape: Shape, kind: str, free: int) -> tuple[bool, bool]:
    """(4-bit weights, gradient checkpointing) for a base on a device with `free` bytes.

    Checkpointing where the estimate of `training_bytes` does not fit; 4-bit weights where the
    weights alone, in float32 as they lie on every device, are more than half of what is free, on
    CUDA with bitsandbytes.
    """
    room = _ROOM * free
    tight = training_bytes(shape) > room
    weights = _F32 * shape.parameters
    able = kind == "cuda" and _installed("bitsandbytes")
    return tight and able and weights > room / 2, tight


def free_bytes(device: torch.device) -> int:
    """Memory that `device` has left."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes()  # Apple's GPU shares it


def _attention(device: torch.device, precision: Precision) -> str:
    if device.type == "cuda" and precision == "bfloat16" and _installed("flash_attn"):
        return "flash_attention_2"
    if device.type == "cpu" and precision == "bfloat16":
        from neuralforge_trainer.learn.attention import register_folded_attention

        return register_folded_attention()
    return "sdpa"


def put(model: Any, placement: Placement) -> Any:
    """`model`, frozen and in float32 on the CPU, as `placement` wants it."""
    model.set_attn_implementation(placement.attention)
    if placement.four_bit:
        quantise(model, placement.precision)
    if placement.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.to(placement.device)


def quantise(model: Any, precision: Precision) -> None:
    """Replace the frozen linear layers but the head by 4-bit ones, which PEFT knows how to adapt.

    Their products are computed in `precision`: a GPU without bfloat16 would only emulate that.
    They are packed when the model is moved to its device. Done by hand, since transformers
    cannot quantise what it has just dequantised from a GGUF.
    """
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    head, computed = model.get_output_embeddings(), getattr(torch, precision)
    linear = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    ]
    for name, layer in linear:
        biased = layer.bias is not None
        packed = Linear4bit(
            layer.in_features, layer.out_features, biased, computed, quant_type="nf4"
        )
        packed.weight = Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
        packed.bias = layer.bias
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, packed)
    model.is_loaded_in_4bit = True


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
