"""The base as a torch model, and the LoRA on it: created, continued, saved.

Invariant: the weights that are trained on are the dequantised ones of the GGUF that is served,
all of them; an adapter keeps its rank, alpha and modules for life. No pickle is read or written.
Knows no samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralforge_adapters.base import Base
from neuralforge_adapters.convert import PEFT_WEIGHTS
from neuralforge_trainer.errors import BaseNotTrainableError
from neuralforge_trainer.learn.libraries import tame_libraries

if TYPE_CHECKING:
    import torch

RANK = 16
ALPHA = 32.0
DROPOUT = 0.0
"""0.05 made no difference in exact match, and a third more CPU time."""
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def load_base(base: Base) -> Any:
    """`base` dequantised to float32, frozen, as a transformers model on the CPU.

    Raises:
        BaseNotTrainableError: transformers does not know the architecture, or a tensor of the
            model is missing in the file or the other way round.
    """
    tame_libraries()
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            base.path.parent,
            gguf_file=base.path.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (ValueError, OSError, KeyError, NotImplementedError) as error:
        raise _not_trainable(base, str(error)) from error
    wrong = [
        f"{kind}: {', '.join(sorted(map(str, names))[:3])}"
        for kind, names in report.items()
        if names
    ]
    if wrong:
        raise _not_trainable(base, "; ".join(wrong))
    return model.requires_grad_(False)


def attach_lora(model: Any, seed: int, parent: Path | None = None) -> Any:
    """`model` with a trainable LoRA: that of the version folder `parent`, else one that does
    nothing yet (B = 0, A drawn with `seed`)."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    if parent is not None:
        return PeftModel.from_pretrained(model, parent, is_trainable=True)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=DROPOUT,
        target_modules=list(MODULES),
    )
    torch.manual_seed(seed)
    return get_peft_model(model, config)


def lora_parameters(model: Any) -> dict[str, torch.nn.Parameter]:
    """The trainable parameters by name, in a fixed order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save_lora(model: Any, folder: Path) -> None:
    """Write the LoRA of `model` in PEFT's format, without PEFT's question to the hub."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
        folder / PEFT_WEIGHTS,
        metadata={"format": "pt"},
    )
    config = model.peft_config[model.active_adapter]
    config.base_model_name_or_path = ""  # a path of this machine says nothing elsewhere
    config.inference_mode = True
    config.save_pretrained(folder)
    config.inference_mode = False


def _not_trainable(base: Base, what: str) -> BaseNotTrainableError:
    return BaseNotTrainableError(
        f"base {base.path.name} can be served but not trained: {what}; "
        "choose another base with --base to train"
    )
