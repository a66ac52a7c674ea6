"""Runs batches of tokens through one llama.cpp context and hands out their logits.

Invariant: after every call, aborted ones included, the sequence's book-keeping agrees with what
llama.cpp holds. Logits are views into llama.cpp's buffer, valid until the next call. Knows no
text, no stack and no request.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from neuralforge_server.engine.kv import KvSequence
from neuralforge_server.engine.stop import StopFlag

Logits = npt.NDArray[np.float32]

_ABORTED = 2
"""What llama_decode returns when the abort callback said stop."""


class StoppedError(Exception):
    """The stop flag went up during an evaluation; what was finished stays in the sequence."""


class Evaluator:
    """A llama.cpp context with one reusable batch."""

    def __init__(self, context: Any, batch: int, vocabulary: int, stop: StopFlag) -> None:
        self._context = context
        self._stop = stop
        self._row = ctypes.c_float * vocabulary
        self.limit = batch
        """Tokens of one call."""
        self._tokens = np.zeros(batch, np.int32)
        self._positions = np.zeros(batch, np.int32)
        self._outputs = np.zeros(batch, np.int8)
        self._sequence = ctypes.c_int32(0)
        self._batch = self._shared_batch()

    @property
    def evaluated(self) -> int:
        """Tokens computed so far, by llama.cpp's own counters."""
        counters = llama_cpp.llama_perf_context(self._context)
        return int(counters.n_p_eval + counters.n_eval)

    def prompt(self, sequence: KvSequence, tokens: Sequence[int]) -> Logits:
        """Logits after `tokens`, of which `sequence` holds a beginning (not the last one).

        Raises:
            StoppedError: the flag went up.
        """
        for start in range(len(sequence.tokens), len(tokens), self.limit):
            self._decode(sequence, tokens[start : start + self.limit], every=False)
        return self._logits(-1)

    def extend(self, sequence: KvSequence, tokens: Sequence[int]) -> list[Logits]:
        """Logits after each of `tokens` (`limit` at most), which come next in `sequence`.

        Raises:
            StoppedError: the flag went up.
        """
        self._decode(sequence, tokens, every=True)
        return [self._logits(i) for i in range(len(tokens))]

    def _decode(self, sequence: KvSequence, tokens: Sequence[int], *, every: bool) -> None:
        if self._stop.raised:
            raise StoppedError
        count, start = len(tokens), len(sequence.tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = range(start, start + count)
        self._outputs[:count] = every
        self._outputs[count - 1] = True
        self._sequence.value = sequence.number
        self._batch.n_tokens = count
        status = llama_cpp.llama_decode(self._context, self._batch)
        if status == 0:
            sequence.tokens.extend(tokens)
            return
        if status == _ABORTED:
            sequence.keep_finished(tokens)
            raise StoppedError
        sequence.clear()
        raise RuntimeError(f"llama_decode failed with status {status}")

    def _logits(self, index: int) -> Logits:
        row = llama_cpp.llama_get_logits_ith(self._context, index)
        place: Any = self._row.from_address(ctypes.addressof(row.contents))
        return np.frombuffer(place, np.float32)

    def _shared_batch(self) -> Any:
        """A llama_batch over the arrays of this object; all its tokens go to one sequence."""
        one = ctypes.pointer(self._sequence)
        self._counts = np.ones(self.limit, np.int32)
        self._sequences = (ctypes.POINTER(ctypes.c_int32) * self.limit)(*[one] * self.limit)
        batch = llama_cpp.llama_batch()
        batch.token = self._tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        batch.pos = self._positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        batch.n_seq_id = self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        batch.seq_id = ctypes.cast(self._sequences, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32)))
        batch.logits = self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        return batch
