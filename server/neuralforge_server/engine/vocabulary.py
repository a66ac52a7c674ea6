"""A base's vocabulary as bytes: tokenising, and which tokens fit a healed text.

Knows no weights and no context.
"""

from __future__ import annotations

import bisect
import ctypes
from functools import cached_property

import llama_cpp
import numpy as np
import numpy.typing as npt

from neuralforge_adapters.fim import FimTokens
from neuralforge_adapters.fim_families import with_family

_NONE_NAMED = FimTokens(None, None, None)


class Vocabulary:
    """The tokens of one loaded llama.cpp model."""

    def __init__(self, vocab: int, named: FimTokens = _NONE_NAMED) -> None:
        """`named`: the FIM tokens that the file's metadata names. llama.cpp fills in by their texts
        what is lacking, one by one, which may mix two families."""
        self._vocab = vocab
        self._named = named
        self.size: int = llama_cpp.llama_vocab_n_tokens(vocab)
        self.end_tokens = frozenset(
            t for t in range(self.size) if llama_cpp.llama_vocab_is_eog(vocab, t)
        )
        self.control_tokens = self.end_tokens | {
            t for t in range(self.size) if llama_cpp.llama_vocab_is_control(vocab, t)
        }
        self._pieces = [self._read_piece(t) for t in range(self.size)]
        spoken = [(p, t) for t, p in enumerate(self._pieces) if p and t not in self.control_tokens]
        spoken.sort()
        self._sorted_pieces = [p for p, _ in spoken]
        self._sorted_ids = np.array([t for _, t in spoken], dtype=np.int64)

    @cached_property
    def fim(self) -> FimTokens:
        """The special tokens for filling in."""
        return with_family(self._named, lambda text: self._texts.get(text))

    @cached_property
    def _texts(self) -> dict[str, int]:
        """Tokens by their stored text, of special ones too."""
        texts = ((llama_cpp.llama_vocab_get_text(self._vocab, t), t) for t in range(self.size))
        return {text.decode("utf-8", "replace"): token for text, token in texts}

    @property
    def repository_name(self) -> int | None:
        """The token before a repository's name."""
        return _known(llama_cpp.llama_vocab_fim_rep(self._vocab))

    @property
    def file_separator(self) -> int | None:
        """The token before a file's path."""
        return _known(llama_cpp.llama_vocab_fim_sep(self._vocab))

    def tokenize(self, text: str, *, beginning: bool = False) -> list[int]:
        """Token ids of `text`; special tokens spelled out in it stay text.

        `beginning` adds what the base wants at a prompt's start (a BOS token), if anything.
        """
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        tokens = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(
            self._vocab, data, len(data), tokens, room, beginning, False
        )
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; empty for control tokens."""
        return b"" if token in self.control_tokens else self._pieces[token]

    def fitting(self, wanted: bytes) -> npt.NDArray[np.int64]:
        """Tokens with which a text that begins with `wanted` can begin.

        Those are the tokens that begin with `wanted`, and those that `wanted` begins with.
        """
        low = bisect.bisect_left(self._sorted_pieces, wanted)
        high = bisect.bisect_left(self._sorted_pieces, wanted + b"\xff" * 8, lo=low)
        shorter = []
        for length in range(1, len(wanted)):
            at = bisect.bisect_left(self._sorted_pieces, wanted[:length])
            if at < len(self._sorted_pieces) and self._sorted_pieces[at] == wanted[:length]:
                shorter.append(at)
        return np.concatenate([self._sorted_ids[shorter], self._sorted_ids[low:high]])

    def _read_piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        length = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, 64, 0, True)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, -length, 0, True)
        return buffer.raw[: max(0, length)]


def _known(token: int) -> int | None:
    return None if token < 0 else token
