"""A real VS Code with the packaged extension and the real server, one for each test file."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, sync_playwright

from e2e.install.vscode import VSCode
from e2e.vscode.driver import BROWSER_ARGUMENTS, CodeServer, Window, wait_for
from neuralforge_adapters.home import HOME_VARIABLE, Home
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.rows import LoggedSuggestion

READERS = """# Readers of text.


def read_text(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def read_lines(path):
    """
"""A file whose next line is plain from what it holds: `with open(path, encoding="utf-8")…`."""

SETTINGS: dict[str, Any] = {
    "neuralforge.server.path": str(Path(sys.executable).with_name("neuralforge")),
    "neuralforge.completion.deadline_ms": 20_000,
}
"""The server of this environment, patient enough for a busy machine."""


@dataclass
class Desk:
    """A VS Code, the home of its servers, and folders to work in."""

    code: CodeServer
    home: Home
    browser: Browser
    folder: Path

    def window(self, *, ready: bool = True) -> AbstractContextManager[Window]:
        """A window of its own on the test's folder; where `ready`, suggestions can come."""
        return self.code.window(self.browser, self.folder, ready=ready)

    def write(self, text: str, name: str = "source.py") -> Path:
        """A new file in the test's folder."""
        file = self.file(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
        return file

    def file(self, name: str = "source.py") -> Path:
        return self.folder / name

    def logged(self, name: str = "source.py") -> list[LoggedSuggestion]:
        """The suggestions in a file, oldest first."""
        if not self.home.session_log.exists():
            return []
        with SessionLog.open_to_read(self.home.session_log) as log:
            rows = log.show(1000)
        return [row for row in reversed(rows) if row.path == str(self.file(name))]

    def processes(self, words: str) -> list[psutil.Process]:
        """Those that VS Code has started whose command line holds `words`."""
        found = []
        for child in psutil.Process(self.code.pid).children(recursive=True):
            with suppress(psutil.Error):  # it has ended by now
                if words in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def wait_logged(
        self, accept: Callable[[list[LoggedSuggestion]], Any], name: str = "source.py"
    ) -> list[LoggedSuggestion]:
        """The rows of a file, once they are as they should be."""
        rows: list[LoggedSuggestion] = []

        def fits() -> bool:
            rows[:] = self.logged(name)
            return bool(rows and accept(rows))

        wait_for(self.home.root, fits, lambda: f"rows of the log; there are {rows}")
        return rows


Start = Callable[..., Desk]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what every window shows when a test fails."""
    report = yield
    if report.failed:
        for number, window in enumerate(Window.all):
            window.screenshot(f"failed-{item.name}-{number}")
    return report


@pytest.fixture(scope="module")
def browser(vscode_program: VSCode) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=vscode_program.chromium, args=BROWSER_ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def start(
    vscode_program: VSCode, vsix: Path, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Start VS Codes: `start(environment, settings)`; `profile` is their user's `~/.profile`."""
    numbers = count()
    with ExitStack() as stack:

        def starter(
            environment: dict[str, str] | None = None,
            settings: dict[str, Any] | None = None,
            profile: str = "",
        ) -> Desk:
            root = tmp_path_factory.mktemp(f"vscode{next(numbers)}")
            home = Home(root / "neuralforge")
            code = CodeServer(
                vscode_program,
                root / "code",
                {HOME_VARIABLE: str(home.root), **(environment or {})},
            )
            code.configure(SETTINGS if settings is None else settings)
            code.install(vsix)
            (root / "code/home/.profile").write_text(profile)
            code.start()
            stack.callback(code.stop)
            (root / "work").mkdir()
            return Desk(code, home, browser, root / "work")

        yield starter


@pytest.fixture(scope="module")
def shared(start: Start) -> Desk:
    """The file's shared VS Code."""
    return start()


@pytest.fixture(scope="module")
def window(shared: Desk) -> Iterator[Window]:
    """The file's shared window, on the folder that holds the tests' folders."""
    with shared.window() as window:
        yield window


@pytest.fixture
def desk(shared: Desk, request: pytest.FixtureRequest) -> Desk:
    """The shared VS Code, with a folder of the test's own; another one for a second try."""
    name = re.sub(r"\W+", "-", request.node.name)
    folder = tempfile.mkdtemp(prefix=f"{name}-", dir=shared.folder)
    return Desk(shared.code, shared.home, shared.browser, Path(folder))
