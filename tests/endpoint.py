"""An endpoint that does what it is told.

A stand-in, since no real server hangs, resets or answers nonsense on demand, and for failures
only; what works is tested against a real llama-server (tests/unit/test_remote.py). Invariant: it
speaks HTTP over a real socket on a free port, and its answer can be exchanged while it runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

PROPS = {"default_generation_settings": {"n_ctx": 1024}, "model_alias": "stand-in"}

Answer = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One HTTP request that the stand-in received, and the wire to answer it on."""

    def __init__(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.path = head.split(b" ")[1].decode()
        self.head = head.decode()
        self.body = json.loads(body) if body else None
        self.writer = writer

    async def send(self, content: bytes, status: str = "200 OK", kind: str = "text/html") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        self.writer.write(head.encode() + content)
        await self.writer.drain()

    async def send_json(self, value: Any, status: str = "200 OK") -> None:
        await self.send(json.dumps(value).encode(), status, "application/json")

    async def events(self, *values: Any) -> None:
        lines = "".join(f"data: {json.dumps(value)}\n\n" for value in values)
        await self.send(lines.encode(), kind="text/event-stream")


class Endpoint:
    """A socket server on a free port whose answer can be exchanged while it runs."""

    def __init__(self) -> None:
        self.answer: Answer = healthy
        self.received: list[Exchange] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(h[15:])
                    for h in head.split(b"\r\n")
                    if h.lower().startswith(b"content-length")
                ),
                0,
            )
            exchange = Exchange(head, await reader.readexactly(length), writer)
            self.received.append(exchange)
            await self.answer(exchange)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def healthy(exchange: Exchange) -> None:
    """What a llama-server says that always completes to `nt(1)`."""
    if exchange.path == "/props":
        await exchange.send_json(PROPS)
    elif exchange.path == "/lora-adapters":
        await exchange.send_json([{"id": 0, "path": "/far/team.gguf", "scale": 1.0}])
    else:
        healed = exchange.body["grammar"].split('"')[1] if "grammar" in exchange.body else ""
        timings = {"prompt_n": 7, "predicted_n": 2, "cache_n": 30}
        await exchange.events(
            {"content": healed + "nt", "stop": False, "timings": timings},
            {"content": "(1)", "stop": False, "timings": timings},
            {"content": "", "stop": True, "stop_type": "eos", "timings": timings},
        )


async def hang(exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def reset(exchange: Exchange) -> None:
    exchange.writer.transport.abort()


async def nonsense(exchange: Exchange) -> None:
    await exchange.send(b"<html>Welcome to the coffee machine</html>")


async def broken_events(exchange: Exchange) -> None:
    if exchange.path != "/infill":
        await healthy(exchange)
    else:
        await exchange.send(b"data: {not json\n\n", kind="text/event-stream")


async def endless_line(exchange: Exchange) -> None:
    if exchange.path != "/infill":
        await healthy(exchange)
        return
    await exchange.send(b"data: ", kind="text/event-stream")
    while True:
        exchange.writer.write(b"x" * 65536)
        await exchange.writer.drain()


async def ends_in_the_middle(exchange: Exchange) -> None:
    if exchange.path != "/infill":
        await healthy(exchange)
    else:
        await exchange.events({"content": "pr", "stop": False})


async def reset_while_answering(exchange: Exchange) -> None:
    if exchange.path != "/infill":
        await healthy(exchange)
    else:
        await exchange.events({"content": "pr", "stop": False})
        exchange.writer.transport.abort()


@asynccontextmanager
async def running() -> AsyncIterator[Endpoint]:
    """A healthy one."""
    served = Endpoint()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield served
    server.close()
