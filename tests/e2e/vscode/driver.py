"""Drives a real VS Code (code-server) in a real Chromium, as a user does: by keys and the screen.

Invariant: what is asserted was on the screen, in the file or in the log; every wait is for an
event and ends. One `CodeServer` has its own home, settings and extensions; one `Window` is one
VS Code window with an extension host and a server of its own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from watchfiles import watch

from e2e.install.vscode import VSCode

SETTINGS: dict[str, Any] = {
    "chat.disableAIFeatures": True,
    "editor.autoClosingBrackets": "never",
    "editor.autoClosingQuotes": "never",
    "editor.minimap.enabled": False,
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.suggestOnTriggerCharacters": False,
    "editor.wordBasedSuggestions": "off",
    "extensions.autoCheckUpdates": False,
    "extensions.ignoreRecommendations": True,
    "files.autoSave": "off",
    "git.openRepositoryInParentFolders": "never",
    "security.workspace.trust.enabled": False,
    "telemetry.telemetryLevel": "off",
    "workbench.reduceMotion": "on",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
    "workbench.welcomePage.walkthroughs.openOnInstall": False,
}
"""VS Code without what would move on the screen by itself."""

BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY = re.compile(r"NeuralForge(?!: )")
"""What the status bar says once suggestions can come."""
_SPANS = """elements => elements
    .filter(one => !elements.some(other => other !== one && one.contains(other)))
    .map(one => [one.getBoundingClientRect(), one.textContent])
    .sort(([a], [b]) => a.top - b.top || a.left - b.left)
    .map(([place, text]) => [Math.round(place.top), text])"""
"""Each piece of ghost text with its height on the screen, in reading order."""
_STATUS_FITS = """pattern => new RegExp(pattern).test(
    document.getElementById("neuralforge.neuralforge.status")?.textContent)"""
_FOLLOW = """item => {
    const told = window.neuralforgeTold = [item.textContent];
    new MutationObserver(() => told.push(item.textContent))
        .observe(item, {childList: true, characterData: true, subtree: true});
}"""
_START_MS = 60_000
_LISTENING = re.compile(r"HTTP server listening on http://127\.0\.0\.1:(\d+)/")


class CodeServer:
    """A running code-server with a folder of its own."""

    def __init__(self, program: VSCode, root: Path, environment: Mapping[str, str]) -> None:
        self.program = program
        self.root = root
        self._environment = _environment(root, environment)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        for name in ("home", "data/User", "data/Machine", "extensions", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write the user's settings, on top of the quiet ones."""
        for scope in ("User", "Machine"):
            path = self.root / "data" / scope / "settings.json"
            path.write_text(json.dumps(SETTINGS | dict(settings), indent=2), "utf-8")

    def install(self, extension: Path) -> None:
        """Install a `.vsix`."""
        subprocess.run(
            [*self._command(), "--install-extension", str(extension)],
            env=self._environment,
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        """Start it on a free port."""
        self._process = subprocess.Popen(
            [
                *self._command(),
                *("--auth", "none", "--bind-addr", "127.0.0.1:0"),
                *("--disable-telemetry", "--disable-update-check"),
                "--disable-getting-started-override",
            ],
            env=self._environment,
            stdout=(self.root / "code.log").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.port = self._listening()

    def stop(self) -> None:
        """End it, with every extension host."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(30)

    @property
    def pid(self) -> int:
        """Of the process above all others."""
        assert self._process is not None
        return self._process.pid

    def _listening(self) -> int:
        log = self.root / "code.log"
        found = wait_for(self.root, lambda: _LISTENING.search(log.read_text()), log.read_text)
        return int(found.group(1))

    def _command(self) -> list[str]:
        program, root = self.program, self.root
        return [
            *map(str, (program.node, program.entry)),
            *("--user-data-dir", str(root / "data")),
            *("--extensions-dir", str(root / "extensions")),
        ]

    @contextmanager
    def window(self, browser: Browser, folder: Path, *, ready: bool = True) -> Iterator[Window]:
        """A window on a folder; where `ready`, suggestions can come."""
        context = browser.new_context(viewport={"width": 1100, "height": 700})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        window = Window(page, folder, self.port)
        Window.all.append(window)
        try:
            window.open()
            if ready:
                window.get_ready(self.root / "scratch.py")
            yield window
        except BaseException:
            window.screenshot(f"failed-{folder.name}")
            raise
        finally:
            Window.all.remove(window)
            context.close()


def _environment(root: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The machine's, without what would lead to its user's own VS Code or NeuralForge."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VSCODE_", "NEURALFORGE_", "GIT_", "PYTEST"))
        and name not in ("PORT", "PASSWORD")
    }
    home = root / "home"
    own = {
        "HOME": home,
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_DATA_HOME": home / ".local",
        "TMPDIR": root / "tmp",
    }
    return kept | {name: str(path) for name, path in own.items()} | dict(more)


class Window:
    """One VS Code window on the screen."""

    all: ClassVar[list[Window]] = []
    """Those that are open."""

    def __init__(self, page: Page, folder: Path, port: int) -> None:
        self.page = page
        self.folder = folder
        self._port = port

    def open(self) -> None:
        """Load the window."""
        what = "workspace" if self.folder.suffix == ".code-workspace" else "folder"
        self.page.goto(
            f"http://127.0.0.1:{self._port}/?{what}={quote(str(self.folder))}",
            timeout=_START_MS,
        )
        expect(self.status()).to_be_visible(timeout=_START_MS)

    def get_ready(self, scratch: Path) -> None:
        """Wait until suggestions can come.

        VS Code makes the part of an editor that shows them when it is idle, some seconds after
        the first editor was opened, or when it is asked for a suggestion.
        """
        expect(self.status()).to_contain_text(READY, timeout=_START_MS)
        scratch.write_text("")
        self.show(scratch)
        self.press("Alt+Backslash", "Escape")

    def show(self, file: Path) -> None:
        """Open a file in this window."""
        self.press("Control+p")
        box = self.page.locator(".quick-input-widget input.input")
        expect(box).to_be_focused()
        self.page.keyboard.insert_text(str(file))
        row = self.page.locator(".quick-input-list .monaco-list-row").first
        named = f"^{re.escape(file.name)}.*({re.escape(file.parent.name)}|file results)"
        expect(row).to_have_attribute("aria-label", re.compile(named))
        self.press("Enter")
        expect(self.editor(file).locator(".view-line").first).to_be_visible()
        expect(self.editor(file).locator("textarea, .native-edit-context").first).to_be_focused()

    def editor(self, file: Path | str) -> Locator:
        name = file if isinstance(file, str) else "/".join(file.parts[-2:])
        return self.page.locator(f'.monaco-editor[data-uri$="{quote(name)}"]')

    @property
    def ghost(self) -> Locator:
        """What is drawn as ghost text."""
        return self.page.locator(
            ".ghost-text, .ghost-text-decoration, .ghost-text-decoration-preview,"
            ".suggest-preview-text .view-line"
        )

    def ghost_text(self) -> str:
        """The ghost text on the screen, once there is one."""
        expect(self.ghost.first).to_be_visible(timeout=20_000)
        return self._ghost_now()

    def ask_until_ghost(self) -> str:
        """Ask by key until there is ghost text: in a new buffer VS Code drops some requests."""
        for _ in range(20):
            self.press("Alt+Backslash")
            with suppress(PlaywrightTimeoutError):
                self.ghost.first.wait_for(timeout=1000)
                break
        return self.ghost_text()

    def wait_ghost(self, fits: Callable[[str], bool]) -> None:
        """Wait until the ghost text is as it should be."""
        text = ""
        for _ in range(100):
            if fits(text := self._ghost_now()):
                return
            self.page.evaluate("() => new Promise(requestAnimationFrame)")
        raise AssertionError(f"the ghost text is {text!r}")

    def _ghost_now(self) -> str:
        spans: list[tuple[float, str]] = self.ghost.evaluate_all(_SPANS)
        lines: dict[float, str] = {}
        for top, text in spans:
            lines[top] = lines.get(top, "") + text
        return "\n".join(lines.values()).replace("\u00a0", " ")

    @property
    def webview(self) -> FrameLocator:
        """What stands in the shown webview."""
        return self.page.frame_locator("iframe.webview.ready").frame_locator("#active-frame")

    def widen_side_bar(self) -> None:
        """Make room for long rows, by dragging its edge."""
        box = self.page.locator(".part.sidebar").bounding_box()
        assert box is not None
        edge, middle = box["x"] + box["width"], box["y"] + box["height"] / 2
        self.page.mouse.move(edge, middle)
        self.page.mouse.down()
        self.page.mouse.move(edge + 170, middle, steps=4)
        self.page.mouse.up()

    def status(self) -> Locator:
        """NeuralForge's item in the status bar."""
        return self.page.locator('[id="neuralforge.neuralforge.status"]')

    def wait_status(self, pattern: str, timeout: float) -> None:
        """Wait until the status item fits a regular expression, be it for one frame only."""
        self.page.wait_for_function(_STATUS_FITS, arg=pattern, timeout=timeout, polling="raf")

    def follow_status(self) -> Callable[[], list[str]]:
        """Keep every text that the status item shows from now on; gives them when called."""
        self.status().evaluate(_FOLLOW)
        return lambda: list(self.page.evaluate("() => window.neuralforgeTold"))

    def type(self, text: str, delay: float = 20) -> None:
        self.page.keyboard.type(text, delay=delay)

    def type_until_ghost(self, text: str, *, end: bool = True) -> str:
        """Type, at the file's end by default, and give the ghost text that comes."""
        if end:
            self.press("Control+End")
        self.type(text)
        return self.ghost_text()

    def paste(self, text: str) -> None:
        """Paste as a user does: one edit, its indentation kept."""
        self.page.evaluate("text => navigator.clipboard.writeText(text)", text)
        self.press("Control+v")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def run(self, title: str) -> None:
        """Run a command by the palette."""
        self.press("F1")
        box = self.page.locator(".quick-input-widget input.input")
        expect(box).to_be_visible()
        self.page.keyboard.insert_text(title)
        own_line = re.compile(rf"^{re.escape(title)}(,|$)")
        rows = self.page.locator(".quick-input-list .monaco-list-row")
        row = rows.and_(self.page.get_by_role("option", name=own_line))
        expect(row).to_have_count(1)
        row.click()
        self.page.mouse.move(1, 1)  # away from what would show a tooltip

    def answer(self, text: str) -> None:
        """Fill in the open input box, or filter the open picker, and take what stands there."""
        box = self.page.locator(".quick-input-widget:visible input.input")
        expect(box).to_be_focused()
        box.fill(text)
        self.press("Enter")

    def save_as(self, file: Path) -> None:
        """Answer VS Code's own dialog for a file to write."""
        dialog = self.page.locator(".quick-input-widget:visible")
        expect(self.choices().first).to_be_visible()  # it has filled in its own proposal
        dialog.locator("input.input").fill(str(file))
        expect(self.choices()).to_have_count(1)  # only "..": it has read the folder
        dialog.get_by_role("button", name="OK").click()
        expect(dialog).to_have_count(0)

    def choose(self, text: str) -> None:
        """Take the row of the open picker that has `text`."""
        self.choices().filter(has_text=text).click()
        expect(self.choices().filter(has_text=text)).to_have_count(0)

    def refused(self, text: str) -> None:
        """A message with `text` came; it and all others are put away."""
        expect(self.notice(text).first).to_be_visible()
        self.run("Notifications: Clear All Notifications")

    def choices(self) -> Locator:
        """The rows of the open picker."""
        return self.page.locator(".quick-input-widget:visible .quick-input-list .monaco-list-row")

    def notice(self, text: str | re.Pattern[str]) -> Locator:
        """A notice on the screen that says `text`."""
        return self.page.locator(".notifications-toasts .notification-list-item").filter(
            has_text=text
        )

    def save(self, file: Path) -> str:
        """Save the active file and give what is in it then."""
        tab = self.page.locator(".tab.dirty.active")
        self.press("Control+s")
        expect(tab).to_have_count(0)
        return file.read_bytes().decode()

    def screenshot(self, name: str) -> None:
        """Keep what is on the screen as an artifact."""
        artifacts = Path(__file__).parents[1] / "artifacts"
        artifacts.mkdir(exist_ok=True)
        self.page.screenshot(path=artifacts / f"vscode-{name}.png")


def wait_for(
    folder: Path, condition: Callable[[], Any], what: Callable[[], str], seconds: float = 30
) -> Any:
    """What `condition` gives once it is true, asked again whenever a file in `folder` changes."""
    if found := condition():
        return found
    changes = watch(
        folder,
        rust_timeout=500,
        yield_on_timeout=True,
        debounce=50,
        step=10,
        ignore_permission_denied=True,
    )
    for turn, _ in enumerate(changes):
        if found := condition():
            return found
        assert turn < seconds * 2, f"it did not happen: {what()}"
    raise AssertionError("the watch ended")
