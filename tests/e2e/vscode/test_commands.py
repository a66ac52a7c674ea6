"""VS Code: adapters, stacks, bases, consent and the log by command, and where a window looks."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from e2e.homes import publish
from e2e.vscode.conftest import READERS, SETTINGS, Desk, Start
from e2e.vscode.driver import READY, Window
from gguf_maker import make_base
from hub_server import FakeHub
from neuralforge_adapters.presets import presets
from neuralforge_adapters.store import PERSONAL
from neuralforge_server.session.log import SessionLog

PRESET = next(iter(presets().values()))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    """A hub that has a base under the name of a preset."""
    path = make_base(
        tmp_path_factory.mktemp("hub") / PRESET.file, layers=2, width=512, heads=8, kv_heads=2,
        hidden=2048, vocabulary=32_000,
    )  # fmt: skip
    with FakeHub(files={PRESET.file: path.read_bytes()}, repository=PRESET.repository) as hub:
        yield hub


@pytest.fixture(scope="module")
def shared(start: Start, hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    cache = tmp_path_factory.mktemp("cache")
    desk = start(
        {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(cache)},
        SETTINGS | {"neuralforge.learning.enabled": False},
    )
    make_repository(desk.folder)
    return desk


def make_repository(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    return folder


def answered(desk: Desk, repository: Path) -> str | None:
    with SessionLog.open_to_read(desk.home.session_log) as log:
        return log.consent(repository)


def says(window: Window, text: str) -> None:
    """The status bar says it, for some seconds after a command."""
    expect(window.page.locator(".statusbar")).to_contain_text(text)


def in_view(window: Window, text: str) -> Locator:
    """The entry of NeuralForge's view that has `text`."""
    return window.page.locator(".pane-body .monaco-list-row").filter(has_text=text)


def test_adapters_are_scaled_and_stacks_are_saved_used_and_forgotten(
    desk: Desk, window: Window
) -> None:
    publish(desk.home, "babbler", seed=1)
    publish(desk.home, "chatter", seed=2)
    window.run("NeuralForge: Load an Adapter…")
    window.choose("babbler@v0001")
    says(window, "babbler@v0001")
    window.run("NeuralForge: Load an Adapter…")
    expect(window.choices()).to_have_count(1)
    window.choose("chatter@v0001")
    says(window, "babbler@v0001 + chatter@v0001")

    window.run("NeuralForge: Scale an Adapter…")
    window.choose("chatter@v0001")
    window.answer("0.5")
    says(window, "babbler@v0001 + chatter@v0001 × 0.5")

    window.run("NeuralForge: Save the Stack under a Name…")
    window.answer("two of them")
    window.run("NeuralForge: Unload an Adapter…")
    window.choose("babbler@v0001")
    says(window, "chatter@v0001 × 0.5")
    window.run("NeuralForge: Use a Named Stack…")
    window.choose("two of them")
    says(window, "babbler@v0001 + chatter@v0001 × 0.5")

    window.run("View: Show NeuralForge")
    expect(in_view(window, "two of them")).to_contain_text("in force")
    expect(in_view(window, "chatter@v0001")).to_contain_text("loaded × 0.5")
    window.screenshot("view")
    window.run("NeuralForge: Forget a Named Stack…")
    window.choose("two of them")
    expect(in_view(window, "two of them")).to_have_count(0)
    window.run("NeuralForge: Use a Named Stack…")
    window.refused("There is no named stack")


def test_an_adapter_is_rolled_back_and_the_personal_one_exported(
    desk: Desk, window: Window, tmp_path: Path
) -> None:
    for seed in (3, 4):
        publish(desk.home, PERSONAL, seed=seed)
    window.run("View: Show NeuralForge")
    expect(in_view(window, "personal@v0002")).to_contain_text("loaded")
    window.run("NeuralForge: Roll Back an Adapter…")
    window.choose("personal@v0001")
    says(window, "personal@v0001")
    expect(in_view(window, "personal@v0002")).not_to_contain_text("loaded")
    window.run("NeuralForge: Export the Personal Adapter…")
    window.save_as(tmp_path / "mine.zip")
    expect(window.notice("personal@v0001 is exported to")).to_be_visible()
    names = zipfile.ZipFile(tmp_path / "mine.zip").namelist()
    assert set(names) == {"mine/adapter.gguf", "mine/manifest.json"}


def test_a_repository_is_allowed_and_refused(desk: Desk, window: Window, shared: Desk) -> None:
    window.show(desk.write(READERS))
    for title, answer in (("Learn from", "yes"), ("Do Not Learn from", "no")):
        window.run(f"NeuralForge: {title} This Repository")
        does = "does not learn" if answer == "no" else "may learn"
        says(window, f"{does} from {shared.folder}")
        assert answered(desk, shared.folder) == answer


def test_the_log_is_searched_and_deleted_from(desk: Desk, window: Window, shared: Desk) -> None:
    for name in ("kept.py", "sought.py"):
        window.show(desk.write(READERS, name))
        window.type_until_ghost("wi")
        window.press("Escape")
    window.run("NeuralForge: Show and Search the Session Log…")
    expect(window.choices().filter(has_text="kept.py").first).to_be_visible()
    window.page.keyboard.type("sought.py")
    expect(window.choices().filter(has_text="kept.py")).to_have_count(0)
    expect(window.choices().filter(has_text="sought.py").first).to_be_visible()
    window.press("Escape")

    window.run("NeuralForge: Delete from the Session Log…")
    window.choose(f"Everything of {shared.folder.name}")
    sure = window.page.locator(".monaco-dialog-box")
    expect(sure).to_contain_text("this cannot be undone")
    assert desk.logged("sought.py"), "nothing is deleted before the answer"
    sure.get_by_role("button", name="Delete").click()
    says(window, "suggestions deleted from the log")
    assert desk.logged("sought.py") == []


def test_an_untitled_file_is_completed(window: Window) -> None:
    window.run("File: New Untitled Text File")
    expect(window.editor("Untitled-1").locator(".view-line").first).to_be_visible()
    window.paste(READERS)
    written = window.editor("Untitled-1").locator(".view-lines")
    expect(written).to_contain_text("read_lines")
    window.type("wi")
    text = window.ask_until_ghost()
    window.press("Tab")
    expect(written).to_contain_text("wi" + text.splitlines()[0].replace(" ", "\u00a0"))


def test_each_folder_of_a_workspace_is_itself(desk: Desk, shared: Desk) -> None:
    folders = [make_repository(desk.folder / name) for name in ("first", "second")]
    listed = desk.folder / "both.code-workspace"
    listed.write_text(json.dumps({"folders": [{"path": str(folder)} for folder in folders]}))
    with Desk(desk.code, desk.home, desk.browser, listed).window() as window:
        assert len(desk.processes("neuralforge serve")) == 2, "one for each window"
        for folder in ("first", "second"):
            window.show(desk.write(READERS, f"{folder}/source.py"))
            window.type_until_ghost("wi")
            window.press("Tab")
            desk.wait_logged(lambda rows: rows[0].outcome == "accepted", f"{folder}/source.py")
        window.run("NeuralForge: Do Not Learn from This Repository")
        says(window, f"from {folders[1]}")
        assert [answered(desk, folder) for folder in folders] == [None, "no"]


def test_the_whole_stack_is_picked(window: Window) -> None:
    window.run("NeuralForge: Choose the Stack of Adapters…")
    picker = window.page.locator(".quick-input-widget:visible")
    expect(picker).to_contain_text("3 Selected")  # what the tests before left in force
    for adapter in ("personal@v0001", "babbler@v0001"):
        window.choices().filter(has_text=adapter).click()
    expect(picker).to_contain_text("1 Selected")
    window.press("Enter")
    says(window, "NeuralForge: chatter@v0001 × 0.5")
    window.run("NeuralForge: Choose the Stack of Adapters…")
    window.choices().filter(has_text="babbler@v0001").click()
    window.press("Enter")
    says(window, "babbler@v0001 + chatter@v0001 × 0.5")


def test_a_base_is_chosen_fetched_with_progress_and_used(
    desk: Desk, window: Window, hub: FakeHub
) -> None:
    hub.stall_after = len(hub.files[PRESET.file]) * 3 // 4
    window.run("NeuralForge: Choose a Base…")
    window.choose(PRESET.name)
    fetching = window.notice("Fetching")
    expect(fetching).to_contain_text("MB")
    window.screenshot("base")
    fetching.get_by_role("button", name="Cancel").click()
    window.refused("was stopped")
    hub.stall_after = 0
    window.run("NeuralForge: Choose a Base…")
    window.choose(PRESET.name)
    waits = window.notice("comes into use once your adapter is trained for it")
    expect(waits).to_be_visible(timeout=60_000)
    waits.get_by_role("button", name="Use It Now, Without").click()
    says(window, f"{PRESET.name} is in use")
    expect(window.status()).to_contain_text(READY, timeout=60_000)
    window.run("NeuralForge: Choose a Base…")
    expect(window.choices().filter(has_text=PRESET.name)).to_contain_text("in use")
    window.press("Escape")
    assert hub.ranges[-1].startswith("bytes="), "what had come was not fetched again"
