"""Drives a real Neovim as a terminal does: keys go in, and what is drawn comes back.

Invariant: nothing waits forever and nothing polls: a wait ends with a message of Neovim's or with
its deadline, and then shows the screen. Knows no completion.
"""

from __future__ import annotations

import itertools
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

WIDTH, HEIGHT = 100, 24
GHOST = 0x9A8CD1
"""The colour of ghost text in these tests, which nothing else has."""
_SECONDS = 30.0


@dataclass
class Cell:
    """One place of the grid: a character and the id of its highlight."""

    text: str = " "
    highlight: int = 0


@dataclass
class Screen:
    """The grid as the user interface events draw it, and what the highlights look like."""

    width: int = WIDTH
    height: int = HEIGHT
    cells: list[list[Cell]] = field(default_factory=list)
    highlights: dict[int, dict[str, Any]] = field(default_factory=dict)
    colors: tuple[int, int] = (0xE0E2EA, 0x14161B)
    """Default foreground and background."""
    cursor: tuple[int, int] = (0, 0)

    def text(self) -> str:
        """What is on the screen."""
        return "\n".join("".join(cell.text for cell in row).rstrip() for row in self.cells)

    def colored(self, color: int) -> str:
        """What is drawn in a foreground colour, line by line."""
        lines = (
            "".join(c.text for c in row if self._foreground(c.highlight) == color)
            for row in self.cells
        )
        return "\n".join(line for line in lines if line)

    def _foreground(self, highlight: int) -> int:
        return int(self.highlights.get(highlight, {}).get("foreground", self.colors[0]))

    def take(self, name: str, call: Sequence[Any]) -> None:
        """One user interface event (`:help ui-events`)."""
        if (handler := getattr(self, f"_on_{name}", None)) is not None:
            handler(*call)

    def _on_grid_resize(self, _: int, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.cells = [[Cell() for _ in range(width)] for _ in range(height)]

    def _on_grid_clear(self, _: int) -> None:
        self._on_grid_resize(0, self.width, self.height)

    def _on_grid_cursor_goto(self, _: int, row: int, column: int) -> None:
        self.cursor = (row, column)

    def _on_default_colors_set(self, foreground: int, background: int, *_: Any) -> None:
        self.colors = (foreground, background)

    def _on_hl_attr_define(self, number: int, rgb: Any, *_: Any) -> None:
        self.highlights[number] = dict(rgb)

    def _on_grid_line(self, _: int, row: int, column: int, cells: Sequence[Any], *__: Any) -> None:
        highlight = 0
        for text, *more in cells:
            highlight = more[0] if more else highlight
            for _repeat in range(more[1] if len(more) > 1 else 1):
                self.cells[row][column] = Cell(text, highlight)
                column += 1

    def _on_grid_scroll(
        self, _: int, top: int, bottom: int, left: int, right: int, rows: int, *__: Any
    ) -> None:
        forward = range(top, bottom - rows) if rows > 0 else range(bottom - 1, top - rows - 1, -1)
        for row in forward:
            self.cells[row][left:right] = [
                Cell(c.text, c.highlight) for c in self.cells[row + rows][left:right]
            ]


class Neovim:
    """One Neovim with a user interface; a context manager."""

    def __init__(self, program: Path, folder: Path, environment: Mapping[str, str]) -> None:
        """Start it, with its files under `folder` and no configuration of the user's."""
        self.screen = Screen()
        self._numbers = itertools.count(1)
        self._answers: dict[int, tuple[Any, Any]] = {}
        self._arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [str(program), "--embed", "--clean", "-n", "--cmd", "set shortmess+=I"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, **_own_folders(folder), **environment},
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.lua("vim.api.nvim_set_hl(0, 'NeuralForgeGhost', { fg = ... })", GHOST)
        options = {"rgb": True, "ext_linegrid": True}
        self.request("nvim_ui_attach", WIDTH, HEIGHT, options)

    def __enter__(self) -> Neovim:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave Neovim without saving, and its server with it."""
        if self.process.poll() is None:
            self._send([2, "nvim_input", ["<Esc><CR>"]])  # out of a prompt, where there is one
            self._send([2, "nvim_command", ["qall!"]])
            self.process.wait(_SECONDS)
        assert self.process.stdin is not None
        self.process.stdin.close()

    # what a user does

    def type(self, keys: str) -> None:
        """Press keys, in Vim's notation."""
        self.request("nvim_input", keys)

    def command(self, text: str) -> None:
        """Run an Ex command."""
        self.request("nvim_command", text)

    def lua(self, code: str, *arguments: Any) -> Any:
        """Run Lua in Neovim."""
        return self.request("nvim_exec_lua", code, arguments)

    # what a user sees

    @property
    def lines(self) -> list[str]:
        """The text of the current buffer."""
        return list(self.request("nvim_buf_get_lines", 0, 0, -1, True))

    def look(self) -> str:
        """The screen as it is now."""
        self.command("redraw")
        return self.screen.text()

    def ghost(self) -> str:
        """The ghost text on the screen as it was last drawn."""
        return self.screen.colored(GHOST)

    def wait(self, what: str, seen: Callable[[], Any], seconds: float = _SECONDS) -> Any:
        """Take in what Neovim draws and tells until `seen` is true; returns what it gave.

        Raises:
            AssertionError: it was not in time.
        """
        end = time.monotonic() + seconds
        while not (found := seen()):
            self._take_one(what, end)
        return found

    def wait_lua(self, what: str, condition: str, seconds: float = _SECONDS) -> None:
        """Let Neovim wait until a Lua expression is true."""
        code = f"return vim.wait({int(seconds * 1000)}, function() return {condition} end, 10)"
        seen = self.request("nvim_exec_lua", code, [], seconds=seconds + _SECONDS)
        assert seen, f"not so in {seconds} s: {what}\n{self.screen.text()}"

    # underneath

    def request(self, method: str, *arguments: Any, seconds: float = 2 * _SECONDS) -> Any:
        """Call a function of Neovim's interface.

        Raises:
            AssertionError: it gives an error, or no answer.
        """
        number = next(self._numbers)
        self._send([0, number, method, arguments])
        end = time.monotonic() + seconds
        while number not in self._answers:
            self._take_one(f"the answer to {method}", end)
        error, result = self._answers.pop(number)
        assert error is None, f"{method}: {error[1]}"
        return result

    def _send(self, message: Sequence[Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgpack.packb(message))
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        unpacker = msgpack.Unpacker(ext_hook=lambda _, data: data)
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            unpacker.feed(data)
            for message in unpacker:
                self._arrived.put(message)
        self._arrived.put(None)

    def _take_one(self, what: str, end: float) -> None:
        try:
            message = self._arrived.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"not seen in time: {what}\n{self.screen.text()}") from None
        assert message is not None, f"Neovim ended before {what}\n{self.screen.text()}"
        if message[0] == 1:
            self._answers[message[1]] = (message[2], message[3])
        else:
            self._notified(message[1], message[2])

    def _notified(self, name: str, arguments: Sequence[Any]) -> None:
        if name == "redraw":
            for event, *calls in arguments:
                for call in calls:
                    self.screen.take(event, call)


def _own_folders(folder: Path) -> dict[str, str]:
    names = ("CONFIG", "DATA", "STATE", "CACHE")
    folders = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in names}
    return {**folders, "NVIM_LOG_FILE": str(folder / "nvim.log")}
