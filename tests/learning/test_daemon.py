"""`neuralforge daemon`: repositories and an inbox without an editor, killed and ended at will.

Everything is real: processes, signals, git, trainings on a small base with random weights.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from gguf_maker import make_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import PERSONAL, AdapterStore
from neuralforge_adapters.trainer_files import TrainerState, read_state
from neuralforge_server.session.log import SessionLog

pytestmark = pytest.mark.slow

DAEMON = [sys.executable, "-P", "-c", "from neuralforge_server.cli import main; main()", "daemon"]


@pytest.fixture
def repository(tmp_path: Path, house_repository: Path) -> Path:
    """The newest commits of it alone, which take less time to learn."""
    source, clone = house_repository.as_uri(), tmp_path / "repository"
    own = ["-c", "user.email=ada@example.com"]
    command = ["git", "clone", "--quiet", "--depth", "15", *own, source, str(clone)]
    subprocess.run(command, check=True, capture_output=True)
    return clone


@pytest.fixture
def small_base(tmp_path: Path) -> Path:
    return make_base(
        tmp_path / "small.gguf", layers=2, width=64, heads=2, kv_heads=1, hidden=128,
        vocabulary=12_288,
    )  # fmt: skip


def daemon(base: Path, tmp_path: Path, *arguments: object, **learning: Any) -> psutil.Popen:
    settings = tmp_path / "settings.json"
    eager = {"idle_seconds": 0, "quiet_seconds": 0, "nice": 0, **learning}
    settings.write_text(json.dumps({"learning": eager}), "utf-8")
    given = ["--base", base, "--settings", settings, *arguments]
    return psutil.Popen([*DAEMON, *map(str, given)], stderr=subprocess.PIPE, text=True)


def dataset(repository: Path) -> str:
    """A sample for each line of the repository's files that is long enough."""
    rows = []
    for file in sorted(repository.rglob("*.py")):
        lines = file.read_text("utf-8").splitlines(keepends=True)
        for number, line in enumerate(lines):
            if len(line) > 24:
                row = {"context": "".join(lines[:number]) + line[:12], "completion": line[12:-1]}
                rows.append(json.dumps({**row, "language": "python", "path": file.name}))
    return "".join(f"{row}\n" for row in rows[:150])


def put(home: Home, name: str, content: str) -> Path:
    folder = home.profile_dir / "inbox"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(content, "utf-8")
    return path


def reason(home: Home, folder: str, name: str) -> str:
    assert (home.profile_dir / "inbox" / folder / name).is_file()
    note = home.profile_dir / "inbox" / folder / f"{name}.reason.txt"
    return note.read_text("utf-8")


def training(home: Home, process: psutil.Popen) -> TrainerState:
    """The trainer's state once it trains."""
    while (state := read_state(home)) is None or state.state != "training":
        assert process.poll() is None, process.stderr.read()
    return state


def test_once_learns_from_the_repositories_and_the_inbox_and_says_what_became_of_it(
    tmp_path: Path, home: Home, repository: Path, small_base: Path
) -> None:
    put(home, "good.jsonl", dataset(repository) + "no JSON at all\n")
    put(home, "bad.jsonl", '{"weather": "fine"}\n')
    put(home, "half.jsonl.part", dataset(repository))
    process = daemon(small_base, tmp_path, repository, "--once")
    _, said = process.communicate()
    assert process.returncode == 0, said
    told = reason(home, "done", "good.jsonl")
    assert told.startswith("learnt: personal@v")
    number = len(dataset(repository).splitlines()) + 1
    assert f"good.jsonl: line {number}: not a line of JSON" in told
    ended = [line for line in said.splitlines() if "ended: " in line]
    assert any(f"line {number}: not a line of JSON" in line for line in ended), said
    assert any("Ada House <ada@example.com>, your git identity" in line for line in ended), said
    assert "weather" in reason(home, "rejected", "bad.jsonl")
    assert (home.profile_dir / "inbox" / "half.jsonl.part").is_file()
    versions = AdapterStore(home).versions(PERSONAL)
    assert {v.manifest.data["source"] for v in versions} == {"files", "git"}, said
    with SessionLog.open_to_read(home.session_log) as log:
        assert log.consent(repository) == "yes"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_dataset_outlives_sigterm_and_kills_and_is_learnt_in_the_end(
    tmp_path: Path, home: Home, repository: Path, small_base: Path
) -> None:
    content = dataset(repository)
    path = put(home, "good.jsonl", content)
    first = daemon(small_base, tmp_path)
    training(home, first)
    first.terminate()
    first.communicate()
    state = read_state(home)
    assert first.returncode == 0 and state is not None and state.state == "interrupted"
    assert path.read_text("utf-8") == content
    second = daemon(small_base, tmp_path)
    trainer = training(home, second)
    second.kill()
    psutil.Process(trainer.pid).kill()
    second.communicate()
    assert path.read_text("utf-8") == content
    last = daemon(small_base, tmp_path, "--once")
    _, said = last.communicate()
    assert "held-out" in reason(home, "done", "good.jsonl"), said
    assert (home.profile_dir / "inbox" / "done" / "good.jsonl").read_text("utf-8") == content


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_one_daemon_at_a_time_which_ends_at_sigterm_and_is_light(
    tmp_path: Path, home: Home, small_base: Path
) -> None:
    first = daemon(small_base, tmp_path, hours="00:00-00:01")
    assert "learning for profile default" in first.stderr.readline()
    waiting = first.stderr.readline()
    assert "waiting:" in waiting
    assert first.memory_info().rss < 150e6, "torch is not in there"
    second = daemon(small_base, tmp_path)
    _, said = second.communicate()
    assert second.returncode == 1 and f"another daemon (process {first.pid})" in said
    first.terminate()
    first.communicate()
    assert first.returncode == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read the settings file"),
        ("[]", "no JSON object"),
        ('{"repositories": "one"}', "must be a list of paths"),
        ('{"repositories": ["nowhere"]}', "no folder of a git repository"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    tmp_path: Path, home: Home, content: str, message: str
) -> None:
    home.profile_dir.mkdir(parents=True)
    (home.profile_dir / "daemon.json").write_text(content, "utf-8")
    done = subprocess.run(DAEMON, capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr
