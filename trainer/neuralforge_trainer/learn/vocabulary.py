"""The base's tokenizer as the trainer uses it: the same ids as the engine, FIM tokens included.

Invariant: a text gets the ids that llama.cpp gives it, and special tokens spelled out in it stay
text, so that no source file can forge a boundary. Converted from the GGUF's own metadata once
for each base and kept in the home's cache. Knows no weights.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, astuple, dataclass
from typing import Any

from neuralforge_adapters.base import Base
from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.fim import FimOrder, FimTokens, choose_order
from neuralforge_adapters.fim_families import Find, fim_tokens, named_fim, with_family
from neuralforge_adapters.gguf_header import Scalar, read_gguf_header
from neuralforge_adapters.home import Home, write_atomic
from neuralforge_server.engine.tokens import tokenize
from neuralforge_trainer.errors import BaseNotTrainableError
from neuralforge_trainer.learn.libraries import tame_libraries

PROBES = (
    "def sail(ship, year=1999):\n    return f\"{ship}'s {year:04d}\"  # don't\n",
    "\tif (a[i]->next != NULL && x >= 0x1F) {\r\n\t\treturn a;\r\n\t}\r\n\r\n",
    "const naïve = 'Zürich, 東京, 🚢' ;;;   \n\n\n          _private__name HTTPServer2\n",
    "<|fim_prefix|> <s> <|endoftext|>",
)
"""Texts on which transformers and llama.cpp must agree, before a base is trained."""


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
    fim = _fim(base, metadata, tokenizer.token_to_id)
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
    _check_probes(base, text)
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


def _check_probes(base: Base, tokenizer: str) -> None:
    """The texts of `PROBES` must become the ids that llama.cpp serves."""
    from tokenizers import Tokenizer

    read = Tokenizer.from_str(tokenizer)
    read.encode_special_tokens = True
    for text, served in zip(PROBES, tokenize(base.path, PROBES), strict=True):
        trained = read.encode(text, add_special_tokens=False).ids
        if trained != served:
            pairs = enumerate(zip(trained, served, strict=False))
            at = next((i for i, (a, b) in pairs if a != b), min(len(trained), len(served)))
            what = f"transformers splits {text!r:.30} otherwise than llama.cpp does: token {at} is "
            raise BaseNotTrainableError(
                _message(base, f"{what}{trained[at : at + 1]} and not {served[at : at + 1]}")
            )


def _fim(base: Base, metadata: dict[str, Scalar], find: Find) -> FimTokens:
    """The FIM tokens that the metadata names, else those of a known family."""
    named, spelled = named_fim(metadata), fim_tokens(find)
    for (part, by_id), by_name in zip(asdict(named).items(), astuple(spelled), strict=True):
        if None not in (by_id, by_name) and by_id != by_name:
            raise BaseNotTrainableError(
                _message(base, f"its FIM token for the {part} is {by_id}, not {by_name}")
            )
    return with_family(named, find)


def _beginning(metadata: dict[str, Scalar], order: FimOrder) -> tuple[int, ...]:
    token = metadata.get("tokenizer.ggml.bos_token_id")
    wanted = order == "left-to-right" and metadata.get("tokenizer.ggml.add_bos_token")
    return (token,) if wanted and isinstance(token, int) else ()


def _message(base: Base, what: str) -> str:
    return (
        f"base {base.path.name} can be served but not trained: {what}; "
        "choose another base with --base to train"
    )
