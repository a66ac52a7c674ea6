"""The held-out split, the copier and the metrics, against slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_trainer.evaluate.copier import Copier
from neuralforge_trainer.evaluate.heldout import heldout_items, split
from neuralforge_trainer.evaluate.metrics import (
    bits_per_byte,
    edit_similarity,
    exact_match,
    paired_bootstrap,
    perplexity,
)
from neuralforge_trainer.samples.git import CommitChange, FileChange
from neuralforge_trainer.samples.lines import visible


def change(number: int, text: str, *added: tuple[int, int]) -> CommitChange:
    ranges = added or ((0, text.count("\n")),)
    return CommitChange(f"c{number}", float(number), (FileChange("a.py", "python", text, ranges),))


# the split


def test_the_newest_commits_are_held_out() -> None:
    changes = [change(number, "value\n") for number in (3, 1, 2, 5, 4)]
    train, heldout = split(changes, share=0.4)
    assert [c.commit for c in train] == ["c1", "c2", "c3"]
    assert [c.commit for c in heldout] == ["c4", "c5"]
    assert [c.commit for c in split(changes, count=1)[1]] == ["c5"]
    assert len(split(changes, count=9)[0]) == 1
    assert split([], share=0.5) == ([], [])


def test_an_item_asks_only_for_lines_that_training_never_saw() -> None:
    train = [change(1, "old = 1\n    shared = 2\n", (0, 0))]
    heldout = [
        change(2, "new = 3\nshared = 2\nunmarked = 4\nnew = 3\n)\n", (0, 1), (3, 4)),
        change(3, "new = 3\nnewer = 5\n"),
    ]
    items = heldout_items(heldout, train)
    assert [item.prefix.rpartition("\n")[2] + item.expected for item in items] == [
        "new = 3",
        "newer = 5",
    ]
    for item, source in zip(items, heldout, strict=True):
        assert item.prefix + item.expected + item.suffix == source.files[0].text
        assert (item.commit, item.time) == (source.commit, source.time)
        assert visible(item.expected) >= 3


def test_items_are_drawn_by_seed_and_some_ask_for_a_whole_line() -> None:
    text = "".join(f"    value_{number} = compute()\n" for number in range(200))
    items = heldout_items([change(2, text)], [], limit=50, seed=1)
    assert len(items) == 50
    assert items == heldout_items([change(2, text)], [], limit=50, seed=1)
    assert items != heldout_items([change(2, text)], [], limit=50, seed=2)
    left = [item.prefix.rpartition("\n")[2] for item in items]
    assert 3 <= left.count("    ") <= 25
    assert len(set(map(len, left))) > 10
    assert [len(item.prefix) for item in items] == sorted(len(item.prefix) for item in items)


# the copier


@pytest.mark.parametrize(
    ("texts", "prefix", "expected"),
    [
        (["x = foo(1)\n", "y = foo(2)\n"], "z = foo(", "2)"),  # the more recent of equals
        (["zz = foo(1)\n", "y = foo(2)\n"], "zz = foo(", "1)"),  # the longer before the recent
        (["z = foo(1)\n"], "z = foo(3)\nz = foo(", "3)"),  # the file's own line before others
        (["z = foo(1)\n"], "foo(\nz = foo(", "1)"),  # never a blank rest
        (["a()\nb()\nc()\n", "x()\nb()\nd()\n"], "a()\nb()\n", "c()"),  # the lines above count
        (["a = foo(1)  \r\nb\r\n"], "c = foo(", "1)"),
        ([], "z = foo(", ""),
        (["abc\n"], "§", ""),
    ],
)
def test_the_copier_pastes_the_rest_of_the_longest_match(
    texts: list[str], prefix: str, expected: str
) -> None:
    assert Copier(texts).complete(prefix) == expected


words = st.text(st.sampled_from("ab\n"), max_size=30)


@given(words, words)
def test_the_copier_agrees_with_a_search_of_every_place(text: str, prefix: str) -> None:
    got = Copier([text]).complete(prefix)
    above = prefix.rpartition("\n")[0]
    found = [
        (_common_end("\n" + body[:place], prefix), own, place, body[place:].split("\n")[0])
        for own, body in ((False, text), (True, above))
        for place in range(len(body))
        if body[place] != "\n"
    ]
    longest = max(found, default=(0, False, 0, ""))
    assert got == (longest[3] if longest[0] else "")


def _common_end(one: str, other: str) -> int:
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return length


def test_the_copier_knows_the_latest_states_and_what_was_deleted() -> None:
    train = [change(1, "gone(1)\nkept(1)\n"), change(2, "kept(2)\n")]
    copier = Copier.of_changes(train)
    assert copier.complete("gone(") == "1)"
    assert copier.complete("kept(") == "2)"


# the metrics


def test_exact_match_ignores_white_space_at_the_end_only() -> None:
    assert exact_match("foo()", "foo() \n")
    assert not exact_match("foo()", " foo()")


@given(st.text(max_size=8), st.text(max_size=8))
def test_edit_similarity_is_one_minus_distance_over_length(one: str, other: str) -> None:
    longest = max(len(one), len(other))
    expected = 1 - _levenshtein(one, other) / longest if longest else 1.0
    assert edit_similarity(one, other) == pytest.approx(expected)


def _levenshtein(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for up, left in enumerate(one, 1):
        above, row = row, [up]
        for number, right in enumerate(other):
            row.append(min(above[number] + (left != right), above[number + 1] + 1, row[-1] + 1))
    return row[-1]


def test_perplexity_and_bits_per_byte_of_a_uniform_guess() -> None:
    assert perplexity(10 * math.log(8), 10) == pytest.approx(8)
    assert bits_per_byte(10 * math.log(8), 15) == pytest.approx(2)
    assert perplexity(1e6, 1) == math.inf
    for undefined in (perplexity, bits_per_byte):
        with pytest.raises(ValueError, match="not defined"):
            undefined(1.0, 0)


def test_the_bootstrap_agrees_with_a_loop_over_the_same_draws() -> None:
    source = np.random.default_rng(3)
    clusters = [f"c{number}" for number in source.integers(0, 12, 80)]
    a, b = source.random(80).tolist(), (source.random(80) - 0.1).tolist()
    found = paired_bootstrap(a, b, clusters, resamples=1_500, seed=5)

    groups: dict[str, list[float]] = {}
    for left, right, cluster in zip(a, b, clusters, strict=True):
        groups.setdefault(cluster, []).append(left - right)
    names = list(groups)
    draws = np.random.default_rng(5)
    means = []
    for _ in range(1_500):
        numbers = draws.integers(0, len(names), len(names))
        drawn = [value for number in numbers for value in groups[names[number]]]
        means.append(sum(drawn) / len(drawn))
    assert found.mean == pytest.approx(sum(a) / 80 - sum(b) / 80)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))))


def test_items_of_one_commit_count_as_one_piece_of_evidence() -> None:
    a = [1.0] * 50 + [0.0] * 50
    b = [0.0] * 100
    apart = paired_bootstrap(a, b, range(100))
    together = paired_bootstrap(a, b, ["c1"] * 50 + ["c2"] * 50)
    assert apart.high - apart.low < 0.3
    assert (together.low, together.high) == (0.0, 1.0)


def test_the_bootstrap_refuses_what_is_not_paired() -> None:
    with pytest.raises(ValueError, match="pairs"):
        paired_bootstrap([1.0], [1.0, 2.0], ["c1"])
    with pytest.raises(ValueError, match="pairs"):
        paired_bootstrap([], [], [])
