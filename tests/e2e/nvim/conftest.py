"""A real Neovim with the plugin and the real server, in folders of the tests' own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from e2e.nvim.driver import Neovim
from neuralforge_adapters.home import HOME_VARIABLE, Home
from neuralforge_server.session.log import SessionLog
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
_LOAD = "vim.opt.rtp:prepend(...) vim.cmd.runtime('plugin/neuralforge.lua')"
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
        with SessionLog.open_to_read(self.home.session_log) as log:
            rows = log.show(1000)
        return [row for row in reversed(rows) if row.path == str(path)]

    def outcomes(self, path: Path) -> list[tuple[str | None, str | None]]:
        """What became of them, and who told: `client` or `inferred`."""
        return [(row.outcome, row.outcome_source) for row in self.logged(path)]


Start = Callable[..., Desk]


@pytest.fixture(scope="session")
def nvim_program() -> Path:
    """Neovim 0.12 or newer."""
    found = os.environ.get("NEURALFORGE_TEST_NVIM") or shutil.which("nvim")
    if found is None:
        pytest.skip("no Neovim: name one in NEURALFORGE_TEST_NVIM")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v(\d+)\.(\d+)", said)
    assert version is not None and (int(version[1]), int(version[2])) >= (0, 12), said
    return Path(found)


@pytest.fixture(scope="module")
def start(nvim_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start Neovims: `start(**options of setup())`; with `home` two of them share one."""
    numbers = count()
    with ExitStack() as stack:

        def starter(
            *, home: Home | None = None, program: Path | None = None, **options: Any
        ) -> Desk:
            folder = tmp_path_factory.mktemp(f"desk{next(numbers)}")
            home = home or Home(folder / "home")
            nvim = stack.enter_context(
                Neovim(program or nvim_program, folder / "nvim", {HOME_VARIABLE: str(home.root)})
            )
            nvim.lua(_LOAD, str(PLUGIN))
            nvim.lua(_SET_UP, {"server": {"command": SERVER}, **options})
            return Desk(nvim, home, folder / "work")

        yield starter


@pytest.fixture(scope="module")
def shared(start: Start) -> Desk:
    """The file's shared Neovim."""
    return start()


@pytest.fixture
def desk(shared: Desk, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """The shared Neovim, with a folder of the test's own; its buffers go afterwards."""
    yield Desk(shared.nvim, shared.home, shared.folder / request.node.name)
    shared.nvim.type("<Esc>")
    shared.nvim.command("silent! %bwipeout!")
