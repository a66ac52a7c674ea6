"""The base's tokenizer as the trainer uses it: the same ids as the engine, FIM tokens included.

Invariant: a text gets the ids that llama.cpp gives it, and special tokens spelled out in it stay
text, so that no source file can forge a boundary. Converted from the GGUF's own metadata once
for each base and kept in the home's cache. Knows no weights.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from neuralforge_adapters.base import Base
from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.fim import FimOrder, FimTokens, choose_order
from neuralforge_adapters.gguf_header import Scalar, read_gguf_header
from neuralforge_adapters.home import Home, write_atomic
from neuralforge_trainer.errors import BaseNotTrainableError
from neuralforge_trainer.learn.libraries import tame_libraries

_FIM_NAMES = {  # llama.cpp finds them by these where the metadata names none
    "fim_pre": ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>", "▁<PRE>"),
    "fim_suf": ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>", "▁<SUF>"),
    "fim_mid": ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<MID>", "▁<MID>"),
}


@dataclass(frozen=True)
class Vocabulary:
    """Turns text into the base's token ids."""

    tokenizer: Any
    """A `tokenizers.Tokenizer`."""
    fim: FimTokens
    order: FimOrder
    end: int
    """The token that ends a middle."""
    beginning: tuple[int, ...]
    """What the base wants at the start of a prompt without FIM tokens."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without any special token."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids  # type: ignore[no-any-return]


def load_vocabulary(base: Base, home: Home) -> Vocabulary:
    """The vocabulary of `base`.

    Raises:
        BaseNotTrainableError: transformers cannot read its tokenizer, or reads other ids.
    """
    from tokenizers import Tokenizer

    metadata = read_gguf_header(base.path).metadata
    tokenizer = Tokenizer.from_str(_converted(base, home))
    tokenizer.encode_special_tokens = True
    end = metadata.get("tokenizer.ggml.eos_token_id")
    if not isinstance(end, int):
        raise BaseNotTrainableError(_message(base, "it names no end token"))
    fim = FimTokens(*(_fim_token(base, metadata, tokenizer, kind) for kind in _FIM_NAMES))
    card = metadata.get("neuralforge.fim.orders")
    order = choose_order(fim, card if isinstance(card, str) else None)
    return Vocabulary(tokenizer, fim, order, end, _beginning(metadata, order))


def _converted(base: Base, home: Home) -> str:
    """The tokenizer as JSON; reading 150,000 tokens out of a GGUF takes many seconds."""
    cached = home.cache / "tokenizers" / f"{base.digest}.json"
    try:
        return cached.read_text("utf-8")
    except OSError:
        converted = _convert(base)
    with contextlib.suppress(HomeError):  # a read-only home only costs converting again
        write_atomic(cached, converted)
    return converted


def _convert(base: Base) -> str:
    from transformers import AutoTokenizer

    tame_libraries()
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path.parent, gguf_file=base.path.name)
        text: str = tokenizer.backend_tokenizer.to_str()
    except (ValueError, OSError, KeyError, AttributeError) as error:
        raise BaseNotTrainableError(_message(base, str(error))) from error
    _check_ids(base, tokenizer.get_vocab())
    return text


def _check_ids(base: Base, ids: dict[str, int]) -> None:
    """Every token must have the id that it has in the GGUF."""
    from gguf import GGUFReader

    field = GGUFReader(base.path).get_field("tokenizer.ggml.tokens")
    tokens = field.contents() if field is not None else []
    wrong = next((t for i, t in enumerate(tokens) if ids.get(t) != i), None)
    if not tokens or wrong is not None:
        raise BaseNotTrainableError(
            _message(base, f"its token {wrong!r} gets the id {ids.get(str(wrong))}")
        )


def _fim_token(base: Base, metadata: dict[str, Scalar], tokenizer: Any, kind: str) -> int | None:
    names = _FIM_NAMES[kind]
    by_name = next((i for n in names if (i := tokenizer.token_to_id(n)) is not None), None)
    named = metadata.get(f"tokenizer.ggml.{kind}_token_id")
    if not isinstance(named, int):
        return by_name
    if by_name is not None and by_name != named:
        raise BaseNotTrainableError(_message(base, f"its {kind} token is {named}, not {by_name}"))
    return named


def _beginning(metadata: dict[str, Scalar], order: FimOrder) -> tuple[int, ...]:
    token = metadata.get("tokenizer.ggml.bos_token_id")
    wanted = order == "left-to-right" and metadata.get("tokenizer.ggml.add_bos_token")
    return (token,) if wanted and isinstance(token, int) else ()


def _message(base: Base, what: str) -> str:
    return (
        f"base {base.path.name} can be served but not trained: {what}; "
        "choose another base with --base to train"
    )
