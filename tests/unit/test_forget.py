"""A purge reaches what the trainer keeps: the replay buffer and unfinished runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from neuralforge_adapters.home import Home, private_dir
from neuralforge_server.cli import group
from neuralforge_server.lsp_client import LspClient
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.samples.sample import Sample


def sample(repository: str, text: str) -> Sample:
    return Sample(
        prefix="x = ", middle=text, suffix="\n", language="python", path="a.py",
        repository=repository, time=0.0, source="git", commit=None,
    )  # fmt: skip


@pytest.fixture
def learnt(home: Home, tmp_path: Path) -> Home:
    """A home with two repositories' samples in the replay buffer, and an unfinished run."""
    with ReplayBuffer(home.replay_buffer) as buffer:
        buffer.add([sample(str(tmp_path / "mine"), "mine_alone")] * 3)
        buffer.add([sample(str(tmp_path / "theirs"), "employers_own")] * 2)
    (private_dir(home.checkpoints / "run") / "optimizer.pt").write_bytes(b"employers_own")
    return home


def everything_on_disk(home: Home) -> bytes:
    return b"".join(p.read_bytes() for p in home.root.rglob("*") if p.is_file())


def test_purging_a_repository_leaves_nothing_of_it(learnt: Home, tmp_path: Path) -> None:
    assert b"employers_own" in everything_on_disk(learnt)
    result = CliRunner().invoke(
        group, ["log", "purge", "--repository", str(tmp_path / "theirs"), "--json"]
    )
    assert result.exit_code == 0, result.output
    gone = json.loads(result.stdout)
    assert (gone["replayed"], gone["runs"]) == (2, 1)
    left = everything_on_disk(learnt)
    assert b"employers_own" not in left and b"mine_alone" in left


async def test_the_editors_purge_does_the_same(learnt: Home) -> None:
    async with LspClient(home=learnt.root) as editor:
        await editor.initialize()
        gone = await editor.execute("neuralforge.log.purge", {"everything": True})
    assert (gone["replayed"], gone["runs"]) == (5, 1)
    left = everything_on_disk(learnt)
    assert b"employers_own" not in left and b"mine_alone" not in left


def test_without_a_trainer_there_is_nothing_to_forget(home: Home) -> None:
    result = CliRunner().invoke(group, ["log", "purge", "--everything", "--json"])
    assert json.loads(result.stdout)["replayed"] == 0
