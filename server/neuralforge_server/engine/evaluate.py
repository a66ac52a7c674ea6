"""Runs batches of tokens through one llama.cpp context and hands out their logits.

Prompts go in chunks of about `_CHUNK_MS`, by a running measure of the machine's speed. A stop
lets the chunk under way finish, so that a burst of requests for one place, each stopped by the
next key, gets through its prompt. Invariant: after every call, aborted ones included, the
sequence's book-keeping agrees with what llama.cpp holds. Logits are views into llama.cpp's
buffer, valid until the next call. Knows no text, no stack and no request.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from neuralforge_server.engine.kv import KvSequence
from neuralforge_server.engine.stop import StopFlag

Logits = npt.NDArray[np.float32]

_CHUNK_MS = 40.0
"""Milliseconds that a chunk of a prompt is to take: so long a stop may wait for it."""
_LEAST_CHUNK = 16
"""Tokens: fewer at once cost nearly as much, since every weight is read for them too."""
_NEWEST = 0.3
"""Weight of the newest measurement in the running one."""
_ABORTED = 2
"""What llama_decode returns when the abort callback said stop."""


class StoppedError(Exception):
    """The stop flag went up during an evaluation; what was finished stays in the sequence."""


class ChunkSize:
    """How many tokens of a prompt to evaluate at once; a power of two times the least.

    llama.cpp builds a graph anew for every other size, so that sizes are few.
    """

    def __init__(self, most: int) -> None:
        self._least = min(_LEAST_CHUNK, most)
        self._most = most
        self._token_ms = 0.0

    @property
    def tokens(self) -> int:
        """The least until something was measured."""
        size, wanted = self._least, _CHUNK_MS / self._token_ms if self._token_ms else 0.0
        while 2 * size <= min(wanted, self._most):
            size *= 2
        return size

    def observe(self, tokens: int, milliseconds: float) -> None:
        """So many tokens took so long; of too few, that says nothing of a chunk."""
        if tokens < self._least:
            return
        newest = milliseconds / tokens
        known = self._token_ms or newest
        self._token_ms = known + _NEWEST * (newest - known)


class Evaluator:
    """A llama.cpp context with one reusable batch."""

    def __init__(self, context: Any, batch: int, vocabulary: int, stop: StopFlag) -> None:
        self._context = context
        self._stop = stop
        self._row = ctypes.c_float * vocabulary
        self.limit = batch
        """Tokens of one call."""
        self._chunk = ChunkSize(batch)
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

    def prompt(self, sequence: KvSequence, tokens: Sequence[int], *, fixed: bool = False) -> Logits:
        """Logits after `tokens`, of which `sequence` holds a beginning (not the last one).

        `fixed` splits them into whole batches, whatever the machine's speed. Raises:
            StoppedError: the flag went up; chunks that were begun stand in the sequence.
        """
        while (start := len(sequence.tokens)) < len(tokens):
            if fixed:
                self._decode(sequence, tokens[start : start + self.limit], every=False)
            else:
                self._finish(sequence, tokens[start : start + self._chunk.tokens])
        return self._logits(-1)

    def _finish(self, sequence: KvSequence, chunk: Sequence[int]) -> None:
        """Evaluate a chunk to its end, also where the flag goes up meanwhile."""
        started = time.perf_counter()
        with self._stop.finishing():
            self._decode(sequence, chunk, every=False)
            llama_cpp.llama_synchronize(self._context)  # it counts, and a GPU works, until then
        self._chunk.observe(len(chunk), (time.perf_counter() - started) * 1000)

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
