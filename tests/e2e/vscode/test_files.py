"""VS Code: files that are renamed, deleted or very large."""

from __future__ import annotations

from playwright.sync_api import expect

from e2e.vscode.conftest import READERS, Desk
from e2e.vscode.driver import Window


def test_a_renamed_file_goes_on_under_its_new_name(desk: Desk, window: Window) -> None:
    file = desk.write(READERS, "old.py")
    window.show(file)
    file.rename(file.with_name("new.py"))
    window.show(file.with_name("new.py"))
    window.type_until_ghost("wi")
    window.press("Tab")
    rows = desk.wait_logged(lambda rows: rows[0].outcome == "accepted", "new.py")
    assert rows[0].path == str(file.with_name("new.py"))


def test_a_deleted_file_is_completed_as_long_as_it_is_open(desk: Desk, window: Window) -> None:
    file = desk.write(READERS)
    window.show(file)
    window.press("Control+End")
    window.type("w")
    file.unlink()
    assert window.type_until_ghost("i", end=False).strip()


def test_five_megabytes_can_be_typed_in(desk: Desk, window: Window) -> None:
    line = "counter = counter + 1  # one of very many lines that are all the same\n"
    window.show(desk.write(line * (5_000_000 // len(line)), "large.py"))
    window.press("Control+Home")
    window.type("number = 1\n")
    lines = window.editor("large.py").locator(".view-line")
    expect(lines.filter(has_text="number = 1")).to_have_count(1)
    expect(window.status()).to_contain_text("NeuralForge")
    window.show(desk.write(READERS, "small.py"))
    assert window.type_until_ghost("wi").strip()
