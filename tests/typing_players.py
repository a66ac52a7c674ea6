"""Two editors that a typing trace is played into: one on NeuralForge, one on llama-server.

Invariant: both get the same edits at the same times, and a text counts as visible at the moment
at which the editor could draw it. Knows no statistics.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from llama_prompt import Prompting
from llama_vim import LlamaVim
from neuralforge_server.lsp_client import DEFAULT_CAPABILITIES, LspClient
from typing_trace import Key, Place, Segment, Text

_SAMPLE_SECONDS = 0.2
_INDEX_SECONDS = 60.0
_CALM_SECONDS, _STILL_SECONDS, _STILL_SHARE = 15.0, 0.4, 0.1
_LANGUAGES = {".py": "python", ".ts": "typescript", ".tsx": "typescriptreact", ".js": "javascript"}


@dataclass
class Stroke:
    """One pressed key and what could be read behind the cursor before the next one."""

    typed: str
    ahead: str
    pressed: float
    shown: str | None = None
    """The last text that became visible."""
    seconds: float | None = None
    """From the key to the first text."""


@dataclass
class Screen:
    """What was visible, key by key."""

    strokes: list[Stroke] = field(default_factory=list)
    looked_at: bool = True

    def press(self, key: Key) -> None:
        """A key: what was visible is gone."""
        self.looked_at = True
        self.strokes.append(Stroke(key.text, key.ahead, time.perf_counter()))

    def show(self, text: str) -> None:
        """A text becomes visible behind the cursor, if anybody still looks."""
        if not self.looked_at:
            return
        stroke = self.strokes[-1]
        if stroke.seconds is None:
            stroke.seconds = time.perf_counter() - stroke.pressed
        stroke.shown = text


class Editor(Protocol):
    """What a trace is played into."""

    screen: Screen

    async def open(self, path: str, text: str, cursor: Place) -> None:
        """Show a file."""

    def press(self, key: Key) -> None:
        """Apply an edit, and ask for a suggestion where it was a key."""

    async def save(self) -> None:
        """Write the file and stop typing."""


class NeuralForgeEditor:
    """As VS Code does it: a request with every key, which cancels the one before."""

    def __init__(self, client: LspClient, workspace: Path) -> None:
        self.screen = Screen()
        self._client = client
        self._workspace = workspace
        self._path, self._text = "", Text("")
        self._open: set[str] = set()
        self._request: int | None = None
        self.runs: set[str] = set()
        """Generations of which something was shown."""

    async def start(self, settings: dict[str, Any]) -> None:
        """Shake hands for a folder."""
        self._client.settings = settings
        root = self._workspace.as_uri()
        folders = [{"uri": root, "name": self._workspace.name}]
        workspace = {**DEFAULT_CAPABILITIES["workspace"], "workspaceFolders": True}
        await self._client.request(
            "initialize",
            {
                "processId": None,
                "rootUri": root,
                "workspaceFolders": folders,
                "capabilities": {**DEFAULT_CAPABILITIES, "workspace": workspace},
            },
        )
        self._client.notify("initialized", {})

    async def warm_up(self) -> None:
        """Wait until it can answer, as an editor has when the user begins to type."""
        uri = self._uri("warm-up.py")
        self._client.open(uri, "import os\n\n\ndef main():\n    pri")
        await self._client.complete(uri, (4, 7))
        self._client.close(uri)

    async def settle(self) -> None:
        """Wait until the workspace is indexed: the project has been worked on before."""
        until = time.perf_counter() + _INDEX_SECONDS
        while time.perf_counter() < until:
            index = (await self.status())["index"]
            if index and all(p["state"] not in ("loading", "scanning") for p in index.values()):
                return
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def status(self) -> dict[str, Any]:
        """What the server says about itself."""
        status: dict[str, Any] = await self._client.execute("neuralforge.status")
        return status

    async def open(self, path: str, text: str, cursor: Place) -> None:
        uri = self._uri(path)
        if uri not in self._open:
            self._open.add(uri)
            self._client.open(uri, text, _LANGUAGES.get(Path(path).suffix, "plaintext"))
        elif path != self._path or str(self._text) != text:
            self._client.change(uri, text)
        self._path, self._text = path, Text(text)

    def press(self, key: Key) -> None:
        uri = self._uri(self._path)
        cursor = self._text.apply(key.start, key.end, key.text)
        self._client.change(uri, key.text, key.start, key.end)
        if not key.typed:
            return
        if self._request is not None:
            self._client.cancel(self._request)
        self._request, answer = self._client.send_complete(uri, cursor)
        stroke = len(self.screen.strokes)
        answer.add_done_callback(lambda done: self._answered(done, stroke, cursor))

    async def save(self) -> None:
        if self._request is not None:
            self._client.cancel(self._request)
        path = self._workspace / self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(path.write_text, str(self._text), "utf-8")
        document = {"textDocument": {"uri": self._uri(self._path)}}
        self._client.notify("textDocument/didSave", document)

    def _answered(self, done: asyncio.Future[Any], stroke: int, cursor: Place) -> None:
        """Show the first item, unless a key has been pressed since."""
        if done.cancelled() or done.exception() or stroke != len(self.screen.strokes):
            return
        for item in (done.result() or [])[:1]:
            shown = self._visible(item, cursor)
            if shown.strip():
                self.runs.add(item["command"]["arguments"][0])
                self.screen.show(shown)

    def _visible(self, item: dict[str, Any], cursor: Place) -> str:
        """What of an item stands behind the cursor; nothing where it disagrees with the text."""
        start = item["range"]["start"]
        there = self._text.between((start["line"], start["character"]), cursor)
        text = str(item["insertText"])
        return text[len(there) :] if text.startswith(there) else ""

    def _uri(self, path: str) -> str:
        return (self._workspace / path).as_uri()


class LlamaEditor:
    """vim with llama.vim."""

    def __init__(self, url: str, prompting: Prompting, n_predict: int | None) -> None:
        self.screen = Screen()
        more = {} if n_predict is None else {"n_predict": n_predict}
        self.vim = LlamaVim(url, prompting, self.screen.show, **more)
        self._path, self._text = "", Text("")

    async def open(self, path: str, text: str, cursor: Place) -> None:
        if path != self._path or text != str(self._text):
            self.vim.open(path, text, cursor)
        self._path, self._text = path, Text(text)

    def press(self, key: Key) -> None:
        self._text.apply(key.start, key.end, key.text)
        self.vim.press(key)

    async def save(self) -> None:
        self.vim.save()


async def play(segment: Segment, editor: Editor, speed: float, look: float) -> None:
    """Type a segment, `speed` times as fast as recorded, and look at its end for some seconds."""
    await editor.open(segment.path, segment.before, segment.keys[0].start)
    began = time.perf_counter()
    for key in segment.keys:
        wait = key.at / speed - (time.perf_counter() - began)
        await asyncio.sleep(max(0.0, wait))
        if key.typed:
            editor.screen.press(key)
        editor.press(key)
    await asyncio.sleep(look)
    editor.screen.looked_at = False
    await editor.save()


class Meter:
    """Watches a process and its children while it is entered: CPU seconds, and the most memory."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._seen: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def cpu_seconds(self) -> float:
        """Of all processes seen so far, those that have ended included."""
        self._seen.update(_cpu(self._pid))
        return sum(list(self._seen.values()))

    async def calm(self) -> None:
        """Wait until it has stopped computing, within reason."""
        until = time.perf_counter() + _CALM_SECONDS
        while time.perf_counter() < until:
            before = self.cpu_seconds
            await asyncio.sleep(_STILL_SECONDS)
            if self.cpu_seconds - before < _STILL_SHARE * _STILL_SECONDS:
                return

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._seen.update(_cpu(self._pid))
            self.peak_bytes = max(self.peak_bytes, _memory(self._pid))


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _cpu(pid: int) -> dict[int, float]:
    found = {}
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def _memory(pid: int) -> int:
    total = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total
