"""The proof's parts: windows that leak nothing, the typist, statistics, goals, lists, the page."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from git_maker import GitMaker, isolate
from neuralforge_adapters.base import Base
from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import Home
from neuralforge_trainer.errors import CodeChangedError, NothingToLearnError, ProofError
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.history import settings as proof_settings
from neuralforge_trainer.evaluate.history.__main__ import Travel
from neuralforge_trainer.evaluate.history.closure import closure, meaning
from neuralforge_trainer.evaluate.history.course import Course
from neuralforge_trainer.evaluate.history.figures import (
    Answers,
    OldWindow,
    Window,
    collect_answers,
    figures,
    pooled,
)
from neuralforge_trainer.evaluate.history.goals import compare, judge_goals
from neuralforge_trainer.evaluate.history.kept import Cell, Cost, Kept, Mark, Typed
from neuralforge_trainer.evaluate.history.page import page
from neuralforge_trainer.evaluate.history.periods import Passage, Plan, make_plan
from neuralforge_trainer.evaluate.history.report import About, Report, make_report, markdown
from neuralforge_trainer.evaluate.history.sets import History, find_clone, named, read_set
from neuralforge_trainer.evaluate.history.settings import ProofSettings
from neuralforge_trainer.evaluate.history.significance import bootstrap_p, holm
from neuralforge_trainer.evaluate.history.typist import right_part, type_out
from neuralforge_trainer.samples.repository import open_repository

SMALL = ProofSettings(updates=2, samples=30, items=4, lines=2)
WORDS = [first + second for first in ("ledger", "harbour", "kettle", "orchard", "violin")
         for second in ("count", "price", "owner", "weight", "colour", "place")]  # fmt: skip


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitMaker:
    isolate(monkeypatch, tmp_path)
    return GitMaker(tmp_path / "repo")


def fill(maker: GitMaker, commits: int, same: str = "") -> None:
    """Commits of six lines each, all different, and in each `same` with the commit's number."""
    source = random.Random(0)
    for number in range(commits):
        lines = [
            f"def {'_'.join(source.sample(WORDS, 3))}({source.choice(WORDS)}):\n"
            f"    return {'.'.join(source.sample(WORDS, 3))}({source.choice(WORDS)})\n"
            for _ in range(3)
        ]
        maker.commit(
            {f"{source.choice(WORDS)}{number}.py": "\n".join([same.format(number), *lines])}
        )


def lines_of(plan: Plan, number: int) -> set[str]:
    """Every line that a window's samples teach."""
    return {
        line.strip()
        for sample in plan.periods[number].samples
        for line in (sample.prefix.rpartition("\n")[2] + sample.middle).split("\n")
    }


def whole(item: Item) -> str:
    return (item.prefix.rpartition("\n")[2] + item.expected).strip()


def test_questions_are_of_the_future_and_keepsakes_are_never_taught(maker: GitMaker) -> None:
    fill(maker, 40, same="SHARED_BY_ALL = 'the same in every commit'\n")
    plan = make_plan(open_repository(maker.root), "me/repo", None, SMALL)
    assert len(plan.periods) == 3
    for number, period in enumerate(plan.periods):
        assert period.samples and period.questions and period.keepsakes
        held = {item.commit for item in (*period.questions, *period.keepsakes)}
        assert not held & {sample.commit for sample in period.samples}
        taught_before = set[str]().union(*(lines_of(plan, k) for k in range(number)))
        assert not taught_before & {whole(item) for item in period.questions}
        ever = lines_of(plan, 0) | lines_of(plan, 1)
        assert not ever & {whole(item) for item in period.keepsakes}
        assert all("SHARED" not in whole(item) for item in period.questions[1:])
    ends = [(period.begins, period.ends) for period in plan.periods]
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(ends))


def test_a_line_like_one_that_was_taught_is_not_asked_about(maker: GitMaker) -> None:
    fill(maker, 40, same="REGISTRY.enter_into_the_book(entry_{0}, {0}00)\n")
    settings = ProofSettings(updates=2, samples=40, items=9)
    plan = make_plan(open_repository(maker.root), "me/repo", None, settings)
    taught = [number for number in (0, 1) if any("REGISTRY" in x for x in lines_of(plan, number))]
    assert taught
    later = [item for period in plan.periods[taught[0] + 1 :] for item in period.questions]
    assert not [item for item in later if "REGISTRY" in whole(item)]
    keepsakes = [item for period in plan.periods for item in period.keepsakes]
    assert keepsakes and not [item for item in keepsakes if "REGISTRY" in whole(item)]


def test_windows_hold_about_the_same_number_of_samples_and_the_newest(maker: GitMaker) -> None:
    fill(maker, 60)
    plan = make_plan(open_repository(maker.root), "me/repo", None, SMALL)
    commits = [period.commits for period in plan.periods]
    assert max(commits) - min(commits) <= 1 and sum(commits) < 60
    assert plan.periods[-1].ends == maker.now


def test_a_short_history_is_refused_with_what_to_do(maker: GitMaker) -> None:
    fill(maker, 5)
    with pytest.raises(NothingToLearnError, match="--updates"):
        make_plan(open_repository(maker.root), "me/repo", None, SMALL)


def test_moments_show_what_stood_before_each_commit_that_is_asked_about(maker: GitMaker) -> None:
    fill(maker, 40)
    plan = make_plan(open_repository(maker.root), "me/repo", None, SMALL)
    for number, period in enumerate(plan.periods):
        files: dict[str, str | None] = {}
        moments = list(plan.moments(number))
        assert [i for moment in moments for i in moment.items] == list(period.questions)
        for moment in moments:
            files |= moment.changed
            text = "\n".join(text for text in files.values() if text)
            assert not [item for item in moment.items if whole(item) in text.split("\n")]


TYPED = Passage("c", "a.py", "python", "import os\n\n", ("def f():", "    return 12"), "\nend\n")


def test_a_perfect_suggestion_is_accepted_whole_and_only_its_characters_count() -> None:
    seen: list[Item] = []

    def ask(item: Item) -> str:
        seen.append(item)
        return "def f():\n    return 12"

    assert type_out(TYPED, ask) == Typed("c", 17, 17, 1)
    assert seen[0].prefix == "import os\n\n" and seen[0].suffix == "\nend\n"


def test_no_indentation_counts_not_even_the_first() -> None:
    indented = Passage("c", "a.py", "python", "def f():\n", ("    x = 1", "    return x"), "")
    assert type_out(indented, lambda item: "x = 1\n    return x") == Typed("c", 13, 13, 1)


def test_a_wrong_suggestion_stays_while_it_is_typed_along_and_is_asked_anew_after() -> None:
    seen: list[str] = []

    def ask(item: Item) -> str:
        seen.append(item.prefix.rpartition("\n")[2])
        return {"": "def g():", "def f": "():", "    ": "", "    r": "eturn 1"}.get(seen[-1], "")

    typed = type_out(TYPED, ask)
    assert seen == ["", "def f", "def f():", "    ", "    r", "    return 1"]
    assert typed == Typed("c", 17, 3 + 7, 6)


@pytest.mark.parametrize(
    ("shown", "ahead", "right"),
    [
        ("abc", "abcdef\ng", "abc"),
        ("abc\nxyz", "abc\nxya", "abc"),
        ("abc\nxyz", "abc\nxyz", "abc\nxyz"),
        ("abd", "abc", ""),
        ("", "abc", ""),
        ("  ", "  abc", ""),
    ],
)
def test_what_is_right_is_the_whole_text_or_its_first_line(
    shown: str, ahead: str, right: str
) -> None:
    assert right_part(shown, ahead) == right


def test_p_values_agree_with_chance_and_with_certainty() -> None:
    source = random.Random(1)
    noise = [source.choice((-1.0, 0.0, 1.0)) for _ in range(300)]
    assert bootstrap_p(noise, range(300)) > 0.1
    assert bootstrap_p([1.0] * 30, range(30)) <= 0.001
    assert bootstrap_p([0.0] * 30, range(30)) == 1.0
    assert bootstrap_p([1.0] * 30, [0] * 30) <= 0.001
    mixed = [1.0] * 20 + [-1.0] * 10
    assert bootstrap_p(mixed, [0] * 20 + [1] * 10) > bootstrap_p(mixed, range(30))


def test_holm_adjusts_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def marks(hits: str, commit: str = "") -> list[Mark]:
    return [
        Mark(commit or str(n), hit == "x", 0.9 if hit == "x" else 0.3, 2.0, 2)
        for n, hit in enumerate(hits)
    ]


def answers(name: str, base: str, adapter: str) -> Answers:
    """One repository with windows 1 and 2, and old windows 0 and 1 of four lines."""
    found = Answers()
    for aided in (False, True):
        for system, hits in (("base", base), ("both", adapter)):
            found.next[system, aided] = {
                (name, k): [Mark(f"{name}{k}{m.commit}", *list(vars(m).values())[1:])
                            for m in marks(hits)] for k in (1, 2)
            }  # fmt: skip
    found.old["both"] = {
        (name, 0): (marks("xx.."), marks("x...")),
        (name, 1): (marks("x..."), marks("x...")),
    }
    found.general = {"base": {name: marks("xx..")}, "both": {name: marks("xx..")}}
    found.typed = {
        "base": {(name, 1): [Typed("t", 40, 10, 3)]},
        "both": {(name, 1): [Typed("t", 40, 30, 2)]},
    }
    found.costs = {
        "both": {
            (name, 1): [Cost(40, 30, 5, 4, 2.0, 0.5, 3.0, 2**30)],
            (name, 2): [Cost(60, 30, 9, 6, 4.0, 0.5, 6.0, 5)],
        }
    }
    return found


def test_figures_are_as_defined() -> None:
    one = figures("a", answers("a", "x..." * 5, "xx.." * 5))
    row = one.system("both", aided=False)
    assert row is not None and (row.items, row.em, row.ratio) == (40, 0.5, 2.0)
    assert row.em_gain.mean == 0.25 and row.em_gain.low > 0
    perplexity = pytest.approx(2.718, abs=0.01)
    assert row.windows[1] == Window(20, 0.5, pytest.approx(0.6), perplexity)
    assert row.windows[1] == row.windows[2] and len(row.windows) == 2
    assert row.perplexity == perplexity
    (old,) = one.forgetting
    assert old.bwt is not None and (old.bwt.mean, old.items) == (-0.125, 8)
    assert old.largest_drop is None, "of four lines"
    assert old.windows == {0: OldWindow(4, 0.5, 0.25), 1: OldWindow(4, 0.25, 0.25)}
    typing = {row.system: row.rocc for row in one.typing}
    assert typing == {"base": 0.25, "both": 0.75}
    assert [row.windows for row in one.typing] == [{1: 0.25}, {1: 0.75}]
    (spent,) = one.spent
    assert (spent.seconds, spent.updates, spent.peak_bytes) == (3.0, 2, 2**30)
    second = spent.each[2]
    assert (second.seconds, second.cpu_seconds, second.peak_bytes) == (4.0, 6.0, 5)


def test_a_small_window_weighs_as_its_lines_in_what_was_forgotten() -> None:
    found = answers("a", "x..." * 5, "xx.." * 5)
    found.old["both"] = {
        ("a", 0): (marks("x"), marks(".")),
        ("a", 1): (marks("x" * 10 + "." * 9), marks("x" * 11 + "." * 8)),
    }
    (old,) = figures("a", found).forgetting
    assert old.bwt is not None and old.bwt.mean == 0.0
    assert old.largest_drop == pytest.approx(1 / 19)


def test_pooling_compares_each_system_with_the_base_of_its_own_repositories() -> None:
    first, second = answers("a", "x..." * 5, "xx.." * 5), answers("b", "...." * 5, "...." * 5)
    del second.next["both", False], second.general["both"], second.typed["both"]
    total = figures("all", pooled([first, second]))
    row, base = total.system("both", aided=False), total.system("base", aided=False)
    assert row is not None and base is not None
    assert (row.items, row.em_gain.mean) == (40, 0.25) and (base.items, base.em) == (80, 0.125)
    assert (base.windows[1].items, base.windows[1].em) == (40, 0.125)
    (spent,) = total.spent
    assert (spent.updates, spent.each[1].updates, spent.each[1].seconds) == (4, 2, 2.0)


def test_goals_say_what_is_met_and_what_is_missed() -> None:
    good, bad = answers("a", "x..." * 5, "xx.." * 5), answers("b", "xx.." * 5, "x..." * 5)
    each = [figures("a", good), figures("b", bad)]
    comparisons = compare(each, "both")
    words = {(c.repository, c.measure, c.aided): c.verdict for c in comparisons}
    assert words["a", "EM", False] == "better (Holm)" and words["b", "EM", True] == "worse (Holm)"
    overall = figures("all", pooled([good, bad]))
    goals = judge_goals(overall, each, comparisons, "both")
    assert [goal.verdict for goal in goals] == ["missed"] * 5 + ["met"]
    assert "b (EM)" in goals[2].found and goals[1].found == "1 of 2"
    only_good = judge_goals(each[0], each[:1], compare(each[:1], "both"), "both")
    assert [g.verdict for g in only_good] == ["met", "met", "met", "met", "missed", "met"]
    nothing = judge_goals(figures("all", Answers()), [], [], "both")
    assert {goal.verdict for goal in nothing} == {"not measured"}


def test_report_and_page_show_every_repository_and_escape_names() -> None:
    found = [
        (About(name, "0" * 40, "A <a@b>", []), answers(name, "x...", "xx.."))
        for name in ("me/<one>", "me/two")
    ]
    report = make_report("f" * 64, SMALL, "both", found, {"me/three": "too short & old"})
    text = markdown(report)
    assert text.count("### ") == 6 and "**No figures for me/three**" in text
    assert "| ES %, window | 1 | 2 |" in text and "| perplexity, window | 1 | 2 |" in text
    assert "| both + retrieval + memory | 75.0 |" in text, "RoCC, in window 1 alone"
    assert "| both, just after | 50.0 | 25.0 |" in text and "| both, at the end | 25.0 |" in text
    assert "| both, seconds | 2.0 | 4.0 |" in text and "| both, peak MiB | 1024 | 0 |" in text
    html = page(report)
    assert html.count("<svg") == 8 and "&lt;one&gt;" in html and "<one>" not in html
    assert "too short &amp; old" in html and html == page(report)


def test_what_is_kept_is_found_again_only_for_the_same_base_commit_and_settings(
    tmp_path: Path,
) -> None:
    home, base = Home(tmp_path), Base(Path("b.gguf"), "a" * 64)
    kept, cell = Kept(home, base, "me/repo", "1" * 40, "digest"), Cell("both", 3, "next-3")
    assert cell not in kept and kept.marks(cell) == []
    kept.put(cell, marks("x."))
    assert kept.marks(cell) == marks("x.") and cell in kept
    others = [
        Kept(home, Base(Path("b.gguf"), "b" * 64), "me/repo", "1" * 40, "digest"),
        Kept(home, base, "me/repo", "2" * 40, "digest"),
        Kept(home, base, "me/repo", "1" * 40, "other"),
    ]
    assert not [other for other in others if cell in other]
    assert SMALL.digest() == ProofSettings(updates=2, samples=30, items=4, lines=2).digest()
    assert SMALL.digest() != ProofSettings(updates=2, samples=30, items=4, lines=3).digest()


def test_the_digest_covers_what_the_proof_imports_and_nothing_that_it_does_not() -> None:
    """Every module of ours that is loaded where updates and exams run is in the closure."""
    found, libraries = closure()
    script = (
        "import sys, neuralforge_trainer.evaluate.history.course,"
        " neuralforge_trainer.evaluate.history.one_update, neuralforge_server.engine.worker;"
        "print(*(n for n in sys.modules if n.startswith('neuralforge_')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    loaded = {name for name in done.stdout.split() if not _is_empty_package(name)}
    assert loaded and loaded <= found.keys()
    assert "neuralforge_trainer.update" in found, "imported later, in a function"
    assert not {name for name in found if ".cli." in name or ".pretrain" in name}
    assert {"torch", "llama_cpp_python", "datasketch", "tree-sitter-python"} <= libraries


def _is_empty_package(name: str) -> bool:
    source = Path(str(import_module(name).__file__))
    return source.name == "__init__.py" and meaning(source.read_text("utf-8")) == meaning("")


def test_only_what_a_module_does_counts() -> None:
    texts = ["a = 1\n", '"""One."""\na = 1  # one\n', "a = 2\n", "def f():\n    'two'\n    a = 1\n"]
    one, same, *others = map(meaning, texts)
    assert one == same and one not in others


def test_code_that_changes_under_a_run_stops_it_and_drops_what_is_not_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Base(Path("b.gguf"), "a" * 64)
    kept = Kept(Home(tmp_path), base, "me/repo", "1" * 40, SMALL.digest())
    plan = Plan("me/repo", "1" * 40, "A", None, ())  # type: ignore[arg-type]
    course = Course(base, plan, SMALL, kept, [], lambda _: None)
    before, after = Cell("base", 0, "next-1"), Cell("base", 0, "next-2")
    kept.put(before, marks("x"))
    course._settle()
    kept.put(after, marks("x"))
    monkeypatch.setattr(proof_settings, "code_digest", lambda: "another")
    with pytest.raises(CodeChangedError, match="copy of the code"):
        course._settle()
    assert before in kept and after not in kept
    kept.put(after, marks("x"))

    def fail(_self: Course) -> None:
        raise ProofError("the half-edited module cannot be imported")

    monkeypatch.setattr(Course, "_travel", fail)
    with pytest.raises(CodeChangedError):
        course.travel()
    assert after not in kept, "whatever ended it"


def test_one_history_that_fails_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(_travel: Travel, history: History) -> tuple[About, Answers]:
        if history.name == "me/bad":
            raise ProofError("update 3 of none ended with status 1")
        return About(history.name, "0" * 40, "A", []), answers(history.name, "x...", "xx..")

    monkeypatch.setattr(Travel, "one", one)
    base = Base(Path("b.gguf"), "f" * 64)
    travel = Travel(Home(tmp_path), base, SMALL, ["both"], None)
    histories = [History(name, "") for name in ("me/one", "me/bad", "me/two")]
    seen: list[int] = []
    report = travel.all(histories, lambda grown: seen.append(len(grown.figures)))
    assert [figure.name for figure in report.figures] == ["me/one", "me/two"]
    assert report.missing == {"me/bad": "update 3 of none ended with status 1"}
    assert seen == [1, 2], "written as it grows"
    with pytest.raises(NothingToLearnError, match="me/bad: update 3"):
        travel.all([histories[1], histories[1]])

    def full(_report: Report) -> None:
        raise HomeError("no room for the report")

    with pytest.raises(HomeError):
        travel.all(histories, full)

    def changed(_travel: Travel, _history: History) -> tuple[About, Answers]:
        raise CodeChangedError("edited")

    monkeypatch.setattr(Travel, "one", changed)
    with pytest.raises(CodeChangedError):
        travel.all(histories)


def test_a_window_in_which_nothing_is_asked_or_typed_leaves_its_systems_out(tmp_path: Path) -> None:
    kept = Kept(Home(tmp_path), Base(Path("b.gguf"), "a" * 64), "me/repo", "1" * 40, "digest")
    for system, updates in (("base", 0), ("both", 1), ("both", 2)):
        for window in (1, 2) if system == "base" else (updates,):
            for aid in ("", "-aided"):
                asked = marks("x.") if window == 1 else []
                kept.put(Cell(system, updates, f"next-{window}{aid}"), asked)
            kept.put(Cell(system, updates, f"typed-{window}"), [])
    kept.put(Cell("joint", 2, "next-2"), [])
    found = collect_answers("me/repo", kept, 2, ["both", "joint"], "both")
    one = figures("me/repo", found)
    assert [(row.system, list(row.windows)) for row in one.systems] == [
        ("base", [1]), ("both", [1]), ("base", [1]), ("both", [1])
    ]  # fmt: skip
    assert one.typing == [] and one.forgetting == []


def test_lists_of_histories_are_checked_and_clones_are_found(tmp_path: Path) -> None:
    (tmp_path / "name" / "objects").mkdir(parents=True)
    place = tmp_path / "list.yaml"
    place.write_text("- {name: owner/name, commit: abc, learners: [both, joint]}\n", "utf-8")
    (entry,) = read_set(place)
    assert (entry.name, entry.commit, entry.learners) == ("owner/name", "abc", ["both", "joint"])
    assert find_clone(entry, tmp_path, Home(tmp_path / "home")) == tmp_path / "name"
    for text in ("{}", "- {url: x}", "- {name: a/b, colour: red}", "- {name: a, learners: [x]}"):
        place.write_text(text, "utf-8")
        with pytest.raises(ProofError):
            read_set(place)
    assert [e.name for e in named([tmp_path / "x" / "repo", tmp_path / "x"], None)] == ["x", "x#2"]


def test_the_list_of_the_table_names_ten_histories_of_different_authors() -> None:
    from neuralforge_trainer.evaluate import history

    entries = read_set(Path(history.__file__).with_name("histories.yaml"))
    assert len(entries) >= 10 and len({entry.author for entry in entries}) == len(entries)
    assert {"python", "typescript"} <= {name for entry in entries for name in entry.languages}
    assert all(len(e.commit) == 40 and e.commits >= 200 and e.samples >= 3000 for e in entries)
