"""The walk over a history: whose commits, which of them, and which lines they added."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_maker import ADA, BO, GitMaker, isolate
from neuralforge_trainer.errors import NoSuchAuthorError
from neuralforge_trainer.samples.git import (
    CommitChange,
    added_ranges,
    authors,
    choose_author,
    user_commits,
)
from neuralforge_trainer.samples.lines import split_lines
from neuralforge_trainer.samples.repository import Identity, open_repository


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GitMaker:
    isolate(monkeypatch, tmp_path)
    return GitMaker(tmp_path / "repo")


def walk(
    maker: GitMaker,
    since: float | None = None,
    newest: int | None = None,
    until: float = math.inf,
) -> list[CommitChange]:
    repository = open_repository(maker.root)
    author = choose_author(repository, ADA.name).author
    return list(user_commits(repository, author, since, newest, until))


def ids(changes: list[CommitChange]) -> list[str]:
    return [change.commit for change in changes]


# whose


def test_one_person_with_two_addresses_and_a_mailmap_counts_once(maker: GitMaker) -> None:
    maker.commit({"a.py": "value = 1\n"})
    maker.commit({"a.py": "value = 2\n"}, author=Identity(ADA.name, "ada@home.example"))
    maker.commit({"a.py": "value = 3\n"}, author=Identity("ah", "ah@old.example"))
    maker.commit({"a.py": "value = 4\n"}, author=BO)
    maker.commit({".mailmap": f"{ADA.name} <{ADA.email}> ah <ah@old.example>\n"}, author=BO)
    ada, bo = authors(open_repository(maker.root))
    assert (ada.name, ada.emails, ada.commits) == (ADA.name, (ADA.email, "ada@home.example"), 3)
    assert (bo.name, bo.commits) == (BO.name, 2)
    assert len(walk(maker)) == 3


@pytest.mark.parametrize("wanted", ["ada house", "ADA@example.com", "Ada House <ada@example.com>"])
def test_the_wanted_author_is_found_by_name_or_address(maker: GitMaker, wanted: str) -> None:
    maker.commit({"a.py": "value = 1\n"})
    maker.commit({"a.py": "value = 2\n"}, author=BO)
    choice = choose_author(open_repository(maker.root), wanted)
    assert choice.author.name == ADA.name
    assert "as asked" in choice.reason


def test_an_unknown_author_is_refused_with_those_there_are(maker: GitMaker) -> None:
    maker.commit({"a.py": "value = 1\n"})
    with pytest.raises(NoSuchAuthorError, match="Ada House <ada@example"):
        choose_author(open_repository(maker.root), "Nobody")


def test_the_git_identity_goes_before_the_most_frequent_author(maker: GitMaker) -> None:
    maker.commit({"a.py": "value = 1\n"})
    maker.commit({"a.py": "value = 2\n"}, author=BO)
    maker.commit({"a.py": "value = 3\n"}, author=BO)
    choice = choose_author(open_repository(maker.root))
    assert choice.author.name == BO.name
    assert "most frequent author: 2 of 3" in choice.reason
    assert "no identity" in choice.reason

    maker.git("config", "user.email", ADA.email)
    choice = choose_author(open_repository(maker.root))
    assert choice.author.name == ADA.name
    assert "your git identity: 1 of 3" in choice.reason

    maker.git("config", "user.email", "stranger@example.com")
    choice = choose_author(open_repository(maker.root))
    assert choice.author.name == BO.name
    assert "stranger@example.com wrote none" in choice.reason
    assert "stranger@example.com wrote none" in choice.doubt

    maker.git("config", "user.name", ADA.name)  # a new laptop: the history knows the name alone
    choice = choose_author(open_repository(maker.root))
    assert (choice.author.name, choice.doubt) == (ADA.name, "")
    assert "your git identity: 1 of 3" in choice.reason

    maker.git("config", "user.name", "Stranger")
    choice = choose_author(open_repository(maker.root))
    assert "stranger@example.com or Stranger wrote none" in choice.doubt


# which commits


def test_a_bot_is_not_learned_from_though_it_committed_most(maker: GitMaker) -> None:
    bot = Identity("dependabot[bot]", "bot@example.com")
    maker.commit({"a.py": "value = 1\n"})
    maker.commit({"a.py": "value = 2\n"}, author=bot)
    maker.commit({"a.py": "value = 3\n"}, author=bot)
    assert choose_author(open_repository(maker.root)).author.name == ADA.name


def test_merges_reverts_and_other_authors_are_left_out(maker: GitMaker) -> None:
    first = maker.commit({"a.py": "value = 1\n"})
    maker.git("checkout", "--quiet", "-b", "side")
    side = maker.commit({"b.py": "value = 2\n"})
    maker.git("checkout", "--quiet", "main")
    maker.commit({"c.py": "value = 3\n"}, author=BO)
    maker.git("merge", "--quiet", "--no-ff", "side", "--message", "Merge side")
    for number, message in enumerate(('Revert "Remove d"', "revert: d", "Reverts #4", "Reverted.")):
        maker.commit({"d.py": f"value = {number}\n"}, message=message)
    last = maker.commit({"e.py": "value = 5\n"})
    assert ids(walk(maker)) == [first, side, last]


def test_commits_come_in_the_order_of_their_time(maker: GitMaker) -> None:
    maker.now += 10_000
    late = maker.commit({"a.py": "value = 1\n"})
    maker.now -= 20_000
    early = maker.commit({"a.py": "value = 2\n"})
    changes = walk(maker)
    assert ids(changes) == [early, late]
    assert changes[0].time == maker.now


def test_since_and_newest_leave_out_what_is_older(maker: GitMaker) -> None:
    made = [maker.commit({"a.py": f"value = {number}\n"}) for number in range(5)]
    assert ids(walk(maker, since=maker.now - 120)) == made[3:]
    assert ids(walk(maker, newest=2)) == made[3:]


def test_what_was_made_after_a_time_changes_nothing_of_what_was_found_before(
    maker: GitMaker,
) -> None:
    for number in range(24):
        maker.commit({"a.py": f"value = {number}\n"})
    maker.commit({f"part_{number}.py": "value = 0\n" for number in range(12)})
    before, then = ids(walk(maker, newest=10)), maker.now
    for turn in range(12):  # so that twelve files are no longer too many
        maker.commit({f"more_{number}.py": f"value = {turn}\n" for number in range(12)})
    assert ids(walk(maker, newest=10, until=then)) == before != ids(walk(maker, newest=10))


def test_a_bulk_commit_is_left_out_of_a_long_history_only(maker: GitMaker) -> None:
    bulk = maker.commit({f"part_{number}.py": "value = 0\n" for number in range(30)})
    small = maker.commit({"a.py": "value = 0\n"})
    assert ids(walk(maker)) == [bulk, small]
    for number in range(1, 20):
        maker.commit({"a.py": f"value = {number}\n"})
    ten = maker.commit({f"ten_{number}.py": "value = 0\n" for number in range(10)})
    found = ids(walk(maker))
    assert bulk not in found
    assert ten in found
    assert len(found) == 21


def test_the_boundary_of_a_shallow_clone_is_left_out(maker: GitMaker, tmp_path: Path) -> None:
    made = [maker.commit({"a.py": f"value = {number}\n"}) for number in range(5)]
    clone = tmp_path / "clone"
    maker.git("clone", "--quiet", "--depth=3", maker.root.as_uri(), str(clone))
    maker.root = clone
    assert ids(walk(maker)) == made[3:]


@pytest.mark.parametrize("lost", ["HEAD~2", "HEAD~2^{tree}", "HEAD~2:a.py"])
def test_a_missing_object_costs_only_what_needs_it(maker: GitMaker, lost: str) -> None:
    made = [maker.commit({"a.py": f"value = {number}\n"}) for number in range(5)]
    name = maker.git("rev-parse", lost)
    (maker.root / ".git" / "objects" / name[:2] / name[2:]).unlink()
    found = ids(walk(maker))
    assert made[4] in found
    assert made[2] not in found
    assert set(found) <= set(made)
    if lost != "HEAD~2":  # without the commit there is no way to what lies behind it
        assert made[0] in found


# which files


def test_only_code_written_by_hand_here_is_kept(maker: GitMaker) -> None:
    maker.commit(
        {
            "kept.py": "value = 1\n",
            "README.md": "# Words\n",
            "data.json": "{}\n",
            "vendor/lib.py": "value = 1\n",
            "web/node_modules/lib/index.js": "let value = 1;\n",
            "app.min.js": "let value = 1;\n",
            "schema_pb2.py": "value = 1\n",
            "made.py": "# Generated by a tool. DO NOT EDIT.\nvalue = 1\n",
            "long.py": "value = [" + "1, " * 2_000 + "]\n",
            "latin.py": "# café\n".encode("latin-1"),
            "binary.py": b"value\0\n",
            "huge.py": "value = 1\n" * 110_000,
            "empty.py": "",
        }
    )
    (change,) = walk(maker)
    assert [(file.path, file.language) for file in change.files] == [("kept.py", "python")]


def test_a_moved_file_adds_only_its_edits(maker: GitMaker) -> None:
    body = "".join(f"value_{number} = {number}\n" for number in range(20))
    maker.commit({"old.py": body, "gone.py": "value = 1\n"})
    moved = maker.commit({"old.py": None, "new.py": body, "gone.py": None})
    edited = maker.commit({"new.py": None, "newer.py": body + "last = 20\n"})
    changes = walk(maker)
    assert moved not in ids(changes)
    assert changes[-1].commit == edited
    assert [(file.path, file.added) for file in changes[-1].files] == [("newer.py", ((20, 20),))]


def test_links_and_paths_with_odd_characters_are_told_apart(maker: GitMaker) -> None:
    maker.commit({"target.py": "value = 1\n"})
    try:
        (maker.root / "link.py").symlink_to("target.py")
    except OSError:
        pytest.skip("this platform lets nobody make links")
    odd = 'deep folder/ünï "quoted"\tname.py'
    maker.commit({odd: "value = 2\n"})
    assert [file.path for file in walk(maker)[-1].files] == [odd]


# which lines


def test_a_file_is_given_as_the_commit_left_it_with_its_added_lines(maker: GitMaker) -> None:
    maker.commit({"a.py": "one = 1\ntwo = 2\nthree = 3\n"})
    maker.commit({"a.py": "zero = 0\none = 1\ntwo = 22\nthree = 3\nfour = 4\nfive = 5\n"})
    (file,) = walk(maker)[-1].files
    assert file.added == ((0, 0), (2, 2), (4, 5))
    assert file.text == "zero = 0\none = 1\ntwo = 22\nthree = 3\nfour = 4\nfive = 5\n"


def test_a_change_of_line_ends_alone_adds_nothing(maker: GitMaker) -> None:
    maker.commit({"a.py": "one = 1\ntwo = 2\n"})
    maker.commit({"a.py": "one = 1\r\ntwo = 2\r\n"})
    assert len(walk(maker)) == 1


lines = st.lists(st.sampled_from(["", "a", "b", "ab", "\f", "a\u2028b"]), max_size=12)


@given(lines, lines)
def test_what_is_not_added_is_a_longest_common_subsequence(
    before: list[str], after: list[str]
) -> None:
    old, new = split_lines("\n".join(before)), split_lines("\n".join(after))
    added = {
        number
        for first, last in added_ranges("\n".join(before), "\n".join(after))
        for number in range(first, last + 1)
    }
    kept = [line for number, line in enumerate(new) if number not in added]
    rest = iter(old)
    assert all(line in rest for line in kept)
    assert len(kept) == _longest_common(old, new)


def _longest_common(old: list[str], new: list[str]) -> int:
    """The textbook recurrence, row by row."""
    row = [0] * (len(new) + 1)
    for left in old:
        above = row
        row = [0]
        for number, right in enumerate(new):
            step = above[number] + 1 if left == right else max(row[-1], above[number + 1])
            row.append(step)
    return row[-1]
