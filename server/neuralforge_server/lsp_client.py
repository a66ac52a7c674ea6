"""A small LSP client over stdio: how the demo, the benchmark and the tests drive a server.

Invariant: it speaks as an editor does, to a server in a process of its own, and nothing waits
forever. Positions are in UTF-16 units unless another encoding was agreed on. Knows no pygls.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import HOME_VARIABLE
from neuralforge_server.framing import FrameReader

DEFAULT_CAPABILITIES: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-16"]},
    "textDocument": {"inlineCompletion": {}},
    "window": {"workDoneProgress": True},
    "workspace": {"configuration": True},
}
_SECONDS = 60.0
"""How long anything may take that does not say."""

Message = dict[str, Any]


class ServerError(NeuralForgeError):
    """The server answered with an error, or ended."""

    def __init__(self, message: str, code: int | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class LspClient:
    """One connection to one server process; an asynchronous context manager."""

    def __init__(
        self,
        arguments: Sequence[str] = ("serve",),
        *,
        home: Path | None = None,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            arguments: of the `neuralforge` command.
            settings: what `workspace/configuration` is answered with.
            command: another program to start instead of this Python's `neuralforge`.
        """
        start = "from neuralforge_server.cli import main; main()"
        self._command = list(command or [sys.executable, "-P", "-c", start, *arguments])
        self._environment = {**os.environ, **(environment or {})}
        if home is not None:
            self._environment[HOME_VARIABLE] = str(home)
        self.settings: Any = dict(settings or {})
        self.answers: dict[str, Callable[[Any], Any]] = {}
        """What requests of the server are answered with, by method."""
        self.notifications: list[Message] = []
        """Everything that the server told, oldest first."""
        self.requests: list[Message] = []
        """Everything that the server asked."""
        self.process: asyncio.subprocess.Process
        self.capabilities: dict[str, Any] = {}
        self._next_id = 0
        self._held: bytearray | None = None
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._versions: dict[str, int] = {}
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> LspClient:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    # the process

    async def start(self) -> None:
        """Start the server and read what it says."""
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        self._reading = asyncio.create_task(self._read())

    async def stop(self) -> int:
        """Leave as the protocol says, by force where that does not help; returns the status."""
        if self.process.returncode is None:
            with contextlib.suppress(ServerError, TimeoutError, ConnectionError):
                await self.request("shutdown", seconds=10)
                self.notify("exit")
            assert self.process.stdin is not None
            self.process.stdin.close()
        try:
            code = await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
            code = await self.process.wait()
        await self._reading
        return code

    # messages

    async def request(self, method: str, params: Any = None, seconds: float = _SECONDS) -> Any:
        """Ask and wait for the result.

        Raises:
            ServerError: the answer is an error, or the server ended.
            TimeoutError: there is none in time.
        """
        return await asyncio.wait_for(self.send_request(method, params)[1], seconds)

    def send_request(self, method: str, params: Any = None) -> tuple[int, asyncio.Future[Any]]:
        """Ask without waiting: the request's id, and its result to come."""
        self._next_id += 1
        future = self._pending[self._next_id] = asyncio.get_running_loop().create_future()
        if self._reading.done():
            future.set_exception(ServerError("the server has ended"))
        else:
            self._send({"id": self._next_id, "method": method, "params": params})
        return self._next_id, future

    def notify(self, method: str, params: Any = None) -> None:
        """Tell the server something."""
        self._send({"method": method, "params": params})

    def cancel(self, request_id: int) -> None:
        """Take a request back."""
        self.notify("$/cancelRequest", {"id": request_id})

    def send_raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        assert self.process.stdin is not None
        if self._held is None:
            self.process.stdin.write(data)
        else:
            self._held += data

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what is sent within at once, so that the server finds it in one piece."""
        self._held = bytearray()
        try:
            yield
        finally:
            data, self._held = bytes(self._held), None
            self.send_raw(data)

    async def wait_for(
        self, method: str, accept: Callable[[Any], bool] = lambda _: True, seconds: float = _SECONDS
    ) -> Any:
        """The parameters of the first notification or request of the server that is accepted.

        Raises:
            TimeoutError: there is none in time.
        """

        def found() -> Message | None:
            for message in [*self.notifications, *self.requests]:
                if message["method"] == method and accept(message.get("params")):
                    return message
            return None

        async with self._arrived:
            await asyncio.wait_for(
                self._arrived.wait_for(lambda: found() is not None), timeout=seconds
            )
        message = found()
        assert message is not None
        return message.get("params")

    # what an editor does

    async def initialize(
        self,
        capabilities: Mapping[str, Any] | None = None,
        options: Any = None,
        folder: Path | None = None,
    ) -> dict[str, Any]:
        """Shake hands, with `folder` as the workspace; returns the server's capabilities."""
        result = await self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": None if folder is None else folder.as_uri(),
                "capabilities": DEFAULT_CAPABILITIES if capabilities is None else capabilities,
                "initializationOptions": options,
            },
        )
        self.capabilities = result["capabilities"]
        self.notify("initialized", {})
        return self.capabilities

    def open(self, uri: str, text: str, language: str = "python") -> None:
        """Open a document."""
        self._versions[uri] = 1
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def change(
        self, uri: str, text: str, start: tuple[int, int] | None = None,
        end: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """Replace the text from `start` to `end` (line, character), or all of it."""
        self._versions[uri] += 1
        change: dict[str, Any] = {"text": text}
        if start is not None:
            change["range"] = {"start": _place(start), "end": _place(end or start)}
        identifier = {"uri": uri, "version": self._versions[uri]}
        self.notify(
            "textDocument/didChange", {"textDocument": identifier, "contentChanges": [change]}
        )

    def save(self, uri: str) -> None:
        """Save a document."""
        self.notify("textDocument/didSave", {"textDocument": {"uri": uri}})

    def close(self, uri: str) -> None:
        """Close a document."""
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    async def complete(self, uri: str, position: tuple[int, int]) -> list[dict[str, Any]]:
        """The inline suggestions at (line, character)."""
        items: list[dict[str, Any]] = await self.send_complete(uri, position)[1]
        return items

    def send_complete(
        self, uri: str, position: tuple[int, int], trigger: int = 2
    ) -> tuple[int, asyncio.Future[Any]]:
        """`complete` without waiting; `trigger` 1 is invoked, 2 automatic."""
        return self.send_request(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": _place(position),
                "context": {"triggerKind": trigger},
            },
        )

    async def execute(self, command: str, *arguments: Any, seconds: float = _SECONDS) -> Any:
        """Run a command of the server."""
        params = {"command": command, "arguments": list(arguments)}
        return await self.request("workspace/executeCommand", params, seconds)

    async def accept(self, item: Mapping[str, Any]) -> Any:
        """Report that a suggestion was taken, as its item asks for."""
        command = item["command"]
        return await self.execute(command["command"], *command["arguments"])

    # underneath

    def _send(self, message: Message) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.send_raw(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _read(self) -> None:
        assert self.process.stdout is not None
        frames = FrameReader()
        while data := await self.process.stdout.read(1 << 16):
            for body in frames.feed(data):
                self._receive(json.loads(body))
            async with self._arrived:
                self._arrived.notify_all()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(ServerError("the server has ended"))
                future.exception()  # whoever waits still gets it

    def _receive(self, message: Message) -> None:
        if "method" not in message:
            self._resolve(message)
        elif "id" in message:
            self.requests.append(message)
            result = self._answer(message["method"], message.get("params"))
            self._send({"id": message["id"], "result": result})
        else:
            self.notifications.append(message)

    def _answer(self, method: str, params: Any) -> Any:
        if method in self.answers:
            return self.answers[method](params)
        if method == "workspace/configuration":
            return [self.settings for _ in params["items"]]
        return None

    def _resolve(self, message: Message) -> None:
        future = self._pending.pop(message.get("id") or 0, None)
        if future is None or future.done():
            return
        if error := message.get("error"):
            future.set_exception(
                ServerError(error["message"], error.get("code"), error.get("data"))
            )
        else:
            future.set_result(message.get("result"))


def _place(position: tuple[int, int]) -> dict[str, int]:
    return {"line": position[0], "character": position[1]}
