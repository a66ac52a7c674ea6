"""A whole job, as the command line runs it: from a repository's history to a published version."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from git_maker import GitMaker, go_on, isolate, varied_history
from neuralforge_adapters.base import Base
from neuralforge_adapters.convert import check_adapter
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import GGUF_FILE, PERSONAL, AdapterStore
from neuralforge_adapters.trainer_files import read_state, request, touch_typing, typing_file
from neuralforge_trainer.collect import collect
from neuralforge_trainer.collecting.material import Material
from neuralforge_trainer.control import Reporter, only_trainer
from neuralforge_trainer.errors import JobError, NothingToLearnError
from neuralforge_trainer.evaluate.copier import Copier
from neuralforge_trainer.evaluate.gate import GateReport
from neuralforge_trainer.evaluate.metrics import exact_match
from neuralforge_trainer.job import INTERRUPTED, _Run, run_job
from neuralforge_trainer.learn.checkpoints import latest_complete
from neuralforge_trainer.learn.ewc import EWC_FILE
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.samples.git import choose_author, user_commits
from neuralforge_trainer.samples.repository import open_repository
from neuralforge_trainer.settings import Job, JobSettings, make_settings, read_job
from neuralforge_trainer.unfinished import note
from trained import Trained


def _row(trained: Trained, system: str, items: str) -> object:
    assert trained.outcome.gate is not None
    return next(r for r in trained.outcome.gate.rows if (r.system, r.items) == (system, items))


def test_the_first_job_publishes_a_version_that_can_be_served(
    trained: Trained, shared_base: Base
) -> None:
    assert trained.outcome.result == "published", trained.outcome.message
    version = trained.version
    assert AdapterStore(trained.home).current(PERSONAL) == version
    assert check_adapter(version.gguf, shared_base.digest).rank == version.manifest.rank == 16
    assert version.manifest.base_digest == shared_base.digest
    assert version.manifest.data["samples"] > 200
    assert version.manifest.metrics["promote"] is True
    assert {p.name for p in version.path.iterdir()} >= {"ewc.safetensors", "manifest.json"}


def test_exact_match_on_later_commits_rises_above_the_bases_and_the_copiers(
    trained: Trained,
) -> None:
    """On lines that occur nowhere in the training commits."""
    material = collect(trained.home, replace(trained.job, everything=True))
    repository = open_repository(trained.job.repository or Path())
    changes = list(user_commits(repository, choose_author(repository).author))
    earlier = [c for c in changes if c.time < material.heldout[0].time]
    seen = {line.strip() for c in earlier for f in c.files for line in f.text.splitlines()}
    for item in material.heldout:
        line = item.prefix.rpartition("\n")[2] + item.expected
        assert line.strip() not in seen
    copier = Copier.of_changes(earlier)
    copied = [exact_match(i.expected, copier.complete(i.prefix)) for i in material.heldout]
    before, after = _row(trained, "current", "held-out"), _row(trained, "candidate", "held-out")
    assert after.em > before.em + 0.05
    assert after.em > sum(copied) / len(copied) + 0.05
    assert after.perplexity < 0.8 * before.perplexity


def test_the_states_tell_the_whole_way(trained: Trained) -> None:
    names = list(dict.fromkeys(state.state for state in trained.states))
    assert names == ["collecting", "training", "measuring", "publishing", "done"]
    percents = [state.percent for state in trained.states]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert any("Ada House" in state.message for state in trained.states)
    assert trained.states[-1].version == trained.outcome.version
    assert read_state(trained.home) == trained.states[-1]


def test_what_was_learnt_is_remembered(trained: Trained) -> None:
    with ReplayBuffer(trained.home.replay_buffer) as buffer:
        assert len(buffer) == buffer.seen == trained.version.manifest.data["samples"]
    assert (trained.version.path / EWC_FILE).is_file()
    assert list(trained.home.checkpoints.iterdir()) == []
    material = collect(trained.home, replace(trained.job, settings=_lenient()))
    assert material.samples[0].time > trained.version.manifest.data["to"]


def test_an_update_goes_on_from_the_current_version(trained: Trained) -> None:
    """With replay and EWC; on the commits that were held out of the first job."""
    job = replace(trained.job, settings=_lenient(max_samples=60))
    outcome = run_job(trained.home, job)
    assert outcome.gate is not None
    if outcome.version is not None:
        assert AdapterStore(trained.home).get(outcome.version).manifest.parent == (
            trained.outcome.version
        )
        AdapterStore(trained.home).set_current(trained.version.reference)


def test_the_gate_keeps_to_the_threads_that_the_user_allows(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def judged(*_: object, threads: int, **__: object) -> GateReport:
        asked.append(threads)
        return GateReport(False, "", ())

    monkeypatch.setattr("neuralforge_trainer.job.judge", judged)
    (tmp_path / GGUF_FILE).touch()
    material = Material([], [], {}, "", lambda: None)
    for threads in (1, 7):
        job = Job(settings=_lenient(threads=threads))
        _Run(home, job, Reporter(home, "", lambda state: None))._judge(material, tmp_path)
    assert asked == [1, 7]


def _lenient(**changes: int) -> JobSettings:
    values = {"least_samples": 5, "least_items": 3, "heldout_items": 10, "general_items": 10}
    return JobSettings(fisher_samples=8, **(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    varied_history(tmp_path / "repository")
    return tmp_path / "repository"


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "neuralforge_trainer", *map(str, arguments)]


def _job_file(folder: Path, repository: Path, **settings: object) -> Path:
    path = folder / "job.json"
    values = {"least_samples": 5, "least_items": 3, "threads": 1, **settings}
    path.write_text(json.dumps({"repository": str(repository), "settings": values}), "utf-8")
    return path


def test_nothing_new_is_no_failure(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    made = GitMaker(tmp_path / "repository")
    made.commit({"one.py": "first = sail(1, 'east')\n"})
    done = subprocess.run(
        _command("--from-git", made.root, "--json"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])["outcome"]
    assert outcome["result"] == "nothing"
    assert "too little is new" in outcome["message"]
    state = read_state(home)
    assert state is not None
    assert (state.state, state.version) == ("done", None)


def test_a_folder_without_a_repository_fails_with_a_message(tmp_path: Path, home: Home) -> None:
    done = subprocess.run(
        _command("--from-git", tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no git repository" in done.stderr
    state = read_state(home)
    assert state is not None
    assert state.state == "failed"
    assert "no git repository" in state.message


def test_a_second_trainer_leaves_with_a_message(small: Path, home: Home) -> None:
    with only_trainer(home):
        done = subprocess.run(
            _command("--from-git", small), capture_output=True, text=True, check=False
        )
    assert done.returncode == 3
    assert "another trainer is at work" in done.stderr
    assert read_state(home) is None


@pytest.mark.parametrize("command", ["cancel", "skip"])
def test_a_stopped_job_publishes_nothing_and_skip_passes_its_samples_over(
    small: Path, home: Home, command: str
) -> None:
    settings = _lenient()
    job = Job(repository=small, settings=settings)

    def stop(state: object) -> None:
        if getattr(state, "state", "") == "training":
            request(home, command)  # type: ignore[arg-type]

    outcome = run_job(home, job, stop)
    assert outcome.result == "cancelled"
    assert AdapterStore(home).names() == []
    assert list(home.checkpoints.iterdir()) == []
    if command == "cancel":
        assert len(collect(home, job).samples) > 5
    else:
        with pytest.raises(NothingToLearnError):
            collect(home, replace(job, settings=JobSettings()))


def test_a_killed_job_is_started_again_and_ends_as_if_nothing_had_been(
    small: Path, home: Home, tmp_path: Path
) -> None:
    job = _job_file(tmp_path, small, checkpoint_steps=1, micro_batch=2, accumulation=1)
    process = subprocess.Popen(_command(job, "--json"), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["state"]["step"] >= 3:
            process.kill()
            break
    process.communicate()
    state = read_state(home)
    assert state is not None
    assert (state.state, state.message) == ("failed", "trainer ended before its work was done")
    assert AdapterStore(home).names() == []
    (run,) = home.checkpoints.iterdir()
    checkpoint = latest_complete(run)
    assert checkpoint is not None
    first: list[int] = []
    outcome = run_job(home, read_job(job), lambda s: first.append(s.step) if s.step else None)
    assert outcome.result in ("published", "refused")
    assert first[0] > int(checkpoint.name.partition("-")[2]) > 1  # it went on from there


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent there to one group alone")
def test_ctrl_c_ends_the_command_with_one_line_and_a_cancelled_state(
    small: Path, home: Home
) -> None:
    start = (  # SIGINT may be ignored where the tests run in the background, and that is inherited
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from neuralforge_server.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", start, "train", "--from-git", str(small), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["state"]["state"] == "training":
            os.killpg(process.pid, signal.SIGINT)
            break
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == f"neuralforge_trainer: {INTERRUPTED}\n"
    state = read_state(home)
    assert state is not None
    assert (state.state, state.message) == ("cancelled", INTERRUPTED)
    assert len(collect(home, Job(repository=small, settings=_lenient())).samples) > 5


def test_typing_stops_the_computing(small: Path, home: Home, tmp_path: Path) -> None:
    """While keys are hit the trainer takes next to no CPU; afterwards it goes on."""
    job = _job_file(tmp_path, small, quiet_seconds=1000.0, epochs=50)
    process = psutil.Popen(_command(job, "--json"), stdout=subprocess.PIPE, text=True)
    try:
        states = (json.loads(line)["state"] for line in process.stdout)
        assert next(s["state"] for s in states if s["state"] == "training")
        next(s for s in states if s["step"] >= 1)
        touch_typing(home)
        assert next(s for s in states if s["state"] == "paused")["message"].startswith("waiting")
        before = process.cpu_times()
        with pytest.raises(psutil.TimeoutExpired):
            process.wait(timeout=2.0)  # two seconds of typing
        after = process.cpu_times()
        assert (after.user + after.system) - (before.user + before.system) < 0.2
        os.utime(typing_file(home), (1.0, 1.0))
        assert next(s for s in states if s["state"] != "paused")["state"] == "training"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epoch": 3}, "unknown name 'epoch'"),
        ({"arm": "all"}, "arm cannot be 'all'"),
        ({"epochs": 1.5}, "epochs cannot be 1.5"),
        ({"replay_share": 2}, "replay_share cannot be 2"),
        ({"learning_rate": float("nan")}, "learning_rate cannot be nan"),
        ({"tensorboard": 1}, "tensorboard cannot be 1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(JobError, match=named):
        make_settings(settings)


@pytest.mark.parametrize("content", ["", "[]", '{"repo": "x"}', '{"settings": 3}'])
def test_a_job_file_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.json").write_text(content, "utf-8")
    with pytest.raises(JobError):
        read_job(tmp_path / "job.json")


def test_secrets_are_neither_learnt_nor_kept(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    made = varied_history(tmp_path / "repository")
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    made.commit({"cloud.py": f"name = 'x'\ntoken = '{token}'\nother = connect(name, 'y')\n"})
    go_on(made, 8, "later")  # the newest commits are held out
    material = collect(home, Job(repository=made.root, settings=_lenient()))
    assert any(s.path == "cloud.py" for s in material.samples)
    assert not any(token in s.prefix + s.middle + s.suffix for s in material.samples)


def test_an_interrupted_training_that_has_too_little_left_learns_what_is_new(
    home: Home, house_repository: Path
) -> None:
    job = Job(repository=house_repository)
    note(home, job, 1.0)  # as after a history that was rewritten
    run = _Run(home, job, Reporter(home, job.source, lambda _: None))
    assert len(run._collect().samples) >= job.settings.least_samples
