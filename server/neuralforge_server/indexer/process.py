"""Starting an indexer, and hearing how it gets on.

Invariant: one at a time; a base that its process died of is left out the next time, so that the
context still comes. Callbacks come from a reader thread. Knows no index.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from neuralforge_adapters.base import Base
from neuralforge_adapters.home import Home
from neuralforge_server.indexer.protocol import (
    IndexerOrder,
    IndexerProgress,
    decode_progress,
    encode,
)

_STOP_SECONDS = 2.0


class Indexer:
    """The handle of at most one indexer process."""

    def __init__(self, on_progress: Callable[[IndexerProgress], None]) -> None:
        self._on_progress = on_progress
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None where none was started or it was stopped."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def start(
        self, workspace: Path, home: Home, base: Base | None, exclude: Sequence[str] = ()
    ) -> None:
        """Index `workspace`, and for the fast memory of `base` if there is one.

        A process that works on something else is stopped. `exclude` are the user's own patterns.
        """
        order = IndexerOrder(
            str(workspace),
            str(home.root),
            home.profile,
            tuple(exclude),
            str(base.path) if base else "",
            base.digest if base else "",
        )
        with self._lock:
            self.stop()
            self._start(order)

    def stop(self) -> None:
        """End the process: by closing its stdin, and by force if it does not go."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self, order: IndexerOrder) -> None:
        try:
            process = subprocess.Popen(
                # -P: a `torch.py` or `queue.py` in the working directory must not be imported
                [sys.executable, "-P", "-m", "neuralforge_server.indexer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            message = f"the indexer cannot be started: {error}; completion goes on without it"
            self._on_progress(IndexerProgress("ended", message=message))
            return
        self._process = process
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # that it ended at once is told by the reader
            process.stdin.write(encode(order))
            process.stdin.flush()
        threading.Thread(target=self._read, args=(process, order), daemon=True).start()

    def _read(self, process: subprocess.Popen[bytes], order: IndexerOrder) -> None:
        last = IndexerProgress("loading")
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError, TypeError):  # cut off by a kill
                    last = decode_progress(line)
                    self._on_progress(last)
        status = process.wait()
        with self._lock:
            if self._process is not process:
                return  # it was stopped
            self._process = None
            if status != 0:
                self._ended(status, last, order)

    def _ended(self, status: int, last: IndexerProgress, order: IndexerOrder) -> None:
        """Tell of a process that failed, and go on without what it failed at."""
        if order.base and last.state in {"loading", "failed"}:
            message = last.message or f"{order.base} ended the indexer (status {status})"
            self._on_progress(
                IndexerProgress("loading", message=f"no fast memory of this workspace: {message}")
            )
            self._start(replace(order, base="", base_digest=""))
            return
        message = last.message or f"the indexer ended with status {status}; reopen the workspace"
        self._on_progress(IndexerProgress("ended", last.files, message))
