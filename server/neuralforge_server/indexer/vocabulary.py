"""The tokenizer of a base, without its weights.

Knows no index. A malformed file can abort llama.cpp, and with it the process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import llama_cpp

from neuralforge_adapters.errors import BaseFileError
from neuralforge_server.engine.vocabulary import Vocabulary


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: object) -> None:
    if level in (3, 4):  # ggml's warnings and errors
        sys.stderr.write(text.decode("utf-8", "replace"))


def tokenizer(base: Path) -> Callable[[str], list[int]]:
    """Turns text into the token ids of the base at `base`; its model is kept as long as this is.

    Raises:
        BaseFileError: the file has no vocabulary that llama.cpp knows.
    """
    llama_cpp.llama_log_set(_log, None)
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(base).encode(), parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model) if model else None
    if vocabulary is None:
        raise BaseFileError(
            f"the vocabulary of {base} cannot be read, so nothing is learned at once; "
            "fetch the file again"
        )
    return Vocabulary(vocabulary).tokenize
