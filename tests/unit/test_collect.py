"""What a job learns from: selection, balance, time-true splits, and histories too short for any."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from git_maker import ADA, BO, GitMaker, go_on, isolate
from neuralforge_adapters.home import Home, read_json, write_json
from neuralforge_trainer.collect import collect
from neuralforge_trainer.collecting.material import items_of, split_by_time
from neuralforge_trainer.errors import EmptyRepositoryError, JobError, NothingToLearnError
from neuralforge_trainer.samples.choice import candidates_of, choose
from neuralforge_trainer.samples.dedup import Distinct, Passage
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.selection import Selection, parse_since
from neuralforge_trainer.settings import Job, JobSettings, read_job

FEW = JobSettings(least_samples=3, least_items=2, heldout_items=8, max_samples=40)
WORDS = [
    "anchor",
    "bow",
    "cabin",
    "deck",
    "ensign",
    "fender",
    "galley",
    "hatch",
    "inlet",
    "jetty",
    "keel",
    "ladder",
    "mast",
]


def sample(number: int, language: str = "python", time: float = 0.0, path: str = "a.py") -> Sample:
    name = WORDS[number % len(WORDS)] * (1 + number // len(WORDS))
    above = f"import {name}\n\nclass {name.title()}:\n    size = "
    return Sample(above, f"{name}.measure({number})", "\n", language, path, "r", time, "file")


def commit_lines(made: GitMaker, number: int, name: str = "fleet.py") -> None:
    word = WORDS[number % len(WORDS)]
    parts = ("hull", "rigging", "store", "crew", "chart")
    lines = [f"{word}_{part} = outfit.{part}.{word}(*{word}, {part}=1)\n" for part in parts]
    path = made.root / name
    made.commit({name: (path.read_text() if path.exists() else "") + "".join(lines)})


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitMaker:
    isolate(monkeypatch, tmp_path)
    made = GitMaker(tmp_path / "repository")
    for number in range(10):
        commit_lines(made, number, f"src/fleet_{number % 2}.py")
    commit_lines(made, 10, "tests/harbour.js")
    return made


def test_a_pattern_chooses_as_gitignore_does_and_an_exclamation_mark_leaves_out() -> None:
    paths = ["a.py", "src/b.py", "src/tests/c.py", "web/d.ts"]

    def taken(*patterns: str) -> list[str]:
        selection = Selection(patterns=patterns)
        return [path for path in paths if selection.admits(path, "python", 1.0)]

    assert taken() == paths
    assert taken("src/") == ["src/b.py", "src/tests/c.py"]
    assert taken("*.py", "!tests/") == ["a.py", "src/b.py"]
    assert taken("!tests/") == ["a.py", "src/b.py", "web/d.ts"]


def test_time_and_language_choose() -> None:
    selection = Selection(since=10.0, languages=("python", "rust"))
    assert selection.admits("a", "rust", 10.0)
    assert not selection.admits("a", "rust", 9.9)
    assert not selection.admits("a", "go", 10.0)
    assert parse_since("2026-01-02") - parse_since("2026-01-01") == 86_400
    assert abs(parse_since("1d") - parse_since("2d") - 86_400) < 5
    for text in ("yesterday", "d", ""):
        with pytest.raises(ValueError, match="write a date"):
            parse_since(text)


def test_a_balanced_draw_gives_the_rest_to_languages_that_have_more() -> None:
    drawn = [sample(n, "python") for n in range(30)]
    drawn += [sample(n, "go") for n in range(30, 35)] + [sample(n, "c") for n in range(36, 56)]
    chosen = choose(candidates_of(drawn), Distinct(), limit=25, balance=True)
    assert Counter(s.language for s in chosen) == {"python": 10, "c": 10, "go": 5}
    assert chosen == [s for s in drawn if s in chosen], "in the order of the candidates"
    unlimited = choose(candidates_of(drawn), Distinct(), balance=True)
    assert Counter(s.language for s in unlimited) == {"python": 5, "c": 5, "go": 5}
    assert chosen == choose(candidates_of(drawn), Distinct(), limit=25, balance=True)
    assert chosen != choose(candidates_of(drawn), Distinct(), limit=25, balance=True, seed=1)


def test_no_duplicate_and_no_secret_is_chosen_and_a_limit_is_filled_with_others() -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    secret = replace(sample(50), middle=f"token = '{token}'")
    beside = replace(sample(49), prefix=f"token = '{token}'\nsize = ")
    drawn = [sample(0), replace(sample(0), time=9.0), secret, beside, sample(1), sample(2)]
    chosen = choose(candidates_of(drawn), Distinct(), limit=4)
    assert [s.middle for s in chosen] == [
        s.middle for s in (sample(0), beside, sample(1), sample(2))
    ]
    assert not any(token in s.prefix for s in chosen)


def test_the_split_is_by_time_and_never_within_one_time() -> None:
    mixed = [sample(n, time=float(n // 4)) for n in (5, 9, 1, 0, 7, 2, 3, 4, 8, 6)]
    older, newer = split_by_time(mixed, 0.3)
    assert {s.time for s in older} == {0.0}
    assert {s.time for s in newer} == {1.0, 2.0}
    untimed = [sample(n) for n in range(10)]
    assert split_by_time(untimed, 0.2) == (untimed[:8], untimed[8:])
    assert split_by_time(untimed, 0.0) == (untimed, [])


def test_no_item_asks_for_what_is_learnt_or_near_to_it() -> None:
    learnt = [sample(1), sample(2)]
    seen = Distinct()
    choose(candidates_of(learnt), seen)
    renamed = sample(1).middle.replace("(1)", "(2)")  # numbers tell no two apart
    moved = replace(sample(1), prefix=f"x = 1\n\n\n{sample(1).prefix}", middle=renamed)
    middle_of_line = replace(sample(4), suffix=" + 1\n")
    several = replace(sample(5), middle="a = 1\nb = 22")
    shown = replace(sample(6), prefix="elsewhere = 3\n    size = ", middle=sample(2).middle)
    newer = [moved, middle_of_line, several, shown, sample(7), replace(sample(7), time=5.0)]
    (item,) = items_of(newer, learnt, seen)
    assert item.expected == sample(7).middle


def test_an_empty_history_and_one_of_one_commit_are_refused_by_name(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    made = GitMaker(tmp_path / "repository")
    job = Job(repository=made.root, settings=FEW)
    with pytest.raises(EmptyRepositoryError, match="no commit"):
        collect(home, job)
    commit_lines(made, 0)
    with pytest.raises(NothingToLearnError, match="1 new commits"):
        collect(home, job)


def test_the_options_of_a_job_choose_from_history(history: GitMaker, home: Home) -> None:
    job = Job(repository=history.root, settings=FEW)
    whole = collect(home, job)
    assert {s.path for s in whole.samples} == {"src/fleet_0.py", "src/fleet_1.py"}
    assert {i.language for i in whole.heldout} == {"python", "javascript"}
    chosen = collect(home, replace(job, patterns=("fleet_1.*",)))
    assert {s.path for s in chosen.samples} == {"src/fleet_1.py"}
    assert {i.path for i in chosen.heldout} == {"src/fleet_1.py"}
    since = history.now - 60 * 5
    late = collect(home, replace(job, since=float(since)))
    assert min(s.time for s in late.samples) >= since
    with pytest.raises(NothingToLearnError):
        collect(home, replace(job, languages=("rust",)))


def test_what_is_held_out_is_newer_than_what_is_learnt_and_near_to_none_of_it(
    history: GitMaker, home: Home
) -> None:
    again = (history.root / "src/fleet_0.py").read_text().replace("=1)", "=2)")
    for number in range(3):  # no line of it was seen before, and all are near to one that was
        history.commit({f"src/copy_{number}.py": again.replace("=2)", f"={number + 2})")})
    commit_lines(history, 11, "src/fleet_1.py")
    commit_lines(history, 12, "src/fleet_1.py")
    material = collect(home, Job(repository=history.root, settings=FEW))
    assert max(s.time for s in material.samples) < min(i.time for i in material.heldout)
    seen = Distinct()
    for learnt in material.samples:
        seen.admits(learnt)
    assert len(material.heldout) >= 2
    for item in material.heldout:
        assert not seen.repeats(Passage(item.prefix, item.expected, item.suffix, item.language))


def test_datasets_are_learnt_from_and_their_complaints_are_told(tmp_path: Path, home: Home) -> None:
    first, second = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    lines = [sample(n, time=float(n + 1)).to_json() for n in range(20)]
    first.write_text("\n".join([*lines, "{"]) + "\n")
    second.write_text("".join(f"{sample(n, 'go', n + 1.0).to_json()}\n" for n in range(20, 30)))
    job = Job(datasets=(first, second), settings=FEW)
    material = collect(home, job)
    assert material.data["datasets"] == ["one.jsonl", "two.jsonl"]
    assert (material.data["broken"], material.data["to"]) == (1, 24.0)
    assert len(material.samples) == 24
    assert {item.language for item in material.heldout} == {"go"}
    assert "one.jsonl: line 21: not a line of JSON" in material.message
    assert {s.language for s in collect(home, replace(job, languages=("go",))).samples} == {"go"}
    few = r"the samples of one\.jsonl, two\.jsonl \(one\.jsonl: line 21: .*\) give 0 samples"
    with pytest.raises(NothingToLearnError, match=few):
        collect(home, replace(job, since=1000.0))


def test_a_job_file_names_datasets_and_a_selection(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    values = {"datasets": ["a.jsonl"], "languages": ["go"], "patterns": ["!x"], "balance": True}
    path.write_text(json.dumps(values))
    job = read_job(path)
    assert job.datasets == (Path("a.jsonl"),)
    assert job.selection == Selection(None, ("go",), ("!x",))
    path.write_text('{"datasets": "a.jsonl"}')
    with pytest.raises(JobError, match="datasets must be a list"):
        read_job(path)


def test_a_commit_is_learnt_once_in_whatever_worktree_or_clone_it_lies(
    history: GitMaker, home: Home, tmp_path: Path
) -> None:
    job = Job(repository=history.root, settings=FEW)
    learnt = collect(home, job)
    learnt.remember()
    history.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "tree"))
    history.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    strange = {"time": 9e9, "commit": "f" * 40}, {"time": 9e9, "commit": "--all"}
    file = home.profile_dir / "trained.json"
    write_json(file, {**read_json(file), "elsewhere": strange[0], "damaged": strange[1]})  # type: ignore[dict-item]
    for name in ("tree", "clone"):
        other = replace(job, repository=tmp_path / name)
        found = collect(home, other)
        assert found.data["from"] > learnt.data["to"], "what was held out is new"
        assert len(collect(home, replace(other, everything=True)).samples) == len(learnt.samples)
    side = GitMaker(tmp_path / "tree-alone")
    side.root, side.now = tmp_path / "tree", history.now - 86_400
    for number in range(10, 20):
        commit_lines(side, number, "side.py")  # older than what was learnt, and yet new
    found = collect(home, replace(job, repository=side.root))
    assert {sample.path for sample in found.samples} == {"side.py"}
    assert found.data["from"] == history.now - 86_400 + 60


def test_another_authors_lines_are_learnt_only_when_asked(history: GitMaker, home: Home) -> None:
    for number in range(6):
        word = WORDS[number]
        text = "".join(f"{word}_{n} = {word}.boat(*range_{n}, of={word})\n" for n in "abcd")
        history.commit({f"bo_{number}.py": text}, author=BO)
    mine = collect(home, Job(repository=history.root, settings=FEW))
    his = collect(home, Job(repository=history.root, author="Bo Branch", settings=FEW))
    assert not any(s.path.startswith("bo_") for s in mine.samples)
    assert all(s.path.startswith("bo_") for s in his.samples)


def test_behind_the_users_back_only_the_users_own_lines_are_learnt(
    history: GitMaker, home: Home
) -> None:
    asked = Job(repository=history.root, settings=FEW)
    unasked = replace(asked, own_only=True)
    assert "Ada House" in (message := collect(home, asked).message)
    assert "the most frequent author" in message and "no identity of yours" in message
    with pytest.raises(NothingToLearnError, match=r"to be yours.*neuralforge\.learning\.author"):
        collect(home, unasked)
    assert collect(home, replace(unasked, author="Ada House")).samples
    history.git("config", "user.email", "new-laptop@example.com")
    with pytest.raises(NothingToLearnError, match=r"new-laptop@example\.com wrote none"):
        collect(home, unasked)
    history.git("config", "user.name", ADA.name)
    assert "your git identity" in collect(home, unasked).message


def test_what_the_user_excludes_is_neither_learnt_nor_asked_about(
    history: GitMaker, home: Home, tmp_path: Path
) -> None:
    job = Job(repository=history.root, settings=FEW)
    link = tmp_path / "link"
    link.symlink_to(history.root)
    patterns = (f"{link}/src/fleet_1.py", str(history.root / "src/fleet_1.py"), "SRC/fleet_1.*")
    for pattern in patterns:
        chosen = collect(home, replace(job, repository=link, exclude=(pattern,)))
        assert {s.path for s in chosen.samples} == {"src/fleet_0.py"}
        assert not {i.path for i in chosen.heldout} & {"src/fleet_1.py"}
    chosen.remember()
    again = collect(home, Job(again=True, settings=FEW))
    assert {s.path for s in again.samples} == {"src/fleet_0.py"}, "nor for another base"


def test_a_branch_that_is_merged_or_checked_out_later_is_learnt_then(
    history: GitMaker, home: Home
) -> None:
    history.git("checkout", "--quiet", "-b", "side")
    go_on(history, 6, "side")
    history.git("checkout", "--quiet", "main")
    go_on(history, 6, "main")
    job = Job(repository=history.root, settings=FEW)
    first = collect(home, job)
    first.remember()
    history.git("checkout", "--quiet", "side")
    checked_out = collect(home, job)
    assert all(s.path.startswith("side_") for s in checked_out.samples)
    assert checked_out.data["to"] < first.data["to"], "older than what was learnt"
    history.git("checkout", "--quiet", "main")
    history.now += 60
    history.git("merge", "--quiet", "--no-ff", "side", "--message", "Merge side")
    merged = collect(home, job)
    assert any(s.path.startswith("side_") for s in merged.samples)
    merged.remember()
    left = collect(home, replace(job, settings=replace(FEW, least_samples=0, least_items=0)))
    assert left.data["from"] > merged.data["to"], "nothing is learnt twice"
    history.git("checkout", "--quiet", "side")
    with pytest.raises(NothingToLearnError, match="0 new commits"):
        collect(home, job)


def test_a_history_that_was_rewritten_is_learnt_from_where_it_was_learnt_by_time(
    history: GitMaker, home: Home
) -> None:
    job = Job(repository=history.root, settings=FEW)
    learnt = collect(home, job)
    learnt.remember()
    rewritten = 'test "$GIT_COMMITTER_NAME" && echo "$(cat)" again'
    history.git("filter-branch", "--force", "--msg-filter", rewritten, "HEAD")
    history.git("update-ref", "-d", "refs/original/refs/heads/main")
    history.git("reflog", "expire", "--expire=now", "--all")
    history.git("gc", "--quiet", "--prune=now")
    again = collect(home, replace(job, settings=replace(FEW, least_samples=0, least_items=0)))
    assert again.data["from"] > learnt.data["to"]


def test_how_much_of_a_source_was_drawn_is_told(
    history: GitMaker, home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "one.jsonl"
    file.write_text("".join(f"{sample(n, time=n + 1.0).to_json()}\n" for n in range(30)))
    few = replace(FEW, max_samples=5)
    for job in (Job(datasets=(file,), settings=few), Job(repository=history.root, settings=few)):
        assert "; 5 of " in (message := collect(home, job).message)
        assert "the rest counts as learnt" in message and "--set max_samples=N" in message
        whole = replace(job, settings=replace(few, max_samples=600))
        assert "drawn" not in collect(home, whole).message
