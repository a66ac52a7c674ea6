"""The replay buffer: even, bounded, forgetful on request, the same however it was filled."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from neuralforge_trainer.errors import ReplayError
from neuralforge_trainer.learn.replay import DEFAULT_CAPACITY, ReplayBuffer
from neuralforge_trainer.learn.replay_schema import SCHEMA
from neuralforge_trainer.learn.reservoir import Reservoir
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.settings import JobSettings


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


def test_every_sample_of_a_stratum_is_equally_likely_to_be_held() -> None:
    """Here of two strata, of which the larger comes in two halves with the smaller between."""
    counts = [0] * 40
    runs = 1000
    for seed in range(runs):
        reservoir, source = Reservoir[str](20), random.Random(seed)
        held = set()
        for number in (*range(20), *range(100, 110), *range(20, 40)):
            name = "small" if number >= 100 else "large"
            held.add(number)
            held -= set(reservoir.offer(name, source.random(), number))
        assert held >= set(range(100, 110))
        assert len(held) == 20
        for number in held - set(range(100, 110)):
            counts[number] += 1
    _assert_uniform(counts, runs * 10 / 40, share=10 / 40)


def test_after_a_purge_what_comes_later_is_as_likely_as_what_stayed() -> None:
    """Without thresholds the newcomers would fill all the gaps."""
    counts = [0] * 150
    runs, total = 500, 0
    for seed in range(runs):
        reservoir, source = Reservoir[str](80), random.Random(seed)
        for number in range(100):
            list(reservoir.offer("kept", source.random(), number))
            list(reservoir.offer("gone", source.random(), 1000 + number))
        del reservoir.strata["gone"]
        assert len(reservoir) == 40
        for number in range(100, 150):
            list(reservoir.offer("kept", source.random(), number))
        held = [number for _, number in reservoir.strata["kept"].held]
        total += len(held)
        for number in held:
            counts[number] += 1
    assert total / runs == pytest.approx(60, abs=1.5)  # forty of a hundred, and twenty of fifty
    _assert_uniform(counts, total / 150, share=total / runs / 150)


def test_after_a_purge_by_age_newcomers_are_as_likely_as_what_was_left() -> None:
    """A threshold that began anew would hold each newcomer, but two in five of what was left."""
    counts = [0] * 150
    runs, total = 500, 0
    for seed in range(runs):
        reservoir, source = Reservoir[str](80), random.Random(seed)
        for number in range(-100, 100):
            list(reservoir.offer("r", source.random(), number))
        stratum = reservoir.strata["r"]
        stratum.held = [(key, number) for key, number in stratum.held if number >= 0]
        for number in range(100, 150):
            list(reservoir.offer("r", source.random(), number))
        total += len(stratum.held)
        for _, number in stratum.held:
            counts[number] += 1
    assert total / runs == pytest.approx(60, abs=1.5)
    _assert_uniform(counts, total / 150, share=total / runs / 150)


def test_a_stratum_that_a_purge_by_age_has_thinned_out_goes_on_with_its_threshold(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r.db"
    with ReplayBuffer(path, 80) as buffer:
        buffer.add(_samples(100), now=1000.0)
        buffer.add(_samples(100, start=100), now=2000.0)
        before = _thresholds(path)
        assert 0 < buffer.purge(before=1500.0) < 80
        assert _thresholds(path) == before and 0 < before[0] < 1
        left = len(buffer)
        buffer.add(_samples(100, start=200), now=3000.0)
        assert left + 20 < len(buffer) <= 80, "it grows back as it would have grown"


def _thresholds(path: Path) -> list[float]:
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("select threshold from strata")]
    connection.close()
    return found


def test_a_purge_makes_room_that_later_samples_fill(tmp_path: Path) -> None:
    with ReplayBuffer(tmp_path / "r.db", 80) as buffer:
        buffer.add(_samples(100))
        buffer.add(_samples(100, "gone", 1000))
        assert buffer.purge("gone") == 40
        before = set(_held(buffer))
        buffer.add(_samples(100, start=100))
        assert before.isdisjoint(range(1000, 1100))
        assert 60 <= len(buffer) <= 80
        assert any(100 <= number < 200 for number in _held(buffer))


_offers = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["python", "c"]),
        st.integers(0, 3),
        st.integers(1, 12),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=40, deadline=None)
@given(capacity=st.integers(1, 30), offers=_offers, seed=st.integers(0, 9))
def test_strata_share_the_buffer_evenly_and_small_ones_are_whole(
    capacity: int, offers: list[tuple[str, str, int, int]], seed: int
) -> None:
    offered: dict[tuple[str, str, str], int] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        ReplayBuffer(Path(folder) / "r.db", capacity, seed) as buffer,
    ):
        for repository, language, month, count in offers:
            time = month * 31 * 86_400.0
            made = [replace(s, language=language, time=time) for s in _samples(count, repository)]
            buffer.add(made)
            place = (repository, language, f"1970-0{month + 1}")
            offered[place] = offered.get(place, 0) + count
        shares = buffer.shares()
        assert len(buffer) == min(capacity, sum(offered.values()))
    assert shares.keys() == offered.keys()
    cut = [held for place, held in shares.items() if held < offered[place]]
    assert all(held >= max(shares.values()) - 1 for held in cut)
    assert sum(shares.values()) == min(capacity, sum(offered.values()))


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_a_buffer_of_the_first_schema_is_carried_over(tmp_path: Path, filled: bool) -> None:
    path = tmp_path / "r.db"
    _first_schema(path, 60 if filled else 0, capacity=30)
    with ReplayBuffer(path, 30) as buffer, ReplayBuffer(tmp_path / "new.db", 30) as fresh:
        before = _held(buffer)
        assert before == (list(range(0, 60, 2)) if filled else [])
        assert buffer.seen == (60 if filled else 0)
        with sqlite3.connect(path) as connection:  # as if a half of all keys had been kept
            keys = connection.execute("select key, threshold from held join strata").fetchall()
        assert all(key < threshold == 0.5 for key, threshold in keys)
        buffer.add(_samples(40, start=60))
        held = _held(buffer)
        assert len(held) <= 30
        assert set(held) <= {*before, *range(60, 100)}
        if filled:  # of forty newcomers of the same month as many as of forty older ones
            assert 2 <= len(set(held) - set(before)) <= 25
        fresh.add(_samples(1))
    assert _schema(path) == _schema(tmp_path / "new.db")


def test_a_step_that_fails_leaves_the_buffer_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    _first_schema(path, 20, capacity=30)
    with sqlite3.connect(path) as connection:
        connection.execute("update samples set sample = 'no json' where slot = 7")
    before = _schema(path)
    with pytest.raises(ReplayError, match="Expecting value"):
        ReplayBuffer(path)
    assert _schema(path) == before
    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from samples").fetchone() == (10,)


def _first_schema(path: Path, offered: int, capacity: int) -> None:
    """A buffer as the first release wrote it, which took every second of `offered` samples."""
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.executescript(
            """
            CREATE TABLE "samples" ("slot" INTEGER PRIMARY KEY, "repository" TEXT, "added" FLOAT,
                                    "sample" TEXT);
            CREATE TABLE "repositories" ("name" TEXT PRIMARY KEY, "seen" INTEGER);
            CREATE TABLE "state" ("id" INTEGER PRIMARY KEY, "content" TEXT);
            """
        )
        if not offered:
            return
        state = {"random": random.Random(5).getstate(), "gaps": 0, "skips": 0}
        connection.execute("insert into state values (0, ?)", [json.dumps(state)])
        connection.execute("insert into repositories values ('r', ?)", [offered])
        connection.executemany(
            "insert into samples values (?, 'r', 0.0, ?)",
            [(slot, s.to_json()) for slot, s in enumerate(_samples(offered)[::2])],
        )
        assert connection.execute("select count(*) from samples").fetchone()[0] <= capacity


def _schema(path: Path) -> list[str]:
    query = "select sql from sqlite_master where sql is not null order by name"
    connection = sqlite3.connect(path)
    found = [row[0].replace('"', "") for row in connection.execute(query)]
    connection.close()
    return found


def test_what_was_said_of_a_sample_goes_with_it_and_with_its_base(tmp_path: Path) -> None:
    with ReplayBuffer(tmp_path / "r.db", 50) as buffer:
        buffer.add(_samples(5))
        buffer.add(_samples(5, "gone", 100))
        said = {held.identifier: held.sample.middle.encode() for held in buffer.draw_held(10)}
        buffer.teach("base", {**said, 99: b"of no sample"})
        assert buffer.teachings("base") == said
        buffer.purge("gone")
        left = {held.identifier for held in buffer.draw_held(10)}
        assert buffer.teachings("base") == {i: said[i] for i in left}
        assert len(left) == 5
        assert buffer.teachings("another") == {}
        buffer.teach("another", {})
        assert buffer.teachings("base") == {}


def test_a_smaller_capacity_is_kept_to_at_the_next_addition(tmp_path: Path) -> None:
    with ReplayBuffer(tmp_path / "r.db", 50) as buffer:
        buffer.add(_samples(50))
    with ReplayBuffer(tmp_path / "r.db", 8) as buffer:
        buffer.add([])
        assert len(buffer) == 8


def test_a_job_that_sets_no_capacity_leaves_the_buffer_as_large_as_it_was_set(
    tmp_path: Path,
) -> None:
    path, more = tmp_path / "r.db", DEFAULT_CAPACITY + 100
    with ReplayBuffer(path, more) as buffer:
        buffer.add(_samples(more))
    with ReplayBuffer(path, 8):
        pass  # whoever only reads sets nothing
    with ReplayBuffer(path, JobSettings().replay_capacity) as buffer:
        buffer.add(_samples(5, start=more))
        assert len(buffer) == buffer.capacity == more


@pytest.mark.parametrize("held", [0, DEFAULT_CAPACITY + 1])
def test_a_buffer_of_before_its_capacity_was_kept_loses_nothing(tmp_path: Path, held: int) -> None:
    path = tmp_path / "r.db"
    with sqlite3.connect(path, isolation_level=None) as connection:
        database = Database(connection, execute_plugins=False)
        SCHEMA.steps.apply(database, stop_before="m004_capacity")
        connection.execute("insert into strata values (1, 'r', 'python', '1970-01', ?, 1)", [held])
        connection.executemany(
            "insert into held values (?, 1, 0.5, 0.0, ?)",
            [(number + 1, s.to_json()) for number, s in enumerate(_samples(held))],
        )
    with ReplayBuffer(path) as buffer:
        buffer.add([])
        assert len(buffer) == held
        assert buffer.capacity == max(held, DEFAULT_CAPACITY)


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
