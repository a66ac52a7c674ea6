"""Two ways in which a llama-server is shown what stands around the cursor.

`Infill` sends texts, as llama.vim does, which llama-server's `/infill` lays out prefix first,
whatever order the base knows. `OwnOrder` lays the same texts out suffix first, for a base that was
trained so, and sends token ids to `/completion`. Invariant: both cut by the rules of `/infill`
(llama.cpp's tools/server/server-common.cpp, `format_prompt_infill`) with one exception, in
llama-server's favour: there the suffix gets shorter with every token of the current line, which
suffix first would have everything behind it computed anew. Knows no token healing: the plugin has
none.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import llama_cpp

from neuralforge_adapters.fim import FimOrder, choose_order, layout
from neuralforge_adapters.gguf_header import read_gguf_header
from neuralforge_server.engine.vocabulary import Vocabulary

_CACHED_TEXTS = 64
_SPECIAL = 3
"""Tokens between the parts."""
_REPOSITORY = "myproject\n"
"""As `/infill` calls every repository."""

Chunk = Mapping[str, Any]
"""Of the ring: `text` and `filename`."""


class Prompting(Protocol):
    """How a request names its prompt."""

    path: str
    """Where it goes to."""

    def fields(
        self, prefix: str, middle: str, suffix: str, chunks: Sequence[Chunk], filename: str
    ) -> dict[str, Any]:
        """The lines above, the line up to the cursor, what follows, other chunks, best last."""


class Infill:
    """As llama.vim does it."""

    path = "/infill"

    def fields(
        self, prefix: str, middle: str, suffix: str, chunks: Sequence[Chunk], filename: str
    ) -> dict[str, Any]:
        extra = [{"text": c["text"], "filename": c["filename"]} for c in chunks]
        return {
            "input_prefix": prefix,
            "input_suffix": suffix,
            "input_extra": extra,
            "prompt": middle,
        }


class OwnOrder:
    """In the order that the base knows best, cut as `/infill` cuts."""

    path = "/completion"

    def __init__(self, base: Path, *, context: int, batch: int, predict: int) -> None:
        """`context`, `batch` and `predict` are the server's, in tokens."""
        self._order = fim_order(base)
        self._vocabulary = _vocabulary(base)
        self._tokens = lru_cache(_CACHED_TEXTS)(self._vocabulary.tokenize)
        self._before, self._after = 3 * (batch // 4), batch // 4 - _SPECIAL
        self._front = max(0, context - batch - 2 * predict)
        self._line = predict

    def fields(
        self, prefix: str, middle: str, suffix: str, chunks: Sequence[Chunk], filename: str
    ) -> dict[str, Any]:
        # a longer line would leave no room for what is generated
        line = self._vocabulary.tokenize(middle)[-self._line :]
        before = [*self._tokens(prefix)[-self._before :], *line]
        after = self._tokens(suffix)[: self._after]
        front = self._files(chunks, filename)
        front = front[max(0, len(front) - self._front) :]
        return {"prompt": layout(self._order, self._vocabulary.fim, before, after, front)}

    def _files(self, chunks: Sequence[Chunk], filename: str) -> list[int]:
        name, file = self._vocabulary.repository_name, self._vocabulary.file_separator
        if name is None or file is None:
            return []
        front = [name, *self._tokens(_REPOSITORY)]
        for chunk in chunks:
            front += [file, *self._tokens(f"{chunk['filename']}\n"), *self._tokens(chunk["text"])]
        return [*front, file, *self._tokens(f"{filename}\n")]


def fim_order(base: Path) -> FimOrder:
    """The order that a base knows best, by its card."""
    vocabulary = _vocabulary(base)
    card = read_gguf_header(base).metadata.get("neuralforge.fim.orders")
    return choose_order(vocabulary.fim, None if card is None else str(card))


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: object) -> None:
    if level in (3, 4):  # ggml's warnings and errors
        sys.stderr.write(text.decode("utf-8", "replace"))


@lru_cache(1)
def _vocabulary(base: Path) -> Vocabulary:
    """Without the weights; its model is kept as long as the process lives."""
    llama_cpp.llama_log_set(_log, None)
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(base).encode(), parameters)
    if not model:
        raise ValueError(f"llama.cpp cannot read the vocabulary of {base}")
    return Vocabulary(llama_cpp.llama_model_get_vocab(model))
