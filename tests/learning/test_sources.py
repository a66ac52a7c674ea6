"""Training on the session log and on datasets, to a published version.

Everything is real: the log, the files, the training and the gate. The base is a small
one with random weights, so that a training takes seconds and the gate has a yes to say.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gguf_maker import make_base
from neuralforge_adapters.base import open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import PERSONAL, AdapterStore
from neuralforge_adapters.trainer_files import read_state
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.rows import DEADLINES_S, SettledEdit, Suggestion, new_id
from neuralforge_trainer.collect import collect
from neuralforge_trainer.datasets.sources import of_adapter
from neuralforge_trainer.errors import NothingToLearnError
from neuralforge_trainer.job import run_job
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.samples.git import choose_author, user_commits
from neuralforge_trainer.samples.repository import open_repository
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.selection import Selection
from neuralforge_trainer.settings import Job, JobSettings
from neuralforge_trainer.update import mix

pytestmark = pytest.mark.slow


SMALL = JobSettings(
    max_samples=60, heldout_items=12, general_items=6, fisher_samples=4, threads=1, micro_batch=8
)


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(
        tmp_path_factory.mktemp("base") / "small.gguf", layers=2, width=64, heads=2, kv_heads=1,
        hidden=128, vocabulary=12288,
    )  # fmt: skip


def written_lines(repository: Path) -> Iterator[tuple[str, str, str, float]]:
    """(text before, line, text after, time) of lines that the history's author added."""
    opened = open_repository(repository)
    for change in user_commits(opened, choose_author(opened).author):
        for file in change.files:
            lines = file.text.splitlines(keepends=True)
            for first, last in file.added:
                for number in range(first, last + 1, 3):
                    if len(line := lines[number].strip()) > 8:
                        above, below = "".join(lines[:number]), "".join(lines[number + 1 :])
                        indent = lines[number][: lines[number].index(line)]
                        yield above + indent, line, f"\n{below}", change.time


def remember_session(home: Home, repository: Path, count: int) -> None:
    """Fill the log as a server would: accepted and kept, dismissed and typed, edited in turn."""
    with SessionLog.open(home.session_log) as log:
        for number, (prefix, line, suffix, at) in enumerate(written_lines(repository)):
            if number == count:
                break
            kind = ("accepted", "dismissed", "edited")[number % 3]
            made = Suggestion(
                id=new_id(), created=at + number, base="b" * 64, stack="s" * 64, stack_json="[]",
                uri=f"file:///mine/{number}.py", path=f"/mine/{number}.py", repository=None,
                language="python", line=3, character=4, trigger="automatic", prefix_tail=prefix,
                suffix_head=suffix, text=line if kind == "accepted" else "pass", latency_ms=9.0,
                tokens=30,
            )  # fmt: skip
            edit = SettledEdit(
                uri=made.uri, created=at + number, line=3, before="", after=line,
                prefix=prefix[-2000:], suffix=suffix[:1000], path=made.path, language="python",
                dismissed_id=made.id if kind == "dismissed" else None,
            )  # fmt: skip
            if kind != "edited":
                log.record_suggestion(made)
            if kind == "accepted":
                log.record_outcome(made.id, "accepted", "client", len(line), at + number)
                for deadline in DEADLINES_S:
                    log.record_retention(made.id, deadline, 1.0, "open", at + number + deadline)
            elif kind == "dismissed":
                log.record_outcome(made.id, "dismissed", "client", at=at + number)
                log.record_edit(edit)
            else:
                log.record_edit(edit)


def neuralforge(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", "from neuralforge_server.cli import main; main()",
         *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def published(home: Home, job: Job) -> dict[str, Any]:
    """The data of the version that `job` made."""
    outcome = run_job(home, job)
    assert outcome.result == "published", outcome.message
    version = AdapterStore(home).current(PERSONAL)
    assert version is not None and version.reference == outcome.version
    return version.manifest.data


def replayed(home: Home) -> list[Sample]:
    with ReplayBuffer(home.replay_buffer) as buffer:
        return buffer.draw(len(buffer))


def test_a_session_becomes_a_published_version_and_is_learnt_once(
    home: Home, house_repository: Path, small_base: Path
) -> None:
    remember_session(home, house_repository, 120)
    job = Job(base=small_base, settings=SMALL)
    data = published(home, job)
    learnt = replayed(home)
    assert data["source"] == "session"
    assert len(learnt) == data["samples"] > 40
    assert {sample.source for sample in learnt} == {"session"}
    with SessionLog.open(home.session_log) as log:
        left = list(log.training_events())
        everything = list(log.training_events(unused_only=False))
    assert len(everything) - len(left) == data["events"]
    assert min(event.created for event in left) > data["to"], "the newest stay new"
    for kind in ("accepted", "rejected", "edit"):
        texts = {event.text for event in everything if event.kind == kind}
        assert texts & {sample.middle for sample in learnt}, kind
    window = [found.make() for found in of_adapter(home, PERSONAL, Selection(), 0)]
    assert {s.middle for s in window} >= {s.middle for s in learnt}
    assert max(s.time for s in window) <= data["to"]
    with pytest.raises(NothingToLearnError, match="new events in the session log"):
        collect(home, replace(job, settings=replace(SMALL, least_samples=len(left))))
    assert len(collect(home, replace(job, everything=True)).samples) == len(learnt)


def test_a_dataset_is_made_and_becomes_a_published_version(
    home: Home, house_repository: Path, small_base: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.jsonl"
    made = neuralforge("create-dataset", file, "--from-git", house_repository, "--limit", 150)
    assert made.returncode == 0, made.stderr
    with file.open("a") as output:
        output.write('{"context": "half a li')
    job = Job(datasets=(file,), patterns=("!harbour/core.py",), base=small_base, settings=SMALL)
    data = published(home, job)
    assert (data["source"], data["datasets"], data["broken"]) == ("files", ["own.jsonl"], 1)
    state = read_state(home)
    assert state is not None and "line 151: not a line of JSON" in state.message
    learnt = replayed(home)
    assert {sample.source for sample in learnt} == {"git"}, "as the file says"
    assert "harbour/core.py" not in {sample.path for sample in learnt}
    extracted = neuralforge("extract-dataset", tmp_path / "learnt.jsonl", "--replay", "--json")
    assert json.loads(extracted.stdout)["samples"] == len(learnt)
    copy = shutil.copy(file, tmp_path / "copy.jsonl")
    again = run_job(home, replace(job, datasets=(copy, file)))
    state = read_state(home)
    assert (again.result, state and state.error) == ("nothing", "AlreadyLearntError")
    assert "copy.jsonl, own.jsonl were learnt before" in again.message
    everything = collect(home, replace(job, datasets=(copy, file), everything=True))
    assert everything.data["datasets"] == ["copy.jsonl"], "one of two that are the same"
    assert {s.middle for s in everything.samples} == {s.middle for s in learnt}
    with copy.open("a") as output:
        output.write("\n")
    assert collect(home, replace(job, datasets=(file, copy))).data["datasets"] == ["copy.jsonl"]
    assert collect(home, replace(job, patterns=())).samples, "another selection may find more"


def test_no_line_that_a_session_taught_is_replayed_where_a_commit_of_it_is_held_out(
    home: Home, house_repository: Path, small_base: Path
) -> None:
    remember_session(home, house_repository, 10_000)
    everything = replace(SMALL, max_samples=10_000, heldout_share=0.0, least_items=0)
    session = collect(home, Job(settings=everything))
    with ReplayBuffer(home.replay_buffer) as buffer:
        buffer.add(session.samples)
    git = collect(home, Job(repository=house_repository, settings=SMALL))
    asked = {(i.prefix.rpartition("\n")[2] + i.expected).strip() for i in git.heldout}

    def shows(sample: Sample) -> bool:
        text = sample.prefix + sample.middle + sample.suffix
        return not asked.isdisjoint(line.strip() for line in text.splitlines())

    held = replayed(home)
    assert any(map(shows, held)) and not all(map(shows, held))
    mostly = replace(SMALL, replay_share=0.9)
    base = open_base(small_base, home)
    with ReplayBuffer(home.replay_buffer) as buffer:
        by_number = {one.identifier: one.sample for one in buffer.draw_held(len(buffer))}
    drawn = mix(home, base, git.samples, mostly, 0, git.heldout).replayed_ids
    assert drawn and not any(shows(by_number[number]) for number in drawn)
    few = mix(home, base, git.samples, replace(SMALL, replay_share=0.1), 0, git.heldout)
    assert len(few.replayed) == round(len(few.new) / 9), "others are drawn in their place"


def test_a_broken_dataset_is_a_message_and_no_traceback(home: Home, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("no json\n")
    done = neuralforge("train", "--dataset", tmp_path / "none.jsonl")
    assert done.returncode == 1
    assert "line 1: not a line of JSON" in done.stderr
    assert "Traceback" not in done.stderr
    row = '{"context": "a = ", "completion": "1", "language": "python"}\n'
    (tmp_path / "few.jsonl").write_text(row + "no json\n")
    done = neuralforge("train", "--dataset", tmp_path / "few.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nothing: too little is new")
    assert "few.jsonl: line 2: not a line of JSON" in done.stdout
