"""How the known families of bases spell their fill-in-the-middle tokens.

A GGUF names its FIM tokens by id; older files do not, and are then known by the tokens' texts.
Invariant: the three tokens always come from one family. Pure; knows no file and no model.
Spellings: the tokenizers that the families publish, and llama.cpp's `llama-vocab.cpp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from neuralforge_adapters.fim import FimTokens

Find = Callable[[str], int | None]
"""The id of the token whose stored text is exactly that; None where the vocabulary has none."""


@dataclass(frozen=True)
class FimFamily:
    """One spelling of the three tokens."""

    name: str
    prefix: str
    suffix: str
    middle: str


FAMILIES = (
    FimFamily("Qwen, CodeGemma", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    FimFamily("StarCoder, Granite Code", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    FimFamily("SantaCoder", "<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    FimFamily("DeepSeek", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    FimFamily("CodeLlama", "▁<PRE>", "▁<SUF>", "▁<MID>"),
    FimFamily("CodeLlama without space", "<PRE>", "<SUF>", "<MID>"),
    FimFamily("GLM", "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)


def fim_family(find: Find) -> FimFamily | None:
    """The family all of whose tokens the vocabulary has."""
    for family in FAMILIES:
        if None not in map(find, (family.prefix, family.suffix, family.middle)):
            return family
    return None


def fim_tokens(find: Find) -> FimTokens:
    """The ids of the FIM tokens of a known family; all None where there is none."""
    family = fim_family(find)
    if family is None:
        return FimTokens(None, None, None)
    return FimTokens(find(family.prefix), find(family.suffix), find(family.middle))


def named_fim(metadata: Mapping[str, object]) -> FimTokens:
    """The ids that a GGUF's metadata names, by today's keys or by those of 2023."""
    found = []
    for new, old in (("fim_pre", "prefix"), ("fim_suf", "suffix"), ("fim_mid", "middle")):
        keys = (f"tokenizer.ggml.{new}_token_id", f"tokenizer.ggml.{old}_token_id")
        found.append(next((v for k in keys if isinstance(v := metadata.get(k), int)), None))
    return FimTokens(*found)


def with_family(named: FimTokens, find: Find) -> FimTokens:
    """`named` by the file's metadata where it names all three, else those of a known family.

    Never a mixture of both: half of one family's tokens says nothing to a model.
    """
    return named if named.complete else fim_tokens(find)
