"""The fitness table: every arm asked the same, no index ahead of its time, figures as defined."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_maker import GitMaker, isolate
from neuralforge_adapters.base import open_base
from neuralforge_adapters.home import Home
from neuralforge_trainer.evaluate.fitness import (
    ARMS,
    BOTH,
    COPIER,
    MEMORY,
    PLAIN,
    Answer,
    Measured,
    markdown,
    measure,
    rows,
)
from neuralforge_trainer.evaluate.moments import moments
from neuralforge_trainer.samples.repository import open_repository

CALL = "ledger.post_entry(account_{0}, amount_in_cents, currency_code, posted_by)\n"
BODY = "".join(f"\n\ndef book_{i}(account_{i}):\n    {CALL.format(i)}" for i in range(8))


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitMaker:
    isolate(monkeypatch, tmp_path)
    maker = GitMaker(tmp_path / "repo")
    maker.commit({"books.py": BODY})
    maker.commit({"till.py": f"def till(account_99):\n    {CALL.format(99)}"})
    maker.commit({"shop.py": f"def shop(account_77):\n    {CALL.format(77)}"})
    return maker


def test_all_arms_answer_the_same_items_and_memory_knows_the_files_on_disk(
    maker: GitMaker, tmp_path: Path
) -> None:
    base = open_base(None, Home(tmp_path / "home"))
    steps = moments(open_repository(maker.root), commits=10, items=10, seed=3)
    measured = Measured()
    measure(base, "repo", steps, measured, lambda _: None)

    asked = sum(len(moment.items) for moment in steps)
    assert asked >= 3 and len(measured.shown) == asked
    assert [a.arm for a in measured.answers] == list(ARMS) * asked
    table = {row.arm: row for row in rows(measured.answers)}
    assert table[MEMORY].es > table[PLAIN].es and table[BOTH].es > table[PLAIN].es

    again = Measured()
    measure(base, "repo", steps, again, lambda _: None)
    assert [(a.exact, a.similarity) for a in again.answers] == [
        (a.exact, a.similarity) for a in measured.answers
    ]


def answer(arm: str, exact: bool, repository: str = "r", commit: str = "c") -> Answer:
    return Answer(repository, commit, arm, exact, float(exact), 1.0)


def test_figures_are_paired_with_the_bare_base_and_divided_by_the_copier() -> None:
    hits = {COPIER: (1, 0, 0, 0), PLAIN: (1, 0, 0, 0), MEMORY: (1, 1, 1, 0)}
    given = [
        answer(arm, bool(hits.get(arm, (0, 0, 0, 0))[item]), commit=str(item))
        for item in range(4)
        for arm in ARMS
    ]
    table = {row.arm: row for row in rows(given)}
    assert table[MEMORY].em == 0.75 and table[MEMORY].em_gain.mean == 0.5
    assert table[MEMORY].over_copier == 3.0
    assert table[PLAIN].em_gain == (0.0, 0.0, 0.0)


def test_a_table_of_several_repositories_ends_with_all_of_them() -> None:
    given = [answer(arm, arm == MEMORY, name) for name in ("one", "two") for arm in ARMS]
    table = rows(given)
    assert [row.repository for row in table] == ["one"] * 5 + ["two"] * 5 + ["all"] * 5
    last = markdown(table).splitlines()[-1]
    assert last.startswith("| all | 2 | 0.0 / 0.0 | 0.0 / 0.0 | 0.0 / 0.0 | 100.0 / 100.0 |")
    assert "+100.0 (+100.0 … +100.0)" in last
