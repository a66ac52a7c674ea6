"""Comparing bases on repositories: the questions, the figures, and that a trained base wins."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import neuralforge_server
from gguf_maker import make_base
from git_maker import GitMaker
from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.bases import BaseList, PulledBase
from neuralforge_adapters.errors import BaseFileError
from neuralforge_adapters.home import Home
from neuralforge_trainer.errors import NothingToLearnError
from neuralforge_trainer.evaluate.bases import (
    Answer,
    Question,
    ask,
    command,
    figures,
    markdown,
    questions,
)
from neuralforge_trainer.samples.repository import open_repository

CODE = Path(neuralforge_server.__file__).parent
FILES = ("documents.py", "framing.py", "settings.py", "transport.py")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = GitMaker(tmp_path_factory.mktemp("clones") / "asked")
    files = {f"src/{name}": (CODE / name).read_text("utf-8") for name in FILES}
    repository.commit({**files, "vendor/foreign.py": files["src/framing.py"], "notes.md": "no"})
    return repository.root


def test_questions_put_together_are_the_file_and_come_out_the_same_again(clone: Path) -> None:
    asked = questions([clone], 12, seed=1)
    texts = {(CODE / name).read_text("utf-8") for name in FILES}
    assert all(q.prefix + q.expected + q.suffix in texts for q in asked)
    assert asked == questions([clone], 12, seed=1) != questions([clone], 12, seed=2)
    for task in ("rest", "line", "block"):
        own = [q for q in asked if q.task == task]
        assert len(own) == 12 and len({q.file for q in own}) == len(FILES)
        assert all("vendor" not in q.file for q in own)
    assert all(q.prefix.endswith("\n") for q in asked if q.task == "line")
    assert all("\n" not in q.expected for q in asked if q.task != "block")


def test_a_repository_without_code_is_refused(tmp_path: Path) -> None:
    repository = GitMaker(tmp_path / "prose")
    repository.commit({"notes.md": "words\n" * 50})
    with pytest.raises(NothingToLearnError, match="--repository"):
        questions([repository.root], 5, seed=0)


def test_the_figures_are_those_computed_by_hand() -> None:
    asked = [
        Question("rest", "python", "a", "", "", ""),
        Question("rest", "python", "b", "", "", ""),
        Question("block", "python", "a", "", "", ""),
    ]
    answers = {
        "first": [Answer(0, True, True), Answer(1, True, False), Answer(2, True, None, 8.0, 4)],
        "second": [Answer(0, True, True), Answer(1, True, True), Answer(2, True, None, 4.0, 4)],
    }
    cells = {(c.base, c.language, c.task): c for c in figures(asked, answers, seed=0)}
    assert cells["first", "all", "rest"].value == 0.5
    hits = cells["second", "python", "rest"]
    assert (hits.ratio, hits.ratio_low, hits.ratio_high) == (2.0, 1.0, None)
    assert "2.00 (1.00–∞)" in markdown([hits], "By hand."), "the first may have none in a resample"
    assert (cells["first", "all", "rest"].low, cells["first", "all", "rest"].high) == (0.0, 1.0)
    bits = cells["second", "all", "block"]
    assert bits.value == pytest.approx(1 / math.log(2)) and bits.ratio == 0.5
    assert bits.low == bits.high == pytest.approx(bits.value)
    assert "| python | EM rest of line | yes | 2 | second | 100.0 % (100.0–100.0)" in markdown(
        list(cells.values()), "By hand."
    )


def test_a_trained_base_beats_a_random_one(clone: Path, base: Base, home: Home) -> None:
    shape = {"layers": 2, "width": 64, "heads": 2, "kv_heads": 1, "hidden": 128}
    path = make_base(home.root / "random.gguf", vocabulary=12288, **shape)
    asked = questions([clone], 6, seed=0)
    bases = (base, open_base(path, home))
    answers = {some.name: ask(some, asked, lambda _: None) for some in bases}
    cells = [c for c in figures(asked, answers, seed=0) if c.language == "all"]
    bits = {c.base: c for c in cells if c.task == "block" and c.with_suffix}
    assert bits[base.name].value < 2 < bits["random"].value
    assert (bits["random"].ratio_low or 0) > 1.5
    hits = {c.base: c.value for c in cells if c.task == "rest" and not c.with_suffix}
    assert hits["random"] == 0.0


def tiny(path: Path, width: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"layers": 1, "heads": 2, "kv_heads": 1, "hidden": 64}
    return make_base(path, width=width, vocabulary=12288, **shape)


def evaluate(clone: Path, *bases: str, output: Path | None = None) -> Result:
    words = [word for base in bases for word in ("--base", base)]
    words += ["--output", str(output)] if output else []
    return CliRunner().invoke(command, [*words, "--repository", str(clone), "--items", "1"])


def test_the_command_tells_bases_of_one_file_name_apart_and_knows_bases_by_name(
    clone: Path, tmp_path: Path, home: Home
) -> None:
    old, new = tiny(tmp_path / "old" / "embedded.gguf", 32), tiny(tmp_path / "other.gguf", 64)
    size = new.stat().st_size
    BaseList(home).add(PulledBase("pulled", str(new), "", size, "o/r", new.name, "c", True))
    report = tmp_path / "report.json"
    result = evaluate(clone, str(old), "embedded", "pulled", str(old), output=report)
    assert result.exit_code == 0, result.exception
    labels = list(dict.fromkeys(cell["base"] for cell in json.loads(report.read_text("utf-8"))))
    digests = (open_base(path, home).digest[:8] for path in (old, None))
    assert labels == [*(f"embedded ({digest})" for digest in digests), "other"]
    assert result.stdout.startswith(
        "By `neuralforge bases evaluate --items 1 --seed 0`: 3 questions, at most 1 of each kind "
        f"from each of the repositories {clone.parent.name}/asked at "
        f"{open_repository(clone).head[:12]}.\n\n| language |"
    )


def test_the_command_names_a_base_that_there_is_not(clone: Path) -> None:
    said = evaluate(clone, "nobody").exception
    assert isinstance(said, BaseFileError) and "neuralforge bases list" in str(said)
