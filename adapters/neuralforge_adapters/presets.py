"""Bases that can be fetched by a short name, and some that cannot be served, with the reason.

Invariant: what stands in `data/presets.toml` is all that is known of them; nothing is fetched and
no checksum is kept here (the Hub states it). Knows no network.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from neuralforge_adapters.base_memory import Shape
from neuralforge_adapters.errors import BaseFileError

_ENCODER_DECODERS = ("codet5", "plbart", "flan-t5")
INSTEAD = "qwen2.5-coder-0.5b"
"""What to take in place of a base that cannot be served."""

ENCODER_DECODER = (
    "is an encoder–decoder: its encoder reads the whole text in both directions, so that every "
    "keystroke would compute all of it anew, and prompts, cache and adapters of the engine are "
    f"made for decoders; take a decoder-only code model with FIM, for example `{INSTEAD}`"
)


@dataclass(frozen=True)
class Preset:
    """One base on the Hub."""

    name: str
    repository: str
    file: str
    licence: str
    architecture: str
    fim: str
    """The family of `fim_families`."""
    source: str
    """Where repository and file name were seen."""
    context: int
    """Tokens that it was trained on."""
    shape: Shape


@cache
def presets() -> dict[str, Preset]:
    """All presets by name, small ones first."""
    text = (resources.files("neuralforge_adapters") / "data" / "presets.toml").read_text("utf-8")
    found = [_preset(values) for values in tomllib.loads(text).values()]
    return {p.name: p for p in sorted(found, key=lambda p: p.shape.parameters)}


def refuse_encoder_decoder(name: str) -> None:
    """Explain a name of a well-known encoder–decoder.

    Raises:
        BaseFileError: it is one.
    """
    if any(part in name.lower() for part in _ENCODER_DECODERS):
        raise BaseFileError(f"{name} {ENCODER_DECODER}")


def _preset(values: dict[str, Any]) -> Preset:
    numbers = ("parameters", "layers", "width", "kv_width", "hidden", "vocabulary")
    shape = Shape(file_bytes=values.pop("bytes"), **{n: values.pop(n) for n in numbers})
    return Preset(**values, shape=shape)
