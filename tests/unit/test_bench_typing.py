"""The typing benchmark at toy length: its traces, its judgement, and one run over real stdio.

llama-server's side is played too where `python tests/llama_server.py` has built one; where there
is none, only the comparison is left out.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench_typing import Setup, measure, play_all
from git_maker import GitMaker, isolate
from llama_server import cached_llama_server
from llama_vim import _without_repetition
from neuralforge_adapters.base import embedded_base
from typing_figures import Spent, compare, fits, needed, result
from typing_players import Stroke, Usage
from typing_trace import Text, Trace, make_trace

BEFORE = "import os\n\n\ndef first(path):\n    return os.path.dirname(path)\n\n\nOLD = 1\n"
AFTER = (
    "import os\n\n\ndef first(path):\n    return os.path.dirname(path)\n\n\n"
    "def second(path):\n    if path:\n        return os.path.basename(path)\n\n    return None\n"
    "\n\nNEW = 2\n"
)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    maker = GitMaker(tmp_path / "project")
    for content in (BEFORE, AFTER):
        maker.write({"paths.py": content, "other.py": "x = 1\n"})
        maker.git("add", "--all")
        maker.git("commit", "--quiet", "--message", "more")
    return maker.root


def played(trace: Trace) -> str:
    """The text after the last segment."""
    text = Text(trace.segments[0].before)
    for segment in trace.segments:
        assert str(text) == segment.before
        for key in segment.keys:
            text.apply(key.start, key.end, key.text)
    return str(text)


def test_a_trace_types_a_commit_out_to_its_very_text(repository: Path) -> None:
    for seed in range(20):  # typos and pauses differ
        trace = make_trace(repository, 1000.0, seed)
        assert trace.segments[0].before == BEFORE
        assert played(trace) == AFTER


def test_a_trace_is_typed_as_people_type(repository: Path) -> None:
    keys = make_trace(repository, 1000.0, 3).segments[-1].keys
    gaps = [b.at - a.at for a, b in itertools.pairwise(keys)]
    assert all(gap >= 0 for gap in gaps)
    assert 0.1 < sorted(gaps)[len(gaps) // 2] < 0.25
    lengths = [len(key.text) for key in keys if key.typed and "\n" not in key.text]
    assert max(lengths) <= 4, "one key is one character, or one step of indentation"


def test_what_is_ahead_is_what_will_be_typed(repository: Path) -> None:
    for segment in make_trace(repository, 1000.0, 1).segments:
        text = Text(segment.before)
        for key in segment.keys:
            row, column = text.apply(key.start, key.end, key.text)
            if key.ahead:
                there = text.lines[row][:column]
                blank = key.ahead.startswith("\n") and not there.strip()
                assert ("" if blank else there) + key.ahead in AFTER, key


def test_a_trace_is_the_same_for_the_same_seed_and_survives_its_file(
    repository: Path, tmp_path: Path
) -> None:
    trace = make_trace(repository, 1000.0, 5)
    assert trace == make_trace(repository, 1000.0, 5) != make_trace(repository, 1000.0, 6)
    trace.write(tmp_path / "trace.json")
    assert Trace.read(tmp_path / "trace.json") == trace


@pytest.mark.parametrize(
    ("ahead", "need"),
    [
        ("return value\n", "retu"),
        ("x)\n    y = 2", "x)"),
        (" = [1, 2]", " = [1,"),
        ("\n    return x", "\n    retu"),
        ("", ""),
        ("  \n", ""),
    ],
)
def test_a_fitting_text_agrees_with_what_comes(ahead: str, need: str) -> None:
    assert needed(ahead) == need
    if need:
        assert fits(need + "whatever", need)
        assert not fits(need[:-1] + "~", need)
        assert not fits(None, need)


def test_typed_through_text_is_told_from_computed() -> None:
    strokes = [
        Stroke("a", "bcdef", 0.0, "bcdef", 0.030),
        Stroke("b", "cdef", 1.0, "cdef", 0.002),
        Stroke("c", "def", 2.0, "elta", 0.040),
        Stroke("d", "ef", 3.0),
    ]
    figures = result("us", strokes, Spent(40, 4, 2), Usage(2.0, 3_000_000))
    assert (figures.computed.count, figures.typed_through.count) == (2, 1)
    assert figures.computed.p95 == pytest.approx(40)
    assert figures.coverage == 0.5
    assert figures.visible == 0.75
    assert (figures.tokens_per_keystroke, figures.thrown_away) == (10, 0.5)


def test_ratios_do_not_count_at_lower_coverage() -> None:
    good = [Stroke("a", "bcdef", 0.0, "bcdef", 0.030)]
    bad = [Stroke("a", "bcdef", 0.0, "wrong", 0.300)]
    spent, usage = Spent(1, 1, 1), Usage(1.0, 1)
    ours, theirs = (result("x", strokes, spent, usage) for strokes in (good, bad))
    assert compare(ours, theirs)["met"]["computed_p50_ms"]
    assert not compare(theirs, ours)["counts"]
    assert not any(compare(theirs, ours)["met"].values())


def test_llama_vim_drops_what_stands_below() -> None:
    lines = ["a = 1", "", "b = 2", "c = 3"]
    assert _without_repetition(["b = 2"], "", "", lines, 1) == [""]
    assert _without_repetition(["b = 2", "c = 3"], "", "", lines, 1) == [""]
    assert _without_repetition(["b = 7"], "", "", lines, 1) == ["b = 7"]


async def test_both_systems_are_played_the_same_keys(repository: Path, tmp_path: Path) -> None:
    trace = make_trace(repository, 8.0, 2)
    binary = cached_llama_server()
    found = binary if binary.exists() else None
    setup = Setup("toy", embedded_base(), threads=1, speed=4.0)
    results = await play_all(trace, setup, repository, found, tmp_path)
    assert [r.system for r in results] == ["neuralforge", "llama-server"][: 1 + bool(found)]
    for figures in results:
        assert figures.keystrokes == trace.keystrokes > 5
        assert figures.runs > 0
        assert figures.tokens_per_keystroke > 0
        assert figures.cpu_seconds > 0
        assert figures.peak_megabytes > 20


async def test_the_report_is_json_and_says_what_was_played(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = make_trace(repository, 4.0, 2)
    options = SimpleNamespace(
        alone=True, base=["embedded"], threads=1, speed=4.0, repository=repository, no_fold=True
    )
    report = json.loads(json.dumps(await measure(trace, options)))  # type: ignore[arg-type]
    assert report["trace"]["keystrokes"] == trace.keystrokes
    (run,) = report["runs"]
    assert run["comparison"] is None
    assert run["systems"][0]["system"] == "neuralforge"
