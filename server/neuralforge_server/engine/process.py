"""Starting an engine process and exchanging lines with it, from any thread.

Knows neither what the messages mean nor what to do when the process ends: clients do. See
`shared` for the engine of another server.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

import psutil

Message = dict[str, Any]
OnMessage = Callable[[Message], None]
OnExit = Callable[[int], None]
"""Called with the exit status; negative for a signal, as subprocess does."""


class Transport(Protocol):
    """The way to an engine process, whoever started it."""

    @property
    def pid(self) -> int:
        """The engine's process id."""

    def send(self, line: bytes) -> None:
        """Write one line; an engine that has ended is reported by `OnExit`, not here."""

    def close(self) -> None:
        """Be done with the engine."""


class EngineProcess:
    """One child. `on_message` and `on_exit` are called from its reader thread."""

    def __init__(self, on_message: OnMessage, on_exit: OnExit) -> None:
        self._process = subprocess.Popen(
            # -P: a `torch.py` or `queue.py` in the working directory must not be imported
            [sys.executable, "-P", "-m", "neuralforge_server.engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._write_lock = threading.Lock()
        threading.Thread(target=self._read, args=(on_message, on_exit), daemon=True).start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Write one line; a child that has ended is reported by `on_exit`, not here."""
        assert self._process.stdin is not None
        with self._write_lock, contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def close(self, timeout: float = 2.0) -> None:
        """End the child: by closing its stdin, and by force if it does not go (seconds)."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, on_message: OnMessage, on_exit: OnExit) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                on_message(json.loads(line))
        on_exit(self._process.wait())


def default_threads() -> int:
    """Threads to compute with: all physical cores but one.

    llama.cpp's threads wait for each other at every node by spinning, so a single core taken by
    a compiler stops them all: with both of two cores busy elsewhere, two threads decoded 77
    tokens a second where one decoded 739 (docs/lab-log.md).
    """
    return max(1, (psutil.cpu_count(logical=False) or psutil.cpu_count() or 1) - 1)
