"""The replay buffer: a stratified sample of everything ever learnt, in one SQLite file.

Strata are repository, language and month of writing; `reservoir` says what is kept of each. The
random state is kept in the file, so that a buffer filled over months is the same as one filled
at once; so is the capacity, so that only who sets one can make the buffer smaller. Beside a sample
may stand what the adapter said of it (`distill`), for one base.

Invariant: at most `capacity` samples; each sample of a stratum is equally likely to be held. Only
the served window of a sample is kept, never the whole file. Knows no model and no tokens.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import sqlite_utils

from neuralforge_adapters.fim import Window
from neuralforge_adapters.home import private_dir
from neuralforge_trainer.errors import ReplayError
from neuralforge_trainer.learn.replay_schema import SCHEMA, month_of
from neuralforge_trainer.learn.reservoir import Reservoir, Stratum
from neuralforge_trainer.samples.sample import Sample

DEFAULT_CAPACITY = 1000
"""Samples of a buffer that was set to none; about 3 MB with the served window's 2,200 characters
each."""

_WINDOW = Window()
_BUSY_SECONDS = 10.0

_MATCHED = "(:repository is null or repository = :repository)"
_PURGE = f"""
    delete from held where (:before is null or added < :before)
    and stratum in (select id from strata where {_MATCHED})
"""  # noqa: S608 - put together from this module's constants
_PURGE_STRATA = f"""
    delete from strata where id not in (select stratum from held)
    and (id in (select value from json_each(:emptied)) or (:before is null and {_MATCHED}))
"""  # noqa: S608

Place = tuple[str, str, str]
"""A stratum: repository, language, month."""


@dataclass(frozen=True)
class Held:
    """A sample in the buffer; its identifier is never given to another one."""

    identifier: int
    sample: Sample


class ReplayBuffer:
    """The reservoir in the file `path`. A context manager; each method is one transaction.

    Raises:
        ReplayError: the file is locked, damaged, or the disk refuses; nothing was changed. Every
            method may.
    """

    def __init__(self, path: Path, capacity: int = 0, seed: int = 0) -> None:
        """`capacity` is set by the next addition; 0 leaves it as it is."""
        self._path = path
        self._capacity = capacity
        self._seed = seed
        private_dir(path.parent)
        with self._explained():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._database = sqlite_utils.Database(self._connection, execute_plugins=False)
            for pragma in ("journal_mode = wal", "secure_delete = on", "foreign_keys = on"):
                self._connection.execute(f"pragma {pragma}")
            SCHEMA.upgrade(self._database)

    def __enter__(self) -> ReplayBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __len__(self) -> int:
        with self._explained():
            return int(self._database["held"].count)

    @property
    def capacity(self) -> int:
        """How many samples are held at most."""
        if self._capacity:
            return self._capacity
        with self._explained():
            (kept,) = self._connection.execute("select capacity from size").fetchone()
        return int(kept)

    @property
    def seen(self) -> int:
        """How many samples the present strata were offered, without those purged."""
        with self._explained():
            return sum(row["seen"] for row in self._database["strata"].rows)

    def shares(self) -> dict[Place, int]:
        """How many samples are held of each stratum."""
        with self._explained():
            rows = self._connection.execute(
                "select repository, language, month, count(held.id) from strata "
                "left join held on held.stratum = strata.id group by strata.id"
            )
            return {(row[0], row[1], row[2]): row[3] for row in rows}

    def add(self, samples: Sequence[Sample], now: float | None = None) -> None:
        """Offer samples to the reservoir, in order; `now` in Unix seconds."""
        added = time.time() if now is None else now
        with self._transaction() as state:
            source = _random(state["random"])
            self._connection.execute("update size set capacity = ?", [self.capacity])
            reservoir = self._load()
            taken: dict[int, Sample] = {}
            gone = set(reservoir.shrink())
            for sample in samples:
                identifier, state["next"] = state["next"], state["next"] + 1
                taken[identifier] = sample
                gone.update(reservoir.offer(_place(sample), source.random(), identifier))
            state["random"] = source.getstate()
            self._store(reservoir, {i: s for i, s in taken.items() if i not in gone}, added)
            self._drop(gone - taken.keys())

    def draw(self, count: int) -> list[Sample]:
        """`count` samples without replacement, all of them where there are fewer.

        The same ones until something is added: a run that was killed draws them again.
        """
        return [held.sample for held in self.draw_held(count)]

    def draw_held(
        self, count: int, admits: Callable[[Sample], bool] = lambda sample: True
    ) -> list[Held]:
        """As `draw`, with identifiers; others in place of those that are not admitted."""
        with self._transaction() as state:
            texts = {row["id"]: row["sample"] for row in self._database["held"].rows}
            order = _random(state["random"]).sample(sorted(texts), len(texts))
        held = (Held(identifier, Sample.from_json(texts[identifier])) for identifier in order)
        return list(islice((one for one in held if admits(one.sample)), count))

    def purge(self, repository: str | None = None, before: float | None = None) -> int:
        """Forget what came from `repository`, or was added before that time (Unix seconds), or all.

        Returns how many samples went. Both given: what matches both. Times are known of held
        samples only, so a stratum that loses some of them is taken to have been offered fewer in
        proportion; one that loses all is forgotten with its threshold. One that keeps some keeps
        its threshold: a new one would hold every newcomer, but of what was left only a part.
        """
        matched = {"repository": repository, "before": before}
        with self._transaction():
            old = self._counts()
            self._connection.execute(_PURGE, matched)
            left = self._counts()
            for stratum, count in old.items():
                self._connection.execute(
                    "update strata set seen = round(seen * ? / ?) where id = ?",
                    [float(left.get(stratum, 0)), count, stratum],
                )
            emptied = json.dumps(sorted(old.keys() - left.keys()))
            self._connection.execute(_PURGE_STRATA, {**matched, "emptied": emptied})
        with self._explained():
            self._connection.execute("VACUUM")  # what was purged must not linger in free pages
        return sum(old.values()) - sum(left.values())

    def expire(self, days: float) -> int:
        """Forget what was added more than so many days ago; returns how many samples went."""
        return self.purge(before=time.time() - days * 86_400)

    def teach(self, base: str, teachings: Mapping[int, bytes]) -> None:
        """Keep what the adapter for `base` (a digest) said of held samples; other bases' goes."""
        with self._transaction():
            self._connection.execute("delete from teachings where base <> ?", [base])
            self._connection.executemany(
                "insert or replace into teachings select ?, ?, ? "
                "where exists (select 1 from held where id = ?)",
                [(number, base, content, number) for number, content in teachings.items()],
            )

    def teachings(self, base: str) -> dict[int, bytes]:
        """What `teach` kept for `base`, by identifier."""
        with self._explained():
            rows = self._connection.execute(
                "select held, content from teachings where base = ?", [base]
            )
            return dict(rows.fetchall())

    def _load(self) -> Reservoir[Place]:
        names, strata = {}, {}
        for row in self._database["strata"].rows:
            names[row["id"]] = (row["repository"], row["language"], row["month"])
            strata[names[row["id"]]] = Stratum(row["seen"], row["threshold"])
        for stratum, key, identifier in self._connection.execute(
            "select stratum, key, id from held order by key, id"
        ):
            strata[names[stratum]].held.append((key, identifier))
        return Reservoir(self.capacity, strata)

    def _store(
        self, reservoir: Reservoir[Place], taken: Mapping[int, Sample], added: float
    ) -> None:
        for place, stratum in reservoir.strata.items():
            (number,) = self._connection.execute(
                "insert into strata (repository, language, month, seen, threshold) "
                "values (?, ?, ?, ?, ?) on conflict do update "
                "set seen = excluded.seen, threshold = excluded.threshold returning id",
                [*place, stratum.seen, stratum.threshold],
            ).fetchone()
            self._connection.executemany(
                "insert into held values (?, ?, ?, ?, ?)",
                [
                    (identifier, number, key, added, _shown(taken[identifier]))
                    for key, identifier in stratum.held
                    if identifier in taken
                ],
            )

    def _drop(self, identifiers: Iterable[int]) -> None:
        self._connection.executemany("delete from held where id = ?", [(i,) for i in identifiers])

    def _counts(self) -> dict[int, int]:
        """Held samples of each stratum that has any."""
        query = "select stratum, count(*) from held group by stratum"
        return dict(self._connection.execute(query).fetchall())

    @contextmanager
    def _transaction(self) -> Iterator[dict[str, Any]]:
        """The stored state, written back with everything else or not at all."""
        with self._explained(), self._connection:
            self._connection.execute("begin immediate")
            rows = list(self._database["state"].rows)
            fresh = {"random": random.Random(self._seed).getstate(), "next": 1}
            state = json.loads(rows[0]["content"]) if rows else fresh
            yield state
            self._database["state"].insert({"id": 0, "content": json.dumps(state)}, replace=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:  # the last: no JSON where it must be
            raise ReplayError(
                f"the replay buffer {self._path} cannot be used: {error}; free some room and make "
                "it writable, or remove the file to begin an empty buffer"
            ) from error


def _place(sample: Sample) -> Place:
    return sample.repository, sample.language, month_of(sample.time)


def _shown(sample: Sample) -> str:
    prefix, suffix = _WINDOW.cut_text(sample.prefix, sample.suffix)
    return replace(sample, prefix=prefix, suffix=suffix).to_json()


def _random(state: Sequence[Any]) -> random.Random:
    source = random.Random()
    version, internal, gauss = state
    source.setstate((version, tuple(internal), gauss))
    return source
