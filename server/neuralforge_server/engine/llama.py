"""One base in llama.cpp: loads it and answers requests with its parts.

Invariant: nothing computed under one stack answers a request for another (`kv`, `stacks`). Runs
in the engine process only, through llama-cpp-python's low-level calls; knows no pipe and no
document.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp

from neuralforge_adapters.errors import BaseFileError
from neuralforge_adapters.fim import choose_order, heal
from neuralforge_adapters.fim_families import named_fim
from neuralforge_adapters.gguf_header import read_gguf_header
from neuralforge_server.engine.candidates import Rivals, other_texts
from neuralforge_server.engine.evaluate import Evaluator, Logits, StoppedError
from neuralforge_server.engine.generate import (
    Choice,
    Drafter,
    Run,
    Writer,
    log_probability,
)
from neuralforge_server.engine.kv import KvCache
from neuralforge_server.engine.prompt import Prompt, Prompts
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    Completion,
    EngineInfo,
    LoadRequest,
    RememberRequest,
    Score,
    ScoreRequest,
    StopReason,
    WarmRequest,
)
from neuralforge_server.engine.recall import Recall
from neuralforge_server.engine.speculate import Speculator
from neuralforge_server.engine.stacks import Stacks
from neuralforge_server.engine.stop import StopFlag, abort_callback
from neuralforge_server.engine.stopping import Stopper
from neuralforge_server.engine.vocabulary import Vocabulary

_MOST_SEQUENCES = 4
"""Prompts kept in the KV cache, each in cells of its own."""
_EXACT_KV_BYTES = 32 << 20
"""Of a cache in 16 bits: one so small is kept in 32. Without flash attention 16 bits overturned
the best token of 4 prompts more in 200, against torch (docs/lab-log.md); the speed is the same."""
_KV_BYTES = 512 << 20
"""What they may take together; a single one may take more."""


_NO_FLASH_ATTENTION = 0
"""llama.cpp's LLAMA_FLASH_ATTN_TYPE_DISABLED, which llama-cpp-python does not name."""


class LlamaEngine:
    """A loaded base. Not thread-safe: one thread computes, others may only raise the flag."""

    def __init__(self, request: LoadRequest, stop: StopFlag) -> None:
        self._stop = stop
        self._model = _load_model(Path(request.base), request.gpu_layers)
        named = named_fim(read_gguf_header(Path(request.base)).metadata)
        self._vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(self._model), named)
        trained = llama_cpp.llama_model_n_ctx_train(self._model)
        size = min(request.context, trained)
        self._abort = abort_callback(llama_cpp.ggml_abort_callback)
        self._context = self._new_context(size, request)
        self._evaluator = Evaluator(self._context, request.batch, self._vocabulary.size, stop)
        self._kv = KvCache(self._context)
        self._stacks = Stacks(self._model, self._context, request.digest, self._kv.forget)
        order = choose_order(self._vocabulary.fim, _metadata(self._model, "neuralforge.fim.orders"))
        self._prompts = Prompts(self._vocabulary, order, size)
        self._memory = Recall(Path(request.memory) if request.memory else None, self._vocabulary)
        self._pace = Speculator() if _can_roll_back(self._model) else None
        self._warm_up()
        self.info = EngineInfo(
            name=_metadata(self._model, "general.name") or Path(request.base).stem,
            architecture=_metadata(self._model, "general.architecture") or "unknown",
            parameters=llama_cpp.llama_model_n_params(self._model),
            trained_context=trained,
            context=size,
            vocabulary=self._vocabulary.size,
            fim_order=order,
            file_bytes=Path(request.base).stat().st_size,
        )

    def set_stack(self, adapters: Sequence[tuple[str, float]], digest: str) -> None:
        """Put `adapters` (path, scale) in force, or leave everything as it was.

        Raises:
            AdapterError: a file is missing, damaged, not finite, or for another base.
        """
        self._stacks.put_in_force(adapters, digest)

    def has_stack(self, digest: str) -> bool:
        """Whether a request may name this stack."""
        return self._stacks.holds(digest)

    def complete(self, request: CompleteRequest, on_piece: Callable[[str], None]) -> Completion:
        """Generate greedily at the cursor; `on_piece` gets the text as it grows.

        Raises:
            StackError: the stack that it names is not loaded.
        """
        started, before = time.perf_counter(), self._evaluator.evaluated
        stack = self._stacks.use(request.stack)
        kept, healed = heal(request.prefix)
        prompt = self._prompts.make(kept, request.suffix, request.around, request.max_tokens)
        run = self._run(stack.serial, prompt, request.memory, evaluation=request.evaluation)
        cached = len(run.sequence.tokens)
        work = _Completing(request, prompt, healed.encode("utf-8", "replace"), run)
        stop = work.go(on_piece, lambda: self._stop.reason or "cancelled")
        return Completion(
            text=work.first.text,
            stop=stop,
            stack=stack.digest,
            generated_tokens=len(work.first.chosen),
            evaluated_tokens=self._evaluator.evaluated - before,
            cached_tokens=cached,
            milliseconds=(time.perf_counter() - started) * 1000,
            mean_logprob=work.first.mean_logprob,
            drafted_tokens=run.drafter.drafted,
            accepted_tokens=run.drafter.accepted,
            others=tuple(work.others),
        )

    def warm(self, request: WarmRequest) -> int:
        """Compute a prompt ahead, exactly, whatever was shifted before; tokens evaluated.

        Raises:
            StackError: the stack that it names is not loaded.
        """
        before = self._evaluator.evaluated
        stack = self._stacks.use(request.stack)
        kept, _ = heal(request.prefix)
        prompt = self._prompts.make(kept, request.suffix, request.around, reserve=1)
        sequence = self._kv.open(stack.serial, prompt.tokens, shift=False)
        with contextlib.suppress(StoppedError):  # something more urgent: what is finished stays
            self._evaluator.prompt(sequence, prompt.tokens)
        return self._evaluator.evaluated - before

    def score(self, request: ScoreRequest) -> Score:
        """Negative log likelihood of the healed middle, from an empty cache.

        Raises:
            StackError: the stack that it names is not loaded.
        """
        stack = self._stacks.use(request.stack)
        kept, healed = heal(request.prefix)
        target = self._vocabulary.tokenize(healed + request.middle)
        prompt = self._prompts.make(kept, request.suffix, request.around, len(target))
        run = self._run(stack.serial, prompt, request.memory, evaluation=True)
        nll = 0.0
        for token, row in zip(target, self._teacher_forced(run, target), strict=True):
            nll -= log_probability(run.mixed(row), token)
            run.memory.extend(token)
        return Score(nll=nll, tokens=len(target))

    def remember(self, request: RememberRequest) -> None:
        """Let the fast memory know what an open document holds now."""
        self._memory.remember(request.key, request.text)

    def logits(self, tokens: list[int]) -> Logits:
        """After `tokens`, from an empty cache (a copy): for comparing engines with each other."""
        sequence = self._kv.open(self._stacks.use("").serial, tokens, fresh=True)
        return self._evaluator.prompt(sequence, tokens, fixed=True).copy()

    def _run(self, stack: int, prompt: Prompt, scale: float, *, evaluation: bool) -> Run:
        sequence = self._kv.open(stack, prompt.tokens, fresh=evaluation, shift=not evaluation)
        self._memory.start(prompt.left, prompt.right)
        drafter = Drafter(self._memory, None if evaluation else self._pace)
        return Run(
            self._evaluator, self._vocabulary, sequence, prompt.tokens, drafter,
            self._memory, scale, evaluation,
        )  # fmt: skip

    def _teacher_forced(self, run: Run, target: list[int]) -> list[Logits]:
        """The logits before each of `target`'s tokens (copies)."""
        rows = [self._evaluator.prompt(run.sequence, run.prompt, fixed=True).copy()]
        step = self._evaluator.limit
        for start in range(0, len(target) - 1, step):
            chunk = target[:-1][start : start + step]
            rows.extend(row.copy() for row in self._evaluator.extend(run.sequence, chunk))
        return rows

    def _warm_up(self) -> None:
        """Touch the weights once; llama.cpp's counters also only count from one on."""
        for tokens in ([0, 0], [0]):
            self._evaluator.prompt(self._kv.open(0, tokens, fresh=True), tokens, fixed=True)
        self._kv.forget(0)

    def _new_context(self, size: int, request: LoadRequest) -> Any:
        parameters = llama_cpp.llama_context_default_params()
        sequences = kept_sequences(size * _kv_bytes_per_token(self._model))
        parameters.n_ctx = size * sequences
        parameters.n_seq_max = sequences
        parameters.kv_unified = False
        parameters.n_batch = parameters.n_ubatch = request.batch
        parameters.n_threads = parameters.n_threads_batch = request.threads
        parameters.abort_callback = self._abort
        parameters.abort_callback_data = self._stop.address
        parameters.no_perf = False
        on_cpu = request.gpu_layers == 0 or not llama_cpp.llama_supports_gpu_offload()
        if on_cpu:  # where flash attention halves the speed of a keystroke's few tokens
            parameters.flash_attn_type = _NO_FLASH_ATTENTION
            if parameters.n_ctx * _kv_bytes_per_token(self._model) <= _EXACT_KV_BYTES:
                parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
        context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not context:
            raise BaseFileError(
                f"no room for a context of {size} tokens; lower neuralforge.engine.context_tokens"
            )
        return context


class _Completing:
    """One request's texts, as far as they have come."""

    def __init__(self, request: CompleteRequest, prompt: Prompt, healed: bytes, run: Run) -> None:
        self._request = request
        self._prompt = prompt
        self._run = run
        self.first = Writer(healed, Stopper(request.rules), lambda _: None)
        self.others: list[str] = []

    def go(self, on_piece: Callable[[str], None], why: Callable[[], StopReason]) -> StopReason:
        """Make the first text, then the others while time is left; `why` explains a stop."""
        healed, limit = self.first.wanted, self._request.max_tokens
        self.first.on_piece = on_piece
        rivals = Rivals(self._run, self._request.candidates - 1)
        try:
            stop = self._run.generate(self.first, limit, rivals.watch)
        except StoppedError:
            stop = why()
        if stop in ("deadline", "length"):
            self.first.drop_unfinished_line()
        if self._request.candidates > 1 and stop not in ("deadline", "cancelled"):
            self._make_others(rivals, healed)
        return stop

    def _make_others(self, rivals: Rivals, healed: bytes) -> None:
        found: list[tuple[float, str]] = []
        wanted = self._request.candidates - 1
        branches = rivals.branches(self.first.chosen)
        others = other_texts(self.first, branches, lambda b: self._branch(b, healed), wanted)
        with contextlib.suppress(StoppedError):  # then the time is up, and these are the others
            found.extend(others)
        self.others = [text for _, text in sorted(found, reverse=True)]

    def _branch(self, beginning: list[Choice], healed: bytes) -> Writer:
        writer = Writer(healed, Stopper(self._request.rules), lambda _: None)
        self._run.memory.start(self._prompt.left, self._prompt.right)
        if not self._run.replay(beginning, writer):
            stop = self._run.generate(writer, self._request.max_tokens)
            if stop == "length":
                writer.drop_unfinished_line()
        return writer


def _load_model(path: Path, gpu_layers: int) -> Any:
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = gpu_layers
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


def kept_sequences(bytes_each: int) -> int:
    """How many prompts to keep, where one takes so many bytes."""
    return max(1, min(_MOST_SEQUENCES, _KV_BYTES // max(1, bytes_each)))


def _kv_bytes_per_token(model: Any) -> int:
    """Keys and values of two bytes each, in every layer."""
    heads = max(1, llama_cpp.llama_model_n_head(model))
    width = llama_cpp.llama_model_n_embd(model) * llama_cpp.llama_model_n_head_kv(model) // heads
    return 2 * 2 * int(width) * int(llama_cpp.llama_model_n_layer(model))


def _can_roll_back(model: Any) -> bool:
    """Whether tokens can be taken back; a recurrent state only goes forward."""
    return not (llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model))
