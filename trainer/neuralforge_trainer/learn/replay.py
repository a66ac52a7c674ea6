"""The replay buffer: a uniform sample of everything ever learnt, in one SQLite file.

Additions follow Vitter's algorithm R (1985), with the random state kept in the file, so that a
buffer filled over months is the same as one filled at once. After a purge, later additions make
up for the gaps by random pairing (Gemulla, Lehner and Haas 2006, «A dip in the reservoir»).

Invariant: at most `capacity` samples; each sample of the current population (added, not purged)
is equally likely to be held. Only the served window of a sample is kept, never the whole file.
Knows no model and no tokens.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlite_utils

from neuralforge_adapters.fim import Window
from neuralforge_adapters.home import private_dir
from neuralforge_trainer.errors import ReplayError
from neuralforge_trainer.samples.sample import Sample

DEFAULT_CAPACITY = 1000
"""Samples; about 3 MB with the served window's 2,200 characters each."""

_WINDOW = Window()
_BUSY_SECONDS = 10.0


class ReplayBuffer:
    """The reservoir in the file `path`. A context manager; each method is one transaction.

    Raises:
        ReplayError: the file is locked, damaged, or the disk refuses; nothing was changed. Every
            method may.
    """

    def __init__(self, path: Path, capacity: int = DEFAULT_CAPACITY, seed: int = 0) -> None:
        self._path = path
        self._capacity = capacity
        self._seed = seed
        private_dir(path.parent)
        with self._explained():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._database = sqlite_utils.Database(self._connection)
            self._create()

    def __enter__(self) -> ReplayBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __len__(self) -> int:
        with self._explained():
            return int(self._database["samples"].count)

    @property
    def seen(self) -> int:
        """How many samples the current population has."""
        with self._explained():
            return sum(row["seen"] for row in self._database["repositories"].rows)

    def add(self, samples: Sequence[Sample], now: float | None = None) -> None:
        """Offer samples to the reservoir, in order; `now` in Unix seconds."""
        added = time.time() if now is None else now
        with self._transaction() as state:
            source = _random(state["random"])
            total = sum(row["seen"] for row in self._database["repositories"].rows)
            held = self._database["samples"].count
            for sample in samples:
                self._count(sample.repository)
                total += 1
                slot = _slot(state, source, total, held, self._capacity)
                if slot is not None:
                    self._put(slot, sample, added)
                    held = max(held, slot + 1)
            state["random"] = source.getstate()

    def draw(self, count: int) -> list[Sample]:
        """`count` samples without replacement, all of them where there are fewer.

        The same ones until something is added: a run that was killed draws them again.
        """
        with self._transaction() as state:
            texts = {row["slot"]: row["sample"] for row in self._database["samples"].rows}
            slots = _random(state["random"]).sample(sorted(texts), min(count, len(texts)))
        return [Sample.from_json(texts[slot]) for slot in slots]

    def purge(self, repository: str | None = None, before: float | None = None) -> int:
        """Forget what came from `repository`, or was added before that time (Unix seconds), or all.

        Returns how many samples went. Both given: what matches both.
        """
        keep = [
            row
            for row in self._all()
            if (repository is not None and row["repository"] != repository)
            or (before is not None and row["added"] >= before)
        ]
        with self._transaction() as state:
            held = self._database["samples"].count
            self._forget_counts(state, repository, before, held - len(keep))
            self._database["samples"].delete_where()
            self._database["samples"].insert_all(
                {**row, "slot": slot} for slot, row in enumerate(keep)
            )
        with self._explained():
            self._connection.execute("VACUUM")  # what was purged must not linger in free pages
        return int(held - len(keep))

    def expire(self, days: float) -> int:
        """Forget what was added more than so many days ago; returns how many samples went."""
        return self.purge(before=time.time() - days * 86_400)

    def _forget_counts(
        self, state: dict[str, Any], repository: str | None, before: float | None, gone: int
    ) -> None:
        """Take the purged part out of the population, and note the gaps that it leaves."""
        counts = {row["name"]: row["seen"] for row in self._database["repositories"].rows}
        if before is not None:
            # times of adding are known of held samples only: the population shrinks in proportion
            held = max(1, self._database["samples"].count)
            lost = round(sum(counts.values()) * gone / held)
            self._scale_counts(counts, lost)
        else:
            lost = sum(n for name, n in counts.items() if repository in (None, name))
            self._database["repositories"].delete_where(
                "name = ? or ? is null", [repository, repository]
            )
        state["gaps"] += gone
        state["skips"] += max(0, lost - gone)
        if not self.seen:
            state["gaps"] = state["skips"] = 0

    def _scale_counts(self, counts: dict[str, int], lost: int) -> None:
        total = max(1, sum(counts.values()))
        left = {name: n - round(lost * n / total) for name, n in counts.items()}
        self._database["repositories"].insert_all(
            ({"name": name, "seen": max(0, n)} for name, n in left.items()), replace=True
        )

    def _put(self, slot: int, sample: Sample, added: float) -> None:
        prefix, suffix = _WINDOW.cut_text(sample.prefix, sample.suffix)
        shown = replace(sample, prefix=prefix, suffix=suffix)
        self._database["samples"].insert(
            {
                "slot": slot,
                "repository": sample.repository,
                "added": added,
                "sample": shown.to_json(),
            },
            replace=True,
        )

    def _count(self, repository: str) -> None:
        self._connection.execute(
            "insert into repositories (name, seen) values (?, 1) "
            "on conflict (name) do update set seen = seen + 1",
            [repository],
        )

    def _all(self) -> list[dict[str, Any]]:
        with self._explained():
            return list(self._database["samples"].rows_where(order_by="slot"))

    def _create(self) -> None:
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma secure_delete = on")
        table = self._database.table
        table("samples").create(
            {"slot": int, "repository": str, "added": float, "sample": str},
            pk="slot",
            if_not_exists=True,
        )
        table("repositories").create({"name": str, "seen": int}, pk="name", if_not_exists=True)
        table("state").create({"id": int, "content": str}, pk="id", if_not_exists=True)

    @contextmanager
    def _transaction(self) -> Iterator[dict[str, Any]]:
        """The stored state, written back with everything else or not at all."""
        with self._explained(), self._connection:
            self._connection.execute("begin immediate")
            rows = list(self._database["state"].rows)
            fresh = {"random": random.Random(self._seed).getstate(), "gaps": 0, "skips": 0}
            state = json.loads(rows[0]["content"]) if rows else fresh
            yield state
            self._database["state"].insert({"id": 0, "content": json.dumps(state)}, replace=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ReplayError(
                f"the replay buffer {self._path} cannot be used: {error}; free some room and make "
                "it writable, or remove the file to begin an empty buffer"
            ) from error


def _slot(
    state: dict[str, Any], source: random.Random, total: int, held: int, capacity: int
) -> int | None:
    """Where a new sample goes, `total` counting it; None where it is not taken."""
    if gaps := state["gaps"] + state["skips"]:
        taken = source.randrange(gaps) < state["gaps"]
        state["gaps" if taken else "skips"] -= 1
        return held if taken else None
    if held < capacity:
        return held
    drawn = source.randrange(total)
    return drawn if drawn < capacity else None


def _random(state: Sequence[Any]) -> random.Random:
    source = random.Random()
    version, internal, gauss = state
    source.setstate((version, tuple(internal), gauss))
    return source
