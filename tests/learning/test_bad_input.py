"""Bad input for the learner: nothing is lost, and the current adapter stays in force.

Broken lines of a dataset and losses that are not finite have tests of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gguf_maker import make_base
from git_maker import GitMaker, isolate
from neuralforge_adapters.base import open_base
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import StackEntry, resolve, usable
from neuralforge_adapters.store import GGUF_FILE, PERSONAL, AdapterStore, Manifest
from neuralforge_adapters.trainer_files import read_state
from neuralforge_trainer.errors import EmptyRepositoryError, RepositoryError
from neuralforge_trainer.job import run_job
from neuralforge_trainer.samples.git import choose_author, user_commits
from neuralforge_trainer.samples.repository import open_repository
from neuralforge_trainer.settings import Job


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitMaker:
    isolate(monkeypatch, tmp_path)
    return GitMaker(tmp_path / "repository")


def make_tiny(path: Path, width: int = 32) -> Path:
    return make_base(path, layers=1, width=width, heads=2, kv_heads=1, hidden=128,
                     vocabulary=12_288)  # fmt: skip


def current(home: Home) -> str | None:
    """A stand-in for the version in force."""
    store = AdapterStore(home)
    with store.staging(PERSONAL) as staged:
        (staged / GGUF_FILE).write_bytes(b"weights")
        return store.publish(staged, Manifest(PERSONAL, "b" * 64, 16, 32.0)).reference


def test_an_empty_history_fails_by_name_and_changes_nothing(home: Home, maker: GitMaker) -> None:
    before = current(home)
    with pytest.raises(EmptyRepositoryError):
        run_job(home, Job(repository=maker.root))
    state = read_state(home)
    assert state is not None and (state.state, state.error) == ("failed", "EmptyRepositoryError")
    version = AdapterStore(home).current(PERSONAL)
    assert version is not None and version.reference == before


def test_a_history_of_one_commit_is_too_little_and_no_failure(home: Home, maker: GitMaker) -> None:
    before = current(home)
    maker.commit({"one.py": "first = sail(1, 'east')\n"})
    assert run_job(home, Job(repository=maker.root)).result == "nothing"
    version = AdapterStore(home).current(PERSONAL)
    assert version is not None and version.reference == before


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_history_that_is_rewritten_and_pruned_under_the_trainer_ends_by_name(
    home: Home, maker: GitMaker, after: int
) -> None:
    """As after a forced push from another clone, with a garbage collection at once."""
    for number in range(8):
        maker.commit({f"file_{number}.py": f"value_{number} = compute({number}, 'north')\n"})
    repository = open_repository(maker.root)
    commits = user_commits(repository, choose_author(repository).author)
    seen = [next(commits) for _ in range(after)]
    maker.git("checkout", "--quiet", "--orphan", "rewritten")
    maker.commit({"other.py": "other = compute('south')\n"})
    maker.git("branch", "--quiet", "--force", "main", "rewritten")
    maker.git("reflog", "expire", "--expire=now", "--all")
    maker.git("gc", "--quiet", "--prune=now")
    try:
        seen += commits
    except RepositoryError as error:
        assert str(error)
    assert len(seen) <= 8
    fresh = open_repository(maker.root)
    found = list(user_commits(fresh, choose_author(fresh).author))
    assert len(found) == 1, "the next one reads it anew"
    assert "other.py" in {file.path for file in found[0].files}


def test_a_base_that_is_replaced_under_its_adapter_is_served_without_it(
    tmp_path: Path, home: Home
) -> None:
    path = make_tiny(tmp_path / "base.gguf")
    digest = open_base(path, home).digest
    store = AdapterStore(home)
    with store.staging("team") as staged:
        (staged / GGUF_FILE).write_bytes(b"weights")
        store.publish(staged, Manifest("team", digest, 16, 32.0))
    assert resolve([StackEntry("team")], store, digest).adapters
    path.unlink()
    replaced = open_base(make_tiny(path, width=64), home).digest
    assert replaced != digest
    with pytest.raises(AdapterError, match="trained for base"):
        resolve([StackEntry("team")], store, replaced)
    entries, problems = usable([StackEntry("team")], store, replaced)
    assert entries == () and len(problems) == 1
    assert store.current("team") is not None, "it is kept for its own base"


_FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from neuralforge_adapters.home import Home
from neuralforge_trainer.job import run_job
from neuralforge_trainer.settings import Job, make_settings

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
given = json.loads(sys.argv[1])

def fill(state):
    if given["full"] and state.state == "publishing":
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))

job = Job(repository=Path(given["repository"]), base=Path(given["base"]),
          settings=make_settings(given["settings"]))
print(run_job(Home.find(), job, fill).result)
"""

SETTINGS: dict[str, Any] = {
    "least_samples": 5, "least_items": 3, "heldout_items": 6, "general_items": 2,
    "fisher_samples": 2, "threads": 1, "max_samples": 24,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a file size limit")
def test_a_disk_that_is_full_at_publish_costs_no_sample_and_no_version(
    tmp_path: Path, home: Home, house_repository: Path
) -> None:
    base = make_tiny(tmp_path / "base.gguf")
    given = {"repository": str(house_repository), "base": str(base), "settings": SETTINGS}

    def train(*, full: bool) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", _FULL_DISK, json.dumps({**given, "full": full})]
        return subprocess.run(command, capture_output=True, text=True)

    failed = train(full=True)
    assert failed.returncode != 0 and "Error" in failed.stderr.splitlines()[-1], failed.stdout
    assert AdapterStore(home).names() == []
    state = read_state(home)
    assert state is not None and state.state == "failed"
    done = train(full=False)
    assert done.stdout.split() == ["published"], done.stderr
    (version,) = AdapterStore(home).versions(PERSONAL)
    assert version.reference == "personal@v0001" and version.manifest.data["samples"] >= 20
