"""The engine process: reads requests, computes the most urgent, answers.

Invariant: it never outlives those it works for. Started as `python -P -m
neuralforge_server.engine` (by `__main__`) it speaks with its parent over stdin and stdout, and the
thread that reads stdin ends the process at its end, even in the middle of a computation. With the
folder and name of a place it is shared: it listens there, and ends soon after its last client has
gone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import llama_cpp

from neuralforge_server.engine.clients import Client
from neuralforge_server.engine.inbox import Inbox
from neuralforge_server.engine.listener import Listener
from neuralforge_server.engine.place import Place
from neuralforge_server.engine.stop import StopFlag
from neuralforge_server.engine.worker import Worker, attend


def main() -> None:
    """Answer requests until there is nobody left to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    output = _take_stdout()
    stop = StopFlag()
    _log = _quiet_llama_cpp(stop)
    inbox = Inbox()
    if len(sys.argv) > 1:
        worker = Worker(stop, _share(output, inbox, stop, *sys.argv[1:]))
    else:
        _serve_parent(output, inbox, stop)
        worker = Worker(stop)
    while True:
        worker.answer(inbox.take())


def _serve_parent(output: BinaryIO, inbox: Inbox, stop: StopFlag) -> None:
    def send(line: bytes) -> None:
        output.write(line)
        output.flush()

    def read() -> None:
        attend(Client(1, send), sys.stdin.buffer, inbox, stop)
        os._exit(0)  # the parent is gone; nothing here is worth a moment more

    threading.Thread(target=read, daemon=True).start()


def _share(
    output: BinaryIO, inbox: Inbox, stop: StopFlag, folder: str, name: str, *family: str
) -> Callable[[int], None]:
    """Listen at a place, and say so to who started this; returns what is to be told of turns."""

    def leave(client: Client) -> None:
        running = inbox.drop(client)
        if running is not None:
            stop.cancel(running)

    listener = Listener(
        Place(Path(folder), name), lambda client, lines: attend(client, lines, inbox, stop), leave
    )
    note = listener.open(tcp="tcp" in family)
    with output:
        output.write(b"listening\n")
    return note.turn


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
