"""A real Neovim with the plugin and the real server, in folders of the tests' own."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from e2e.homes import rows
from e2e.nvim.driver import Neovim
from neuralforge_adapters.home import HOME_VARIABLE, Home
from neuralforge_server.session.rows import LoggedSuggestion

PLUGIN = Path(__file__).parents[3] / "editor-clients" / "neovim"
SERVER = [sys.executable, "-P", "-c", "from neuralforge_server.cli import main; main()"]

READERS = """# Readers for {name}.


def read_text(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def read_lines(path):
"""
"""A file whose next line is plain from what it holds: `with open(path, encoding="utf-8")…`."""

ATTACHED = "(vim.lsp.get_clients({ bufnr = 0, name = 'neuralforge' })[1] or {}).initialized == true"
_ASKING_SECONDS = 30.0
PATIENT = {"completion": {"deadline_ms": 20_000}}
"""However busy the machine is, suggestions come."""
_LOAD = "vim.opt.rtp:prepend(...) vim.cmd.runtime('plugin/neuralforge.lua')"
_SAID = """
table.concat(require('neuralforge.client').told, ' '):find([==[{text}]==], 1, true)"""
_SET_UP = "require('neuralforge').setup(...)"
_EXECUTE = """
local command, arguments = ...
local client = vim.lsp.get_clients({ name = 'neuralforge' })[1]
local params = { command = command, arguments = arguments }
local answer, why = client:request_sync('workspace/executeCommand', params, 20000)
return { result = answer and answer.result, why = why or (answer.err and answer.err.message) }
"""


@dataclass
class Desk:
    """A Neovim with its server, and the folders they work in."""

    nvim: Neovim
    home: Home
    folder: Path

    def open(self, name: str = "source.py", text: str | None = None) -> Path:
        """Write a file, by default one that begins as no other does, and open it."""
        text = READERS.format(name=self.folder.name) if text is None else text
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
        self.nvim.command(f"edit! {path}")
        self.nvim.wait_lua("the server is attached", ATTACHED)
        return path

    def type_until_ghost(self, keys: str = "Gowi") -> str:
        """Type, and wait for ghost text."""
        self.nvim.type(keys)
        text: str = self.nvim.wait("ghost text", self.nvim.ghost)
        return text

    def execute(self, command: str, *arguments: Any) -> Any:
        """The result of a command of the server, which has written its log by then."""
        answer = self.nvim.lua(_EXECUTE, f"neuralforge.{command}", arguments)
        assert "why" not in answer, answer["why"]
        return answer["result"]

    def logged(self, path: Path) -> list[LoggedSuggestion]:
        """The suggestions in a file, oldest first."""
        self.execute("status")
        return rows(self.home, path)

    def said(self, text: str, seconds: float = 30.0) -> str:
        """The first message that holds a text; waits for it."""
        self.nvim.wait_lua(f"the message {text!r}", _SAID.format(text=text), seconds)
        return next(line for line in self.messages if text in line)

    @property
    def messages(self) -> list[str]:
        """What the plugin has said, oldest first."""
        said: list[str] = self.nvim.lua("return require('neuralforge.client').told")
        return said

    def forget_messages(self) -> None:
        """From now on."""
        self.nvim.lua("require('neuralforge.client').told = {}")

    def until(self, what: str, so: Callable[[], bool]) -> None:
        """Ask the server again and again until something is so."""
        end = time.monotonic() + _ASKING_SECONDS
        while not so():
            assert time.monotonic() < end, f"not so in time: {what}"

    def engine_is_ready(self) -> bool:
        ready: bool = self.execute("status")["engine"]["state"] == "ready"
        return ready

    def becomes(self, path: Path, outcome: tuple[str | None, str | None]) -> LoggedSuggestion:
        """The newest suggestion with this outcome, once the log has it: text is written first,
        and told afterwards."""
        self.until(f"an outcome {outcome}", lambda: outcome in self.outcomes(path))
        newest = reversed(self.logged(path))
        return next(row for row in newest if (row.outcome, row.outcome_source) == outcome)

    def outcomes(self, path: Path) -> list[tuple[str | None, str | None]]:
        """What became of them, and who told: `client` or `inferred`."""
        return [(row.outcome, row.outcome_source) for row in self.logged(path)]


def open_desk(
    program: Path, folder: Path, home: Home, options: dict[str, Any], welcomed: bool = True
) -> Desk:
    """A Neovim with its files in `folder`, the plugin and these options of `setup()`."""
    if welcomed:
        (folder / "nvim/state/nvim/neuralforge").mkdir(parents=True, exist_ok=True)
        (folder / "nvim/state/nvim/neuralforge/welcomed").touch()
    nvim = Neovim(program, folder / "nvim", {HOME_VARIABLE: str(home.root)})
    nvim.lua(_LOAD, str(PLUGIN))
    settings = {**PATIENT, **options.pop("settings", {})}
    nvim.lua(_SET_UP, {"server": {"command": SERVER}, "settings": settings, **options})
    return Desk(nvim, home, folder / "work")


Start = Callable[..., Desk]


@pytest.fixture(scope="module")
def start(nvim_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start Neovims: `start(**options of setup())`; with `home` two of them share one.

    In the `folder` of another that has ended, it is that one started again.
    """
    numbers = count()
    with ExitStack() as stack:

        def starter(
            *,
            home: Home | None = None,
            program: Path | None = None,
            folder: Path | None = None,
            welcomed: bool = True,
            **options: Any,
        ) -> Desk:
            folder = folder or tmp_path_factory.mktemp(f"desk{next(numbers)}")
            desk = open_desk(
                program or nvim_program, folder, home or Home(folder / "home"), options, welcomed
            )
            stack.callback(desk.nvim.close)
            return desk

        yield starter


@pytest.fixture(scope="module")
def shared(start: Start) -> Desk:
    """The file's shared Neovim."""
    return start()


@pytest.fixture
def desk(shared: Desk, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """The shared Neovim, with a folder of the test's own, another one for a second try; its
    buffers go afterwards."""
    shared.folder.mkdir(exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f"{request.node.name}-", dir=shared.folder)
    yield Desk(shared.nvim, shared.home, Path(folder))
    shared.nvim.type("<Esc>")
    shared.nvim.command("silent! %bwipeout!")
