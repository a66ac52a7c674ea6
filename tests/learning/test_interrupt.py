"""A keystroke, a command, SIGTERM and the budget of the day reach a trainer wherever it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gguf_maker import make_base
from neuralforge_adapters.allowance import Limits, Spent, read_spent, write_spent
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import AdapterStore
from neuralforge_adapters.trainer_files import (
    FINISHED,
    TrainerState,
    read_state,
    request,
    touch_typing,
)
from neuralforge_trainer.collecting.learnt import learnt_until
from neuralforge_trainer.control import Pace, Reporter
from neuralforge_trainer.errors import TrainingStoppedError
from neuralforge_trainer.interrupt import Interrupts, StopNowError
from neuralforge_trainer.job import run_job
from neuralforge_trainer.learn.checkpoints import latest_complete
from neuralforge_trainer.settings import Job, JobSettings, read_job

SETTINGS: dict[str, Any] = {
    "least_samples": 5, "least_items": 3, "heldout_items": 6, "general_items": 2,
    "fisher_samples": 2, "threads": 1, "max_samples": 24,
}  # fmt: skip


@pytest.fixture
def small(house_repository: Path) -> Path:
    return house_repository


@pytest.fixture
def base(tmp_path: Path) -> Path:  # type: ignore[override]
    return make_base(
        tmp_path / "tiny.gguf", layers=1, width=32, heads=2, kv_heads=1, hidden=128,
        vocabulary=12_288,
    )  # fmt: skip


def job_file(folder: Path, repository: Path, base: Path, **settings: Any) -> Path:
    path = folder / "job.json"
    values = {"repository": str(repository), "base": str(base), "settings": SETTINGS | settings}
    path.write_text(json.dumps(values), "utf-8")
    return path


_DURING_IMPORT = """
import sys
from pathlib import Path
from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import request, touch_typing
from neuralforge_trainer.job import run_job
from neuralforge_trainer.settings import read_job

class Spy:
    def find_spec(self, name, path=None, target=None):
        home, what = Home.find(), sys.argv[1]
        if name == sys.argv[3]:
            touch_typing(home) if what == "type" else request(home, what)

assert "torch" not in sys.modules
sys.meta_path.insert(0, Spy())
print(run_job(Home.find(), read_job(Path(sys.argv[2]))).result, "torch.optim" in sys.modules)
"""


def during_import(job: Path, what: str, module: str = "torch.nn") -> subprocess.Popen[str]:
    """A trainer that hears `what` while it imports torch, or another module."""
    command = [sys.executable, "-P", "-c", _DURING_IMPORT, what, str(job), module]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_cancel_ends_the_trainer_in_the_middle_of_importing_torch(
    tmp_path: Path, home: Home, small: Path, base: Path
) -> None:
    said, _ = during_import(job_file(tmp_path, small, base), "cancel").communicate()
    assert said.split() == ["cancelled", "False"], "torch was never imported whole"


@pytest.mark.parametrize("module", ["detect_secrets.core", "scipy.special", "torch.nn"])
def test_a_skip_in_the_middle_of_an_import_still_skips(
    tmp_path: Path, home: Home, small: Path, base: Path, module: str
) -> None:
    job = job_file(tmp_path, small, base)
    said, _ = during_import(job, "skip", module).communicate()
    assert said.startswith("cancelled"), "what is skipped could not be collected"
    assert learnt_until(home, str(small)) > 0


@pytest.mark.parametrize(("what", "message"), [("type", "waiting"), ("pause", "paused by")])
def test_typing_and_pause_hold_the_trainer_in_the_middle_of_importing_torch(
    tmp_path: Path, home: Home, small: Path, base: Path, what: str, message: str
) -> None:
    process = during_import(job_file(tmp_path, small, base, quiet_seconds=1000.0), what)
    while (state := read_state(home)) is None or state.state != "paused":
        assert process.poll() is None
    assert state.message.startswith(message)
    request(home, "cancel")
    said, _ = process.communicate()
    assert said.split() == ["cancelled", "False"], "it waited where it was"


@pytest.mark.skipif(os.name == "nt", reason="there it is the same as a kill")
def test_sigterm_keeps_the_checkpoint_and_the_next_trainer_goes_on_whatever_was_committed_since(
    tmp_path: Path, home: Home, small: Path, base: Path
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", small, clone], check=True)
    job = job_file(tmp_path, clone, base, checkpoint_steps=1, micro_batch=2, accumulation=1)
    command = [sys.executable, "-P", "-m", "neuralforge_trainer", str(job), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("state", {}).get("step", 0) >= 3:
            process.send_signal(signal.SIGTERM)
            break
    rest, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(rest.splitlines()[-1])["outcome"]["result"] == "interrupted"
    state = read_state(home)
    assert state is not None and state.state == "interrupted"
    (run,) = home.checkpoints.iterdir()
    checkpoint = latest_complete(run)
    assert checkpoint is not None
    since = _commit_as_before(clone, "def written_since(crate):\n    return crate.weight + 9\n")
    first: list[int] = []
    outcome = run_job(home, read_job(job), lambda s: first.append(s.step) if s.step else None)
    assert outcome.result in ("published", "refused")
    assert learnt_until(home, str(clone)) < since, "left for the next training"
    assert not home.unfinished_training.exists()
    assert first[0] > int(checkpoint.name.partition("-")[2]) > 1, "it went on from there"


def _commit_as_before(clone: Path, text: str) -> float:
    """One more commit of the last one's author; its time in Unix seconds."""
    git = ["git", "-C", str(clone)]
    last = subprocess.run([*git, "log", "-1", "--format=%an%n%ae%n%ct"], capture_output=True)
    name, mail, when = last.stdout.decode().split("\n")[:3]
    (clone / "since.py").write_text(text)
    subprocess.run([*git, "add", "--all"], check=True)
    after = int(when) + 60
    subprocess.run(
        [*git, "-c", f"user.name={name}", "-c", f"user.email={mail}", "commit", "--quiet",
         "--message", "Since"],
        env=os.environ | {f"GIT_{who}_DATE": f"{after} +0000" for who in ("AUTHOR", "COMMITTER")},
        check=True,
    )  # fmt: skip
    return after


def test_a_spent_budget_puts_a_training_off_and_what_it_used_is_counted(
    home: Home, small: Path, base: Path
) -> None:
    job = Job(repository=small, base=base, settings=JobSettings(**SETTINGS))
    outcome = run_job(home, job)
    used = read_spent(home)
    assert outcome.result in ("published", "refused")
    assert 0 < used.seconds < 120 and used.cpu_seconds > 0
    write_spent(home, Spent().plus(datetime.now(), 60.0, 0.0))
    limited = Job(
        repository=small,
        base=base,
        everything=True,
        limits=Limits(minutes_per_day=1),
        settings=JobSettings(**SETTINGS),
    )
    outcome = run_job(home, limited)
    assert outcome.result == "interrupted" and "1 minutes of training are spent" in outcome.message


class Hindrance:
    """A reason to stop, from the moment that it is `up`."""

    def __init__(self) -> None:
        self.up = False
        self.asked: list[threading.Thread] = []

    def hindered(self) -> bool:
        return self.up

    def wait(self) -> None:
        if self.up:
            self.asked.append(threading.current_thread())
            raise TrainingStoppedError("stopped")


def busy_until(stopped: Any) -> None:
    while not stopped():
        sum(range(100))


def test_an_interrupt_passes_by_every_handler_of_ordinary_errors() -> None:
    pace = Hindrance()
    with pytest.raises(StopNowError) as stop, Interrupts(pace).installed():
        pace.up = True
        try:
            busy_until(lambda: False)
        except Exception:  # noqa: BLE001 - as libraries do
            pytest.fail("swallowed")
    assert isinstance(stop.value.reason, TrainingStoppedError)
    assert pace.asked == [threading.main_thread()]


def test_what_is_sealed_is_done_to_its_end() -> None:
    pace = Hindrance()
    interrupts = Interrupts(pace)
    with interrupts.installed():
        interrupts.seal()
        pace.up = True
        until = time.monotonic() + 0.3  # several looks
        busy_until(lambda: time.monotonic() > until)
    assert pace.asked == []


def test_a_key_after_the_end_does_not_unsay_it(
    home: Home, house_repository: Path, base: Path
) -> None:
    """The last state stands, however long the process takes to go."""

    def type_at_the_end(state: TrainerState) -> None:
        if state.state in FINISHED:
            touch_typing(home)
            until = time.monotonic() + 0.3
            busy_until(lambda: time.monotonic() > until)

    settings = JobSettings(**{**SETTINGS, "quiet_seconds": 1000.0})
    run_job(home, Job(repository=house_repository, base=base, settings=settings), type_at_the_end)
    state = read_state(home)
    assert state is not None and state.state in ("done", "refused")
    assert (state.version is not None) == (state.state == "done")


def test_handlers_are_put_back(home: Home) -> None:
    before = signal.getsignal(signal.SIGTERM)
    pace = Pace(home, 0.0, Reporter(home, "job", lambda state: None))
    with Interrupts(pace).installed():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert AdapterStore(home).names() == []
