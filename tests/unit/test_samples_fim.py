"""Samples: where they are cut, that they are stable, and what form they are kept in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_adapters.fim import Window
from neuralforge_adapters.language import language_of
from neuralforge_server.session.rows import TrainingEvent
from neuralforge_trainer.errors import SampleFormatError
from neuralforge_trainer.samples import middles
from neuralforge_trainer.samples.dedup import Distinct, Passage, distinct
from neuralforge_trainer.samples.fim import samples_of
from neuralforge_trainer.samples.git import CommitChange, FileChange
from neuralforge_trainer.samples.lines import line_spans, split_lines, visible
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.session import samples_of_events
from neuralforge_trainer.samples.syntax import Tree

METHODS = """\
    def {name}(self, weight, height):
        if weight > self.weight:
            self.weight = max(weight, self.limit)
            return [self.weight, height * {number}]
        for part in self.parts:
            part.{name}(weight - {number}, height)
        return None
"""
CODE = "".join(METHODS.format(name=f"load_{n}", number=n) for n in range(6))
CODE = f"class Crane:\n{CODE}"

ABOVE = """\
    def bill(self, fees: list[Fee], year: int = 2024) -> float:
        self.log.debug("billing %s fees of %s", len(fees), year)
"""
SUM = "sum(fee.amount for fee in fees if fee.due)"
BELOW = "\n        return round(total * self.rate, 2)\n"
SAMPLE = Sample("a = ", "1 + 2", "\n", "python", "a.py", "repo", 7.5, "git", "c0ffee")


def change_of(text: str, *added: tuple[int, int]) -> CommitChange:
    return CommitChange("c0ffee", 7.0, (FileChange("a.py", "python", text, added),))


texts = st.lists(
    st.text(st.sampled_from("ab =()\té𝒳\f\u2028"), max_size=12), min_size=1, max_size=12
).flatmap(lambda parts: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(parts)))


@given(texts, st.integers(0, 5), st.data())
def test_a_middle_starts_on_an_added_line_and_stays_in_its_range(
    text: str, seed: int, data: st.DataObject
) -> None:
    spans = line_spans(text)
    first = data.draw(st.integers(0, len(spans) - 1))
    last = data.draw(st.integers(first, len(spans) - 1))
    for sample in samples_of(change_of(text, (first, last)), "repo", seed):
        assert sample.prefix + sample.middle + sample.suffix == text  # it is within the window
        start, end = len(sample.prefix), len(sample.prefix) + len(sample.middle)
        assert spans[first][0] <= start
        assert end <= spans[last][1]
        assert visible(sample.middle) >= 3
        assert sample.middle == sample.middle.rstrip()


def drawn_only(kind: str, monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """Samples of `CODE` with middles of one kind."""
    only = {name: float(name == kind) for name in middles.SHARES}
    monkeypatch.setattr(middles, "SHARES", only)
    change = change_of(CODE, (0, CODE.count("\n") - 1))
    return samples_of(change, "repo", seed=0, per_file=999, per_commit=999)


def ends_its_line(sample: Sample) -> bool:
    return sample.suffix[:1] in ("", "\n")


def test_the_rest_of_a_line_starts_anywhere_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = drawn_only("rest", monkeypatch)
    assert all(ends_its_line(s) and "\n" not in s.middle for s in drawn)
    assert len({len(s.prefix.rpartition("\n")[2]) for s in drawn}) > 20


def test_a_whole_line_and_a_block_start_around_the_indentation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind, lines in (("line", {1}), ("block", {1, 2, 3})):
        drawn = drawn_only(kind, monkeypatch)
        assert {len(split_lines(s.middle)) for s in drawn} == lines
        left = [s.prefix.rpartition("\n")[2] for s in drawn]
        assert {""} < set(left) and not any(part.strip() for part in left)
        assert all(map(ends_its_line, drawn))


def test_characters_end_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = drawn_only("characters", monkeypatch)
    assert sum(map(ends_its_line, drawn)) < len(drawn) / 2
    assert len({len(s.middle) for s in drawn}) > 20


def test_a_node_is_whole_and_may_be_a_block_of_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no node is the rest of a line, where none starts and ends within what was added."""
    drawn = drawn_only("node", monkeypatch)
    nodes = [s for s in drawn if not ends_its_line(s) or "\n" in s.middle]
    assert len(nodes) > len(drawn) / 4
    assert max(len(split_lines(s.middle)) for s in nodes) > 3
    known = {s.middle for s in nodes}
    assert "(self, weight, height)" in known
    for sample in nodes:
        at = CODE.index(sample.prefix) + len(sample.prefix)
        spans = Tree(CODE, "python").nodes_at(at)
        assert sample.middle in {CODE[slice(*span)].rstrip() for span in spans}


def test_a_node_never_goes_on_into_what_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middles, "SHARES", {"node": 1.0})
    for seed in range(40):  # of the method only its head was added
        (sample,) = samples_of(change_of(CODE, (1, 1)), "repo", seed)
        assert "\n" not in sample.middle
    whole = [samples_of(change_of(CODE, (1, 7)), "repo", seed)[0] for seed in range(40)]
    assert any(sample.middle.count("\n") == 6 for sample in whole)


def test_a_language_without_a_grammar_has_no_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middles, "SHARES", {"node": 1.0})
    change = CommitChange("c0ffee", 7.0, (FileChange("a.zig", "zig", CODE, ((0, 40),)),))
    drawn = samples_of(change, "repo", 0)
    assert drawn and all(ends_its_line(s) for s in drawn)


def test_a_sample_holds_the_served_window_and_no_more() -> None:
    text = "".join(f"    value_{number} = compute({number})\n" for number in range(999))
    window = Window()
    for sample in samples_of(change_of(text, (0, 998)), "repo", 0):
        start = text.index(sample.prefix + sample.middle) + len(sample.prefix)
        shown = window.cut_text(text[:start], text[start + len(sample.middle) :])
        assert (sample.prefix, sample.suffix) == shown
        assert window.cut_text(*shown) == shown  # what is shown is not cut again
        assert len(sample.prefix) < 2000


def test_the_same_seed_gives_the_same_samples_and_another_gives_others() -> None:
    change = change_of("".join(f"value_{number} = {number}\n" for number in range(30)), (0, 29))
    assert samples_of(change, "repo", 1) == samples_of(change, "repo", 1)
    assert samples_of(change, "repo", 1) != samples_of(change, "repo", 2)


def test_no_file_and_no_commit_dominates() -> None:
    text = "".join(f"value_{number} = {number}\n" for number in range(100))
    files = tuple(FileChange(f"{name}.py", "python", text, ((0, 99),)) for name in "abcdef")
    drawn = samples_of(CommitChange("c0ffee", 7.0, files), "repo", 0, per_file=10, per_commit=40)
    assert len(drawn) == 40
    counts = [sum(sample.path == file.path for sample in drawn) for file in files]
    assert max(counts) <= 10
    assert min(counts) > 0


def test_a_line_of_punctuation_is_never_asked_for() -> None:
    assert samples_of(change_of("})\n  ]\n", (0, 1)), "repo", 0) == []


def test_lines_end_as_in_the_language_server_protocol() -> None:
    assert split_lines("a\fb\u2028c\r\nd\re\n") == ["a\fb\u2028c", "d", "e", ""]
    assert line_spans("a\r\nbc\r") == [(0, 1), (3, 5), (6, 6)]


def test_a_sample_survives_its_json() -> None:
    for sample in (SAMPLE, replace(SAMPLE, middle="é\u2028𝒳\n", commit=None, source="session")):
        line = sample.to_json()
        assert "\n" not in line
        assert Sample.from_json(line) == sample


def test_a_foreign_sample_needs_only_context_completion_and_language() -> None:
    sample = Sample.from_json('{"context": "a = ", "completion": "1", "language": "python"}')
    assert sample == Sample("a = ", "1", "", "python", "", "", 0.0, "file")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not a line of JSON"),
        ("[]", "not a JSON object"),
        ('{"context": "", "language": "c"}', "'completion'"),
        ('{"context": 1, "completion": "", "language": "c"}', "'context'"),
        ('{"context": "", "completion": "", "language": "c", "time": "now"}', "'time'"),
        ('{"context": "", "completion": "", "language": "c", "source": "x"}', "'source'"),
    ],
)
def test_a_bad_sample_is_named(line: str, words: str) -> None:
    with pytest.raises(SampleFormatError, match=words):
        Sample.from_json(line)


def test_languages_are_the_protocols_and_prose_has_none() -> None:
    assert language_of("src/app.TSX") == "typescriptreact"
    assert language_of("deploy/Dockerfile") == "dockerfile"
    assert [language_of(name) for name in ("README.md", "a.json", ".py", "py")] == [None] * 4


def test_duplicates_go_and_the_first_stays() -> None:
    same = replace(SAMPLE, prefix="a  = ", middle="10 + 2", commit="beef", time=9.0)
    other_line = replace(SAMPLE, prefix="b = ")
    other_middle = replace(SAMPLE, middle="1 - 2")
    assert distinct([SAMPLE, same, other_line, other_middle]) == [SAMPLE, other_line, other_middle]


def test_moved_and_renamed_code_is_a_near_duplicate_and_the_next_line_is_not() -> None:
    first = replace(SAMPLE, prefix=f"{ABOVE}    total = ", middle=SUM, suffix=BELOW)
    second = replace(
        SAMPLE, prefix=f"{ABOVE}    total = {SUM}\n    return ", middle="total * 2", suffix="\n"
    )
    moved = "import json\n" * 9 + first.prefix.replace("billing", "sending")
    renamed = replace(first, prefix=moved)
    seen = Distinct()
    assert [seen.admits(s) for s in (first, second, renamed)] == [True, True, False]
    assert (seen.exact, seen.near) == (0, 1)
    assert seen.repeats(Passage.of(renamed))
    assert not seen.repeats(Passage.of(replace(renamed, middle="None", suffix="")))


def event(text: str) -> TrainingEvent:
    return TrainingEvent(
        id="1",
        kind="edit",
        created=5.0,
        path="/repo/src/a.py",
        repository="/repo",
        language="python",
        prefix="def f():",
        text=text,
        suffix="\n",
        rejected=None,
        retained=None,
    )


def test_a_short_edit_is_one_sample_without_the_line_ends_around_it() -> None:
    (sample,) = samples_of_events([event("\n    one = 1\n    return one\n\n")])
    assert sample.prefix == "def f():\n"
    assert sample.middle == "    one = 1\n    return one"
    assert sample.suffix == "\n\n\n"
    assert (sample.path, sample.source, sample.time) == ("src/a.py", "session", 5.0)


def test_a_long_edit_is_learned_line_by_line_and_punctuation_is_not() -> None:
    text = "".join(f"\n    line_{number}()" for number in range(40)) + "\n)"
    drawn = samples_of_events([event(text), event(")"), event("")])
    assert [sample.middle.strip() for sample in drawn] == [f"line_{n}()" for n in range(24)]
    assert all(s.prefix + s.middle + s.suffix == f"def f():{text}\n" for s in drawn)
