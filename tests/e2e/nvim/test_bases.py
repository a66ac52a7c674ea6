"""Bases from Neovim: one is fetched from a hub on loopback, watched, used, and another chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from e2e.nvim.conftest import Desk, Start
from gguf_maker import make_base
from hub_server import REPOSITORY, FakeHub

NAME = "random-Q8_0"
STATUS = "require('neuralforge').statusline()"
ENVIRONMENT = """
local endpoint, folder = ...
vim.env.HF_ENDPOINT, vim.env.HF_HOME = endpoint, folder"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    """It holds a base of random weights, of which it sends but a part before it stalls."""
    path = make_base(
        tmp_path_factory.mktemp("hub") / f"{NAME}.gguf", layers=2, width=512, heads=8, kv_heads=2,
        hidden=2048, vocabulary=32_000,
    )  # fmt: skip
    with FakeHub(files={path.name: path.read_bytes()}, stall_after=15 << 20) as hub:
        yield hub


@pytest.fixture(scope="module")
def shared(start: Start, hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A Neovim whose server fetches from there."""
    desk = start()
    desk.nvim.lua(ENVIRONMENT, hub.endpoint, str(tmp_path_factory.mktemp("hf")))
    return desk


def fetched(desk: Desk) -> int:
    """The percentage that the last line shows."""
    found = re.search(rf"Fetching {REPOSITORY} (\d+) %", desk.nvim.screen.text())
    return int(found[1]) if found else 0


def choose(desk: Desk, name: str) -> str:
    """Pick a base by the number of its line, which is returned."""
    desk.nvim.type(":NeuralForge bases<CR>")
    desk.nvim.wait("the list", lambda: "Type number" in desk.nvim.screen.text())
    line = next(line for line in desk.nvim.screen.text().splitlines() if f" {name} " in line)
    desk.nvim.type(f"{line.strip().partition(':')[0]}<CR>")
    return line


def test_a_base_is_fetched_in_sight_stopped_fetched_on_and_used_and_another_is_chosen(
    desk: Desk, hub: FakeHub
) -> None:
    desk.open()
    desk.nvim.type(f":NeuralForge base-pull {REPOSITORY}<CR>")
    assert 0 < desk.nvim.wait("progress", lambda: fetched(desk)) < 100
    desk.nvim.type(":NeuralForge base-stop<CR>")
    desk.said("was stopped")
    hub.stall_after = 0
    desk.nvim.type(f":NeuralForge base-pull {REPOSITORY}<CR>")
    desk.said(f"{NAME} is in use now")
    desk.nvim.wait_lua("the statusline", f"{STATUS}:find('NF {NAME} ·', 1, true)")
    assert hub.ranges[-1], "it went on from where it was"
    desk.forget_messages()
    assert "pulled" not in choose(desk, NAME)
    desk.said("in use already")
    assert re.search(r"\d+ MB", choose(desk, "embedded"))
    desk.said("embedded is in use now")
    desk.type_until_ghost()


def test_a_base_that_cannot_be_had_is_said(desk: Desk) -> None:
    desk.open()
    desk.nvim.type(":NeuralForge base-pull nobody/nothing<CR>")
    assert "nobody/nothing" in desk.said("nobody/nothing")
