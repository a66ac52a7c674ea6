"""VS Code: what dies, is missing or is not trusted is said once, with the step that mends it."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from e2e.vscode.conftest import READERS, SETTINGS, Desk, Start
from e2e.vscode.driver import READY, Window


def test_a_killed_server_is_said_once_and_completion_returns(desk: Desk, window: Window) -> None:
    window.show(desk.write(READERS))
    window.type_until_ghost("wi")
    window.press("Escape")
    for server in desk.processes("neuralforge serve"):
        server.kill()
    window.type("t")
    expect(window.notice("ended unexpectedly and was started again")).to_have_count(1)
    window.screenshot("server-killed")
    expect(window.status()).to_contain_text(READY, timeout=60_000)
    window.type_until_ghost("h", end=False)


def test_a_killed_engine_is_said_once_and_completion_returns(desk: Desk, window: Window) -> None:
    window.press("Escape")
    window.run("Notifications: Clear All Notifications")
    window.show(desk.write(READERS))
    window.type_until_ghost("wi")
    window.press("Escape")
    for engine in desk.processes("neuralforge_server.engine"):
        engine.kill()
    window.type("t")
    expect(window.notice(re.compile("engine", re.I))).to_have_count(1)
    window.screenshot("engine-killed")
    expect(window.status()).to_contain_text(READY, timeout=60_000)
    window.type_until_ghost("h", end=False)


def test_two_windows_have_a_server_each_and_one_log(desk: Desk, window: Window) -> None:
    window.show(desk.write(READERS, "one.py"))
    with desk.window() as other:
        assert len(desk.processes("neuralforge serve")) == 2
        other.show(desk.write(READERS, "two.py"))
        other.type_until_ghost("wi")
        window.type_until_ghost("wi")
        other.press("Tab")
        window.press("Escape")
        desk.wait_logged(lambda rows: rows[0].outcome == "accepted", "two.py")
        desk.wait_logged(lambda rows: rows[0].outcome == "dismissed", "one.py")


def test_a_setting_that_leads_nowhere_is_named(start: Start) -> None:
    desk = start(settings=SETTINGS | {"neuralforge.server.path": "/no/such/neuralforge"})
    with desk.window(ready=False) as window:
        expect(window.notice("/no/such/neuralforge, and there is no such program")).to_be_visible()
        expect(window.status()).to_contain_text("no server")


def test_nothing_starts_in_a_workspace_that_is_not_trusted(start: Start) -> None:
    desk = start(
        settings=SETTINGS
        | {
            "security.workspace.trust.enabled": True,
            "security.workspace.trust.startupPrompt": "never",
        }
    )
    with desk.window(ready=False) as window:
        expect(window.status()).to_contain_text("workspace not trusted")
        assert desk.processes("neuralforge serve") == []
        window.status().click()
        expect(window.choices().filter(has_text="Manage trust")).to_be_visible()
        window.screenshot("untrusted")


def test_a_home_that_cannot_be_written_is_said_with_its_path(start: Start, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the home would be")
    desk = start({"NEURALFORGE_HOME": str(blocked / "home")})
    with desk.window(ready=False) as window:
        expect(window.notice(str(blocked)).first).to_be_visible(timeout=60_000)
        window.screenshot("home-not-writable")
