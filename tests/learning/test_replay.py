"""The replay buffer: uniform, bounded, forgetful on request, the same however it was filled."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralforge_trainer.errors import ReplayError
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.samples.sample import Sample


def _samples(count: int, repository: str = "r", start: int = 0) -> list[Sample]:
    return [
        Sample("p = ", str(start + i), "\n", "python", "a.py", repository, float(start + i), "git")
        for i in range(count)
    ]


def _held(buffer: ReplayBuffer) -> list[int]:
    return sorted(int(sample.middle) for sample in buffer.draw(10**6))


def test_a_buffer_with_room_holds_everything(tmp_path: Path) -> None:
    with ReplayBuffer(tmp_path / "r.db", 10) as buffer:
        buffer.add(_samples(7))
        assert _held(buffer) == list(range(7))
        assert (len(buffer), buffer.seen) == (7, 7)


@settings(max_examples=25, deadline=None)
@given(
    capacity=st.integers(1, 12),
    parts=st.lists(st.integers(0, 15), max_size=5),
    seed=st.integers(0, 9),
)
def test_filled_at_once_or_in_parts_over_months_it_is_the_same(
    capacity: int, parts: list[int], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, pieces = Path(folder) / "whole.db", Path(folder) / "pieces.db"
        with ReplayBuffer(whole, capacity, seed) as buffer:
            buffer.add(_samples(sum(parts)))
            at_once = _held(buffer)
        start = 0
        for part in parts:
            with ReplayBuffer(pieces, capacity, seed) as buffer:
                buffer.add(_samples(part, start=start))
            start += part
        with ReplayBuffer(pieces, capacity, seed) as buffer:
            assert _held(buffer) == at_once
            assert len(buffer) == min(capacity, sum(parts))
            assert buffer.seen == sum(parts)


def test_every_sample_is_equally_likely_to_be_held(tmp_path: Path) -> None:
    counts = [0] * 40
    runs, capacity = 150, 10
    for seed in range(runs):
        with ReplayBuffer(tmp_path / f"{seed}.db", capacity, seed) as buffer:
            buffer.add(_samples(40))
            for number in _held(buffer):
                counts[number] += 1
    _assert_uniform(counts, runs * capacity / 40, share=capacity / 40)


def test_after_a_purge_what_comes_later_is_as_likely_as_what_stayed(tmp_path: Path) -> None:
    """Random pairing: without it the newcomers would fill all the gaps."""
    counts = [0] * 40
    runs, total = 150, 0
    for seed in range(runs):
        with ReplayBuffer(tmp_path / f"{seed}.db", 10, seed) as buffer:
            buffer.add(_samples(20))
            buffer.add(_samples(20, "gone", 100))
            buffer.purge("gone")
            buffer.add(_samples(20, start=20))
            held = _held(buffer)
        assert max(held) < 40
        total += len(held)
        for number in held:
            counts[number] += 1
    assert total == runs * 10  # twenty went, twenty came: all gaps are paired
    _assert_uniform(counts, total / 40, share=0.25)


@settings(max_examples=25, deadline=None)
@given(
    capacity=st.integers(1, 15),
    steps=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 12), st.booleans()), max_size=8
    ),
)
def test_a_purged_repository_is_gone_and_the_bound_always_holds(
    capacity: int, steps: list[tuple[str, int, bool]]
) -> None:
    population: dict[str, int] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        ReplayBuffer(Path(folder) / "r.db", capacity) as buffer,
    ):
        for repository, count, purge in steps:
            if purge:
                buffer.purge(repository)
                population.pop(repository, None)
                assert repository not in {s.repository for s in buffer.draw(10**6)}
            else:
                buffer.add(_samples(count, repository))
                population[repository] = population.get(repository, 0) + count
            assert len(buffer) <= capacity
            assert buffer.seen == sum(population.values())


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    with ReplayBuffer(tmp_path / "r.db", 100) as buffer:
        buffer.add(_samples(15), now=1000.0)
        buffer.add(_samples(5, start=15), now=2000.0)
        assert buffer.purge(before=1500.0) == 15
        assert _held(buffer) == [15, 16, 17, 18, 19]
        assert buffer.seen == 5


def test_old_commits_learnt_today_are_not_old(tmp_path: Path) -> None:
    with ReplayBuffer(tmp_path / "r.db", 100) as buffer:
        buffer.add(_samples(20))
        assert buffer.expire(days=1.0) == 0
        assert len(buffer) == 20


def test_a_purge_of_everything_starts_anew(tmp_path: Path) -> None:
    with ReplayBuffer(tmp_path / "r.db", 5) as buffer:
        buffer.add(_samples(50))
        assert buffer.purge() == 5
        assert (len(buffer), buffer.seen) == (0, 0)
        buffer.add(_samples(5))
        assert len(buffer) == 5


def test_purged_text_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    marker = "unmistakable_identifier"
    with ReplayBuffer(path, 100) as buffer:
        buffer.add([Sample("x = ", marker, "", "python", "a.py", "mine", 0.0, "git")])
        buffer.purge("mine")
    assert all(marker.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_a_draw_is_the_same_until_something_is_added(tmp_path: Path) -> None:
    with ReplayBuffer(tmp_path / "r.db", 50) as buffer:
        buffer.add(_samples(50))
        first = buffer.draw(10)
        assert buffer.draw(10) == first
        assert len({s.middle for s in first}) == 10
        buffer.add(_samples(50, start=50))
        assert buffer.draw(10) != first


def test_only_the_served_window_of_a_file_is_kept(tmp_path: Path) -> None:
    before, after = "x = 1\n" * 10_000, "\ny = 2" * 10_000
    with ReplayBuffer(tmp_path / "r.db", 5) as buffer:
        buffer.add([Sample(before, "z = 3", after, "python", "a.py", "r", 0.0, "git")])
        (kept,) = buffer.draw(1)
    assert len(kept.prefix) <= 1800
    assert len(kept.suffix) <= 400
    assert kept.middle == "z = 3"


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("Windows has no mode bits; the user's folder is private by its ACL")
    with ReplayBuffer(tmp_path / "r.db", 5) as buffer:
        buffer.add(_samples(3))
        assert all(p.stat().st_mode & 0o077 == 0 for p in tmp_path.glob("r.db*"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(ReplayError, match="replay buffer"):
        ReplayBuffer(path)


def test_a_failed_addition_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with ReplayBuffer(path, 5) as buffer:
        buffer.add(_samples(5))
        before = buffer.draw(5)
        broken = [*_samples(9, start=50), None]
        with pytest.raises(AttributeError):
            buffer.add(broken)  # type: ignore[arg-type]
        assert buffer.draw(5) == before
        assert buffer.seen == 5


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    ReplayBuffer(path, 1000).__exit__()

    def write(start: int) -> None:
        with ReplayBuffer(path, 1000) as buffer:
            for i in range(20):
                buffer.add(_samples(5, start=start + 5 * i))

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ReplayBuffer(path, 1000) as buffer:
        assert _held(buffer) == list(range(200))
    connection = sqlite3.connect(path)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()


def _assert_uniform(counts: list[int], expected: float, share: float) -> None:
    """Chi-square, normalised for draws without replacement; its bound is five sigma."""
    freedom = len(counts) - 1
    statistic = sum((n - expected) ** 2 for n in counts) / (expected * (1 - share))
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5
