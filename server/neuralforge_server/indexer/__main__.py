"""`python -P -m neuralforge_server.indexer`: keeps the indexes of one workspace up to date.

Invariant: it never outlives its parent, whatever it is doing; it computes and reads only when
nobody else wants to; of several for one workspace one works and the others wait to take over. A
base that aborts llama.cpp takes this process with it and nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import BinaryIO

from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_server.indexer.priority import lower_priority
from neuralforge_server.indexer.protocol import IndexerProgress, decode_order, encode
from neuralforge_server.indexer.work import Work


def main() -> int:
    """Carry out the order on stdin until stdin ends; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    output = _take_stdout()
    order = decode_order(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lower_priority()

    def report(progress: IndexerProgress) -> None:
        output.write(encode(progress))
        output.flush()

    try:
        Work(order, report).run()
    except NeuralForgeError as error:
        report(IndexerProgress("failed", message=str(error)))
        return 1
    return 0


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # what is committed survives, and nothing else matters


def _take_stdout() -> BinaryIO:
    """Keep the pipe for progress; whatever a library prints goes to stderr."""
    progress = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return progress


if __name__ == "__main__":
    sys.exit(main())
