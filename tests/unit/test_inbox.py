"""The inbox: what is whole is taken, what is half-written waits, and nothing is ever lost."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import pytest

from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import TrainerState
from neuralforge_server.learning.datasets import Datasets
from neuralforge_server.learning.inbox import CUT_OFF_SECONDS, SETTLED_SECONDS, Inbox, incomplete
from neuralforge_server.learning.repositories import MOST_TRIES, Attempts
from neuralforge_server.learning.trigger import Job

LINE = b'{"context": "a = ", "completion": "1", "language": "python"}\n'


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(home: Home, clock: Clock) -> Inbox:
    made = Inbox(home, clock)
    made.prepare()
    return made


def put(inbox: Inbox, name: str, content: bytes = LINE) -> Path:
    path = inbox.folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (LINE * 3, ""),
        (LINE * 3 + LINE.rstrip(), ""),
        (LINE * 3 + LINE[:30], "last line is cut off"),
        (LINE + b"\0" * 4096, "zero bytes"),
        (b"", "empty"),
        (gzip.compress(LINE * 500), ""),
        (gzip.compress(LINE * 500)[:-20], "compressed stream"),
        (gzip.compress(LINE * 500 + LINE[:9]), "last line is cut off"),
    ],
)
def test_a_file_that_was_not_written_to_its_end_is_told(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(content)
    found = incomplete(path)
    assert problem in found and bool(found) == bool(problem)


def test_a_file_is_taken_once_it_has_stopped_changing(inbox: Inbox, clock: Clock) -> None:
    path = put(inbox, "a.jsonl")
    assert inbox.next() is None
    clock.now += SETTLED_SECONDS / 2
    path.write_bytes(LINE * 2)
    assert inbox.next() is None
    clock.now += SETTLED_SECONDS / 2
    assert inbox.next() is None, "it changed a second ago"
    clock.now += SETTLED_SECONDS
    assert inbox.next() == path


def test_a_file_that_is_cut_off_waits_for_its_rest_and_is_then_rejected(
    inbox: Inbox, clock: Clock
) -> None:
    path = put(inbox, "a.jsonl", LINE + LINE[:20])
    assert inbox.next() is None and inbox.seconds_to_wait() == SETTLED_SECONDS
    clock.now += SETTLED_SECONDS
    assert inbox.next() is None and path.exists()
    assert inbox.seconds_to_wait() == CUT_OFF_SECONDS - SETTLED_SECONDS
    clock.now += CUT_OFF_SECONDS
    assert inbox.next() is None and not path.exists()
    moved = inbox.rejected / "a.jsonl"
    assert moved.read_bytes() == LINE + LINE[:20]
    assert "cut off" in moved.with_name("a.jsonl.reason.txt").read_text()


@pytest.mark.parametrize("name", [".a.jsonl.Xy12", "a.jsonl.part", "a.jsonl.tmp", "a.jsonl~"])
def test_what_a_program_still_downloads_is_left_alone(
    inbox: Inbox, clock: Clock, name: str
) -> None:
    put(inbox, name)
    inbox.next()
    clock.now += 1000
    assert inbox.next() is None and (inbox.folder / name).exists()
    (inbox.folder / name).rename(inbox.folder / "a.jsonl")
    inbox.next()
    clock.now += SETTLED_SECONDS
    assert inbox.next() == inbox.folder / "a.jsonl"


def test_no_name_is_overwritten(inbox: Inbox) -> None:
    for content in (b"1\n", b"2\n"):
        inbox.finish(put(inbox, "a.jsonl", content), "learnt")
    assert (inbox.done / "a.jsonl").read_bytes() == b"1\n"
    assert (inbox.done / "a-2.jsonl").read_bytes() == b"2\n"


def ended(path: Path, state: Any, **more: Any) -> TrainerState:
    return TrainerState(1, time.time(), path.name, state, message="as it was", **more)


@pytest.mark.parametrize(
    ("state", "more", "where"),
    [
        ("done", {"version": "personal@v0001"}, "done"),
        ("done", {}, "rejected"),
        ("done", {"error": "AlreadyLearntError"}, "done"),
        ("refused", {}, "rejected"),
        ("cancelled", {}, "rejected"),
        ("failed", {"error": "DatasetError"}, "rejected"),
        ("failed", {"error": "HomeError"}, ""),
        ("failed", {}, ""),
        ("interrupted", {}, ""),
        ("training", {}, ""),
    ],
)
def test_a_dataset_goes_where_its_training_says(
    home: Home, inbox: Inbox, state: Any, more: dict[str, str], where: str
) -> None:
    path, attempts = put(inbox, "a.jsonl"), Attempts(home)
    attempts.started(Job(dataset=path), 0)
    Datasets(inbox).settle(attempts, ended(path, state, **more))
    assert (inbox.folder / where / "a.jsonl").exists()
    if where:
        assert "as it was" in (inbox.folder / where / "a.jsonl.reason.txt").read_text()
        assert attempts.last() is None


def test_a_dataset_on_which_the_trainer_keeps_dying_is_rejected(home: Home, inbox: Inbox) -> None:
    path, attempts = put(inbox, "a.jsonl"), Attempts(home)
    for _ in range(MOST_TRIES):
        attempts.started(Job(dataset=path), 0)
        Datasets(inbox).settle(attempts, ended(path, "failed"))
    assert "died 3 times" in (inbox.rejected / "a.jsonl.reason.txt").read_text()


def test_the_end_of_another_training_settles_nothing(home: Home, inbox: Inbox) -> None:
    path, attempts = put(inbox, "a.jsonl"), Attempts(home)
    attempts.started(Job(dataset=path), 0)
    Datasets(inbox).settle(attempts, ended(Path("b.jsonl"), "done", version="personal@v0001"))
    assert path.exists() and attempts.unfinished(None) == Job(dataset=path)
