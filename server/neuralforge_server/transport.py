"""Bytes in and out of the server: stdio by two threads, or one TCP connection.

Invariant: the event loop never waits for a pipe; what was written before the end is written out.
Knows no message.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

_CHUNK = 1 << 16
_FLUSH_SECONDS = 2.0
"""How long the end waits for a client that still reads."""


class PipeWriter:
    """Writes to a blocking stream from a thread of its own, in order."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lsp-writer", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        self._queue.put(data)

    def close(self) -> None:
        """Write out what is queued, unless nobody reads it."""
        self._queue.put(None)
        self._thread.join(_FLUSH_SECONDS)

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the client is gone: stdin ends as well
            while (data := self._queue.get()) is not None:
                self._stream.write(data)
                self._stream.flush()


def take_stdio() -> tuple[BinaryIO, BinaryIO]:
    """The protocol's streams; whatever is printed from now on goes to stderr instead."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    return stdin, stdout


async def read_pipe(stream: BinaryIO, receive: Callable[[bytes], None]) -> None:
    """Hand every chunk of a blocking stream to `receive` in this loop, until its end.

    The reading thread is left behind when this is cancelled: nothing can interrupt it.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    # not the buffered stream, whose lock a thread left behind would hold when Python ends
    descriptor = stream.fileno()

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended first
            try:
                while data := os.read(descriptor, _CHUNK):
                    loop.call_soon_threadsafe(receive, data)
            except OSError:
                pass
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=run, name="lsp-reader", daemon=True).start()
    await ended.wait()


async def accept_one(
    host: str, port: int, listening: Callable[[str, int], None]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The first connection to `host:port`; later ones are refused.

    Args:
        listening: is told the address, which for port 0 is chosen by the system.

    Raises:
        OSError: the address cannot be bound.
    """
    first: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    first = asyncio.get_running_loop().create_future()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first.done():
            writer.close()
        else:
            first.set_result((reader, writer))

    server = await asyncio.start_server(accept, host, port)
    listening(*server.sockets[0].getsockname()[:2])
    try:
        return await first
    finally:
        server.close()


async def read_socket(reader: asyncio.StreamReader, receive: Callable[[bytes], None]) -> None:
    """Hand every chunk of a connection to `receive`, until its end."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            receive(data)
