"""Seeded kills of whole training jobs, each rename among them: they cost time, nothing else.

With those of server and engine (tests/lsp/test_kills.py) these are a hundred points. Jobs are
real and small: a base of two layers with random weights, the house-style repository, and the
gate, publishing and the replay buffer as ever.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gguf_maker import make_base
from neuralforge_adapters.base import file_digest
from neuralforge_adapters.convert import check_adapter
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import PERSONAL, AdapterStore
from neuralforge_adapters.trainer_files import read_state

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs fork")]

CHAINS, KILLS = 4, 10
"""Homes in which a job is killed again and again, and how often each at seeded steps."""


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "small.gguf"
    return make_base(path, layers=2, width=64, heads=2, kv_heads=1, hidden=128, vocabulary=12288)


def run_jobs(
    home: Home, repository: Path, base: Path, plan: list[int | str]
) -> list[dict[str, Any]]:
    """Jobs one after the other, the last of them to its end."""
    given = {"home": str(home.root), "repository": str(repository), "base": str(base),
             "plan": [*plan, 0]}  # fmt: skip
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("kill_job.py"), json.dumps(given)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def reference(
    small_base: Path, house_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Home, dict[str, Any]]:
    """An undisturbed job, and what it counted."""
    home = Home(tmp_path_factory.mktemp("reference"))
    (summary,) = run_jobs(home, house_repository, small_base, [])
    assert summary["result"] == "published"
    return home, summary


def assert_whole(home: Home, base: Path, reference: Home) -> None:
    """Everything visible is whole, and the first version is what it was to be."""
    store = AdapterStore(home)
    versions = store.versions(PERSONAL)
    assert versions, read_state(home)
    for version in versions:
        check_adapter(version.gguf, file_digest(base))
        assert file_digest(version.gguf) == version.manifest.digest
    expected = AdapterStore(reference).versions(PERSONAL)[0]
    assert versions[0].manifest.digest == expected.manifest.digest, "the weights are the same"
    assert store.get(PERSONAL) in versions
    assert not list(home.checkpoints.iterdir()), "a finished run leaves no checkpoints"
    state = read_state(home)
    assert state is not None and state.state == "done"


@pytest.mark.parametrize("seed", range(CHAINS))
def test_a_job_killed_ten_times_ends_with_the_same_weights(
    seed: int,
    small_base: Path,
    house_repository: Path,
    reference: tuple[Home, dict[str, Any]],
    tmp_path: Path,
) -> None:
    whole, counted = reference
    chance = random.Random(seed)
    plan: list[int | str] = [chance.randint(1, counted["steps"] // 4) for _ in range(KILLS)]
    home = Home(tmp_path / "home")
    jobs = run_jobs(home, house_repository, small_base, plan)
    assert sum(job["killed"] for job in jobs) >= KILLS // 2, "most kills came before the end"
    assert jobs[-1]["result"] in ("published", "nothing")
    assert_whole(home, small_base, whole)


def test_a_job_killed_at_each_kind_of_rename_ends_with_the_same_weights(
    small_base: Path,
    house_repository: Path,
    reference: tuple[Home, dict[str, Any]],
    tmp_path: Path,
) -> None:
    whole, counted = reference
    home = Home(tmp_path / "home")
    jobs = run_jobs(home, house_repository, small_base, ["rename"] * 30)
    died_at = {job["at"] for job in jobs if job["killed"]}
    assert died_at >= set(counted["renames"])
    assert {"current", "manifest.json", "vN", "state.json"} <= died_at
    assert jobs[-1]["result"] in ("published", "nothing")
    assert_whole(home, small_base, whole)
