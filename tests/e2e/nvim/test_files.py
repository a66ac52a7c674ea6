"""Files of every kind in Neovim: line ends, signs of several units, sizes, names that change."""

from __future__ import annotations

from e2e.nvim.conftest import ATTACHED, READERS, Desk

LINE = 'with open(path, encoding="utf-8") as handle:'


def typed_line(desk: Desk) -> str:
    """Accept what is on show, and give the line it stands on."""
    row = desk.nvim.lua("return vim.fn.line('.')")
    desk.nvim.type("<Tab>")
    desk.nvim.wait_lua("the line is written", f"vim.fn.getline({row}):match(':$')")
    return desk.nvim.lines[row - 1]


def test_text_after_emoji_is_placed_in_the_units_of_the_protocol(desk: Desk) -> None:
    typed = '    _ = "🦀é𝒳"; wi'
    path = desk.open()
    rest = desk.type_until_ghost("Go" + typed.strip()).splitlines()[0]
    desk.nvim.type("<Tab>")
    desk.nvim.wait_lua("it is written", f"vim.fn.strchars(vim.fn.getline(10)) > {len(typed)}")
    assert desk.nvim.lines[9] == typed + rest
    assert desk.becomes(path, ("accepted", "client")).character == len(typed)


def test_line_ends_of_windows_stay(desk: Desk) -> None:
    text = READERS.format(name="Windows").replace("\n", "\r\n")
    path = desk.open(text=text)
    desk.type_until_ghost()
    assert typed_line(desk) == "    " + LINE
    desk.nvim.type("<Esc>")
    desk.nvim.command("write")
    written = path.read_bytes()
    assert written.count(b"\r\n") == written.count(b"\n") > text.count("\n")


def test_a_file_of_five_megabytes_is_said_once_and_typing_goes_on(desk: Desk) -> None:
    desk.open("large.txt", "x = 1\n" * 900_000)
    desk.said("5 MB")
    desk.nvim.type("Goyes")
    desk.nvim.wait_lua("typed", "vim.api.nvim_get_current_line() == 'yes'")
    assert not desk.nvim.ghost()
    assert sum("5 MB" in said for said in desk.messages) == 1


def test_an_unsaved_buffer_is_completed(desk: Desk) -> None:
    desk.open()  # a workspace to be in
    desk.nvim.command("enew")
    desk.nvim.command("set filetype=python")
    lines = READERS.format(name="unsaved").splitlines()
    desk.nvim.lua("vim.api.nvim_buf_set_lines(0, 0, -1, true, ...)", lines)
    desk.nvim.wait_lua("the server is attached", ATTACHED)
    desk.type_until_ghost()
    assert typed_line(desk) == "    " + LINE


def test_a_renamed_file_is_completed_under_its_new_name(desk: Desk) -> None:
    path = desk.open()
    moved = path.with_name("renamed.py")
    desk.nvim.command(f"saveas {moved}")
    desk.type_until_ghost()
    typed_line(desk)
    assert desk.logged(moved) and not desk.logged(path)


def test_a_deleted_file_is_still_completed(desk: Desk) -> None:
    path = desk.open()
    path.unlink()
    desk.type_until_ghost()
    assert typed_line(desk) == "    " + LINE


def test_text_right_of_the_cursor_is_completed_around(desk: Desk) -> None:
    desk.open()
    desk.nvim.type("Gowith open()<Left>")
    ghost = desk.type_until_ghost("pa")
    shown = desk.nvim.look().splitlines()[9]
    desk.nvim.type("<Tab>")
    desk.nvim.wait_lua("it is written", "#vim.fn.getline(10) > 20")
    assert desk.nvim.lines[9] == shown, ghost
