"""The engine process: reads requests from stdin, computes the most urgent, answers on stdout.

Invariant: it never outlives its parent. The thread that reads stdin ends the process at its end,
even in the middle of a computation. Started as `python -P -m neuralforge_server.engine`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any, BinaryIO

import llama_cpp

from neuralforge_adapters.errors import AdapterError, NeuralForgeError
from neuralforge_server.engine.inbox import Inbox
from neuralforge_server.engine.llama import LlamaEngine
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    LoadRequest,
    RememberRequest,
    Request,
    ScoreRequest,
    StackRequest,
    WarmRequest,
    decode_request,
)
from neuralforge_server.engine.stop import StopFlag


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    output = _take_stdout()
    stop = StopFlag()
    _log = _quiet_llama_cpp(stop)
    inbox = Inbox()
    threading.Thread(target=_read, args=(sys.stdin.buffer, inbox, stop), daemon=True).start()
    worker = Worker(output, stop)
    while True:
        worker.answer(*inbox.take())


class Worker:
    """Computes one request after the other and writes what comes of it."""

    def __init__(self, output: BinaryIO, stop: StopFlag) -> None:
        self._output = output
        self._stop = stop
        self._engine: LlamaEngine | None = None

    def answer(self, request_id: int, request: Request) -> None:
        """Reply with a result or an error; only a crash of llama.cpp itself gets past this."""
        deadline = None
        if isinstance(request, CompleteRequest) and not request.evaluation:
            deadline = request.deadline_ms
        self._stop.begin(request_id, deadline)
        try:
            result = self._compute(request_id, request)
        except Exception as error:  # noqa: BLE001 - the dispatch edge: the parent gets to know
            self._write(
                {
                    "id": request_id,
                    "error": _describe(error),
                    "adapter": isinstance(error, AdapterError),
                }
            )
        else:
            self._write({"id": request_id, "result": result})
        finally:
            self._stop.end()

    def _compute(self, request_id: int, request: Request) -> dict[str, Any]:
        if isinstance(request, LoadRequest):
            self._engine = LlamaEngine(request, self._stop)
            return asdict(self._engine.info)
        if self._engine is None:
            raise RuntimeError("no base is loaded")
        if isinstance(request, StackRequest):
            self._engine.set_stack(request.adapters, request.digest)
            return {}
        if isinstance(request, ScoreRequest):
            return asdict(self._engine.score(request))
        if isinstance(request, WarmRequest):
            self._engine.warm(request)
            return {}
        if isinstance(request, RememberRequest):
            self._engine.remember(request)
            return {}
        completion = self._engine.complete(
            request, lambda piece: self._write({"id": request_id, "piece": piece})
        )
        return asdict(completion)

    def _write(self, message: dict[str, Any]) -> None:
        self._output.write(json.dumps(message).encode() + b"\n")
        self._output.flush()


def _read(stream: BinaryIO, inbox: Inbox, stop: StopFlag) -> None:
    for line in stream:
        message = json.loads(line)
        if "cancel" in message:
            if inbox.holds(message["cancel"]):
                stop.cancel(message["cancel"])
            continue
        for overtaken in inbox.put(*decode_request(message)):
            stop.cancel(overtaken)
    os._exit(0)  # the parent is gone; nothing here is worth a moment more


def _take_stdout() -> BinaryIO:
    """Keep the pipe for replies; whatever a library prints goes to stderr."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def _quiet_llama_cpp(stop: StopFlag) -> Any:
    """Let only warnings and errors through; the callback lives as long as it is referenced."""

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def log(level: int, text: bytes, _: object) -> None:
        # ggml's levels 3 and 4 are warning and error; an abort that we asked for is neither
        if level in (3, 4) and not stop.raised:
            sys.stderr.write(text.decode("utf-8", "replace"))

    llama_cpp.llama_log_set(log, None)
    llama_cpp.llama_backend_init()
    return log


def _describe(error: Exception) -> str:
    if isinstance(error, NeuralForgeError):
        return str(error)
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
