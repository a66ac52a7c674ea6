"""llama.cpp through llama-cpp-python's low-level calls: one base, one stack, one KV cache.

Invariant: `_cached` are exactly the tokens whose keys and values stand in sequence 0, computed
under the stack in force; whatever changes the stack empties it. Runs in the engine process only;
knows no pipe and no document.
"""

from __future__ import annotations

import codecs
import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from neuralforge_adapters.convert import check_adapter
from neuralforge_adapters.errors import AdapterError, BaseFileError
from neuralforge_adapters.fim import choose_order, heal, layout
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    Completion,
    EngineInfo,
    LoadRequest,
    Score,
    ScoreRequest,
    StopReason,
)
from neuralforge_server.engine.stop import StopFlag, abort_callback
from neuralforge_server.engine.stopping import Stopper
from neuralforge_server.engine.vocabulary import Vocabulary

_BATCH = 256
"""Tokens evaluated by one call; a cancel is noticed within it, at the next graph node."""

_ABORTED = 2
"""What llama_decode returns when the abort callback said stop."""

Logits = npt.NDArray[np.float32]


class _StoppedError(Exception):
    """The stop flag went up during an evaluation; the cache is consistent."""


class LlamaEngine:
    """A loaded base. Not thread-safe: one thread computes, others may only raise the flag."""

    def __init__(self, request: LoadRequest, stop: StopFlag) -> None:
        self._stop = stop
        self._base_digest = request.digest
        self._model = _load_model(Path(request.base))
        self._vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(self._model))
        trained = llama_cpp.llama_model_n_ctx_train(self._model)
        self._abort = abort_callback(llama_cpp.ggml_abort_callback)
        self._context = self._new_context(min(request.context, trained), request.threads)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(_BATCH, 0, 1)
        self._order = choose_order(
            self._vocabulary.fim, _metadata(self._model, "neuralforge.fim.orders")
        )
        self._adapters: dict[tuple[str, int, int], Any] = {}
        self._stack_digest = ResolvedStack().digest
        self._cached: list[int] = []
        self._warm_up()
        self.info = EngineInfo(
            name=_metadata(self._model, "general.name") or Path(request.base).stem,
            architecture=_metadata(self._model, "general.architecture") or "unknown",
            parameters=llama_cpp.llama_model_n_params(self._model),
            trained_context=trained,
            context=llama_cpp.llama_n_ctx(self._context),
            vocabulary=self._vocabulary.size,
            fim_order=self._order,
            file_bytes=Path(request.base).stat().st_size,
        )

    def set_stack(self, adapters: Sequence[tuple[str, float]], digest: str) -> None:
        """Put `adapters` (path, scale) in force, or leave everything as it was.

        Raises:
            AdapterError: a file is missing, damaged, not finite, or for another base.
        """
        loaded = {key: self._load_adapter(key) for key in map(_file_key, [p for p, _ in adapters])}
        handles = (llama_cpp.llama_adapter_lora_p_ctypes * len(adapters))(
            *[loaded[_file_key(path)] for path, _ in adapters]
        )
        scales = (ctypes.c_float * len(adapters))(*[scale for _, scale in adapters])
        if llama_cpp.llama_set_adapters_lora(self._context, handles, len(adapters), scales) != 0:
            raise AdapterError("llama.cpp refused the stack; take out the adapter added last")
        for key in self._adapters.keys() - loaded.keys():
            llama_cpp.llama_adapter_lora_free(self._adapters[key])
        self._adapters = loaded
        self._stack_digest = digest
        self._forget()

    def complete(self, request: CompleteRequest, on_piece: Callable[[str], None]) -> Completion:
        """Generate greedily at the cursor; `on_piece` gets the text as it grows."""
        started = time.perf_counter()
        before = self._evaluated()
        if request.evaluation:
            self._forget()
        kept, healed = heal(request.prefix)
        prompt = self._prompt(kept, request.suffix, request.max_tokens)
        stopper = Stopper(request.rules)
        writer = _Writer(healed.encode("utf-8", "replace"), stopper, on_piece)
        cached = _common_length(self._cached, prompt)
        stop = self._generate(prompt, request.max_tokens, writer)
        return Completion(
            text=writer.text,
            stop=stop,
            stack=self._stack_digest,
            generated_tokens=len(writer.logprobs),
            evaluated_tokens=self._evaluated() - before,
            cached_tokens=min(cached, len(prompt) - 1),
            milliseconds=(time.perf_counter() - started) * 1000,
            mean_logprob=float(np.mean(writer.logprobs)) if writer.logprobs else None,
        )

    def score(self, request: ScoreRequest) -> Score:
        """Negative log likelihood of the healed middle, from an empty cache."""
        self._forget()
        kept, healed = heal(request.prefix)
        target = self._vocabulary.tokenize(healed + request.middle)
        prompt = self._prompt(kept, request.suffix, len(target))
        nll = 0.0
        for token, logits in zip(target, self._teacher_forced(prompt, target), strict=True):
            nll -= _log_softmax_at(logits, token)
        return Score(nll=nll, tokens=len(target))

    def _generate(self, prompt: list[int], max_tokens: int, writer: _Writer) -> StopReason:
        try:
            logits = self._evaluate(prompt)
            for _ in range(max_tokens):
                token = self._choose(logits, writer.wanted)
                if token is None:
                    return "constraint"
                writer.logprobs.append(_log_softmax_at(logits, token))
                if token in self._vocabulary.control_tokens:
                    return "end"
                if writer.add(self._vocabulary.piece(token)):
                    return "line"
                logits = self._append(token)
        except _StoppedError:
            return self._stop.reason or "cancelled"
        return "length"

    def _choose(self, logits: Logits, wanted: bytes) -> int | None:
        """The likeliest token, among those that fit the healed text while some is left."""
        if not wanted:
            return int(np.argmax(logits))
        fitting = self._vocabulary.fitting(wanted)
        return int(fitting[np.argmax(logits[fitting])]) if len(fitting) else None

    def _prompt(self, kept: str, suffix: str, reserve: int) -> list[int]:
        """Tokens to evaluate, cut to leave `reserve` of the context; never empty."""
        after = [] if self._order == "left-to-right" else self._vocabulary.tokenize(suffix)
        before = self._vocabulary.tokenize(kept, beginning=self._order == "left-to-right")
        room = max(16, self.info.context - reserve - 4)
        after = after[: room // 3]
        excess = len(before) + len(after) - room
        if excess > 0:
            before = before[-(-excess // 64) * 64 :]  # in steps: the head stays cached
        prompt = layout(self._order, self._vocabulary.fim, before, after)
        return prompt or [min(self._vocabulary.end_tokens, default=0)]

    def _evaluate(self, tokens: list[int]) -> Logits:
        """Logits after `tokens`, computing only what the cache does not hold.

        Raises:
            _StoppedError: the flag went up; what was finished stays in the cache.
        """
        keep = min(_common_length(self._cached, tokens), len(tokens) - 1)
        self._truncate(keep)
        for start in range(keep, len(tokens), _BATCH):
            if self._stop.raised:
                raise _StoppedError
            chunk = tokens[start : start + _BATCH]
            self._decode(chunk, start, last_only=True)
        return self._logits(-1)

    def _append(self, token: int) -> Logits:
        """Logits after one more token than the cache holds.

        Raises:
            _StoppedError: the flag went up.
        """
        if self._stop.raised:
            raise _StoppedError
        self._decode([token], len(self._cached), last_only=True)
        return self._logits(-1)

    def _teacher_forced(self, prompt: list[int], target: list[int]) -> list[Logits]:
        """The logits before each of `target`'s tokens (copies)."""
        rows = [self._evaluate(prompt).copy()]
        position = len(prompt)
        for start in range(0, len(target) - 1, _BATCH):
            chunk = target[:-1][start : start + _BATCH]
            self._decode(chunk, position + start, last_only=False)
            rows.extend(self._logits(i).copy() for i in range(len(chunk)))
        return rows

    def _decode(self, tokens: list[int], position: int, *, last_only: bool) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = not last_only or i == len(tokens) - 1
        status = llama_cpp.llama_decode(self._context, batch)
        if status == 0:
            self._cached = self._cached[:position] + tokens
            return
        finished = llama_cpp.llama_memory_seq_pos_max(self._memory, 0) + 1
        self._cached = (self._cached[:position] + tokens)[:finished]
        if status == _ABORTED:
            raise _StoppedError
        self._forget()
        raise RuntimeError(f"llama_decode failed with status {status}")

    def _logits(self, index: int) -> Logits:
        row = llama_cpp.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(row, shape=(self._vocabulary.size,))

    def _truncate(self, length: int) -> None:
        if length < len(self._cached):
            llama_cpp.llama_memory_seq_rm(self._memory, 0, length, -1)
            self._cached = self._cached[:length]

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)
        self._cached = []

    def _evaluated(self) -> int:
        counters = llama_cpp.llama_perf_context(self._context)
        return int(counters.n_p_eval + counters.n_eval)

    def _warm_up(self) -> None:
        """Touch the weights once; llama.cpp's counters also only count from one on."""
        for tokens in ([0, 0], [0]):
            self._decode(tokens, 0, last_only=True)
            self._forget()

    def _load_adapter(self, key: tuple[str, int, int]) -> Any:
        if key in self._adapters:
            return self._adapters[key]
        check_adapter(Path(key[0]), self._base_digest)
        handle = llama_cpp.llama_adapter_lora_init(self._model, key[0].encode())
        if not handle:
            raise AdapterError(
                f"llama.cpp cannot load the adapter {key[0]}: its shapes do not fit this base; "
                "choose the base that it was trained for"
            )
        return handle

    def _new_context(self, size: int, threads: int) -> Any:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = size
        parameters.n_batch = parameters.n_ubatch = _BATCH
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.abort_callback = self._abort
        parameters.abort_callback_data = self._stop.address
        parameters.no_perf = False
        context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not context:
            raise BaseFileError(
                f"no room for a context of {size} tokens; lower neuralforge.engine.context_tokens"
            )
        return context


@dataclass
class _Writer:
    """Turns tokens' bytes into text from the cursor on, and says when there is enough."""

    wanted: bytes
    """Healed bytes that the generation still has to say again."""
    stopper: Stopper
    on_piece: Callable[[str], None]
    text: str = ""
    """What stands so far; bytes of a character that is not complete yet are held back."""
    logprobs: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, piece: bytes) -> bool:
        """Take one token's bytes; whether the text is complete."""
        said = min(len(piece), len(self.wanted))
        self.wanted, piece = self.wanted[said:], piece[said:]
        grown = self.text + self._decoder.decode(piece)
        end = self.stopper.end(grown)
        grown = grown[:end]
        if len(grown) > len(self.text):
            self.on_piece(grown[len(self.text) :])
        self.text = grown
        return end is not None


def _load_model(path: Path) -> Any:
    parameters = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise BaseFileError(
            f"llama.cpp cannot read the base {path}: it is damaged or of an unknown kind; "
            "fetch it again, or choose another with --base"
        )
    if llama_cpp.llama_model_has_encoder(model):
        raise BaseFileError(
            f"{path.name} is an encoder-decoder model, which completes no text at a cursor here; "
            "choose a decoder-only code model such as Qwen2.5-Coder"
        )
    return model


def _metadata(model: Any, key: str) -> str | None:
    buffer = ctypes.create_string_buffer(512)
    length = llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, 512)
    return buffer.value.decode("utf-8", "replace") if length >= 0 else None


def _file_key(path: str) -> tuple[str, int, int]:
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise AdapterError(f"adapter {path}: {error.strerror}; load an existing file") from error
    return path, stat.st_size, stat.st_mtime_ns


def _common_length(first: list[int], second: list[int]) -> int:
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return i
    return min(len(first), len(second))


def _log_softmax_at(logits: Logits, token: int) -> float:
    shifted = logits - logits.max()
    return float(shifted[token] - np.log(np.exp(shifted).sum()))
