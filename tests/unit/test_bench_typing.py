"""The typing benchmark at toy length: its traces, its judgement, and one run over real stdio.

llama-server's side is played too where `python tests/llama_server.py` has built one; where there
is none, only the comparison is left out.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench_typing import Setup, measure, peers, play_all
from gguf_maker import make_base
from git_maker import GitMaker, isolate
from llama_prompt import Infill, OwnOrder
from llama_server import KernelsDifferError, cached_llama_server, check_kernels
from llama_vim import _without_repetition
from neuralforge_adapters.base import embedded_base
from typing_figures import Spent, Tally, compare, figures, fits, needed, summary
from typing_players import Stroke
from typing_report import markdown
from typing_trace import Text, Trace, make_trace, write_tree

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
    segments = make_trace(repository, 1000.0, 3).segments
    keys = [key for segment in segments for key in segment.keys]
    gaps = [b.at - a.at for s in segments for a, b in itertools.pairwise(s.keys)]
    assert all(gap >= 0 for gap in gaps)
    assert 0.1 < sorted(gaps)[len(gaps) // 2] < 0.25
    lengths = [len(key.text) for key in keys if key.typed and "\n" not in key.text]
    assert max(lengths) <= 4, "one key is one character, or one step of indentation"


def test_a_long_hunk_is_played_in_parts(repository: Path) -> None:
    segments = make_trace(repository, 1000.0, 3).segments
    assert len(segments) > 2, "two hunks"
    assert all(0 <= s.keys[0].at <= s.seconds < 20 for s in segments)


def test_several_commits_share_a_trace(repository: Path) -> None:
    whole = make_trace(repository, 1000.0, 3)
    short = make_trace(repository, 20.0, 3)
    assert sum(s.seconds for s in short.segments) <= 15 < sum(s.seconds for s in whole.segments)


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


def test_a_tree_is_changed_only_where_it_differs(repository: Path, tmp_path: Path) -> None:
    commit = GitMaker(repository).git("rev-parse", "HEAD").strip()
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "gone.py").write_text("x\n", "utf-8")
    (folder / "paths.py").write_text(AFTER, "utf-8")
    (folder / "other.py").write_text("x = 1\n", "utf-8")
    before = (folder / "other.py").stat()
    write_tree(repository, commit, folder)
    assert {p.name: p.read_text("utf-8") for p in folder.iterdir()} == {
        "paths.py": BEFORE,
        "other.py": "x = 1\n",
    }
    assert (folder / "other.py").stat().st_mtime_ns == before.st_mtime_ns


def test_typed_through_text_is_told_from_computed() -> None:
    strokes = [
        Stroke("a", "bcdef", 0.0, "bcdef", 0.030),
        Stroke("b", "cdef", 1.0, "cdef", 0.002),
        Stroke("c", "def", 2.0, "elta", 0.040),
        Stroke("d", "ef", 3.0),
    ]
    found = figures([Tally(strokes, Spent(40, 4, 2, 2.0))])
    assert (found["computed_count"], found["typed_through_count"]) == (2, 1)
    assert found["computed_p95"] == pytest.approx(40)
    assert found["coverage"] == 0.5
    assert found["visible"] == 0.75
    assert (found["tokens_per_keystroke"], found["thrown_away"]) == (10, 0.5)


def segments(text: str, seconds: float) -> list[Tally]:
    """Three segments of one keystroke, the last one twice as slow and dear."""
    return [
        Tally([Stroke("a", "bcdef", 0.0, text, seconds * n)], Spent(10 * n, 1, 1, 1.0 * n))
        for n in (1, 1, 2)
    ]


def verdicts(comparison: dict[str, Any]) -> set[str]:
    return {ratio["verdict"] for ratio in comparison["ratios"].values()}


def test_ratios_do_not_count_at_lower_coverage() -> None:
    good, bad = segments("bcdef", 0.030), segments("wrong", 0.300)
    compared = compare(good, bad, "coverage")
    assert compared["ratios"]["computed_p50"]["verdict"] == "met"
    assert compared["ratios"]["cpu_seconds"]["verdict"] == "missed"
    assert verdicts(compare(bad, good, "coverage")) == {"does not count"}
    assert verdicts(compare(bad, good, "visible")) == {"missed"}


def test_a_ratio_to_nothing_is_not_measured() -> None:
    silent = [Tally([Stroke("a", "bcdef", 0.0)], Spent(0, 0, 0, 0.0))] * 3
    ours = segments("bcdef", 0.03)
    assert verdicts(compare(ours, silent, "coverage")) == {"not measured"}
    spent = [Tally([Stroke("a", "bcdef", 0.0)], Spent(10, 1, 0, 1.0))] * 3
    costs = compare(spent, spent, "coverage")["ratios"]
    assert costs["cpu_seconds"]["verdict"] == "does not count", "neither shows any text"


def test_intervals_are_over_segments_the_same_for_both_sides() -> None:
    ours, theirs = segments("bcdef", 0.030), segments("bcdef", 0.060)
    cost = summary(ours)["tokens_per_keystroke"]
    assert cost["value"] == pytest.approx(40 / 3)
    assert cost["interval"] == pytest.approx((10, 20))
    ratio = compare(ours, theirs, "coverage")["ratios"]["computed_p50"]
    assert ratio["interval"] == pytest.approx((0.5, 0.5)), "what varies in both is no spread"
    assert summary(ours[:1])["tokens_per_keystroke"]["interval"] is None


def test_the_own_order_is_the_suffix_first_and_keeps_its_head_while_one_types() -> None:
    own = OwnOrder(embedded_base(), context=1024, batch=512, predict=128)
    above, below = "import os\n\n\ndef join(a, b):\n", "\n\nx = 1\n"
    chunks = [{"text": "def other():\n    pass\n", "filename": "other.py"}]
    first, second = (
        own.fields(above, line, below, chunks, "here.py")["prompt"]
        for line in ("    return os", "    return os.")
    )
    assert second[: len(first)] == first, "a keystroke only appends"
    empty = own.fields("", "", "", chunks, "here.py")["prompt"]
    prefix, suffix, middle = empty[-3:]
    front = first[: first.index(prefix)]
    assert front == empty[:-3]
    assert first.index(suffix) < first.index(middle)
    assert Infill().fields("a", "b", "c", chunks, "here.py")["prompt"] == "b"


def test_the_own_order_fits_the_context_whatever_it_is_given() -> None:
    own = OwnOrder(embedded_base(), context=1024, batch=512, predict=128)
    lines = "".join(f"value_{n} = {n}\n" for n in range(2000))
    chunks = [{"text": lines, "filename": "long.py"}] * 3
    prompt = own.fields(lines, "y = " + "z1 " * 2000, lines, chunks, "here.py")["prompt"]
    assert 700 < len(prompt) <= 1024 - 128


def test_another_order_is_played_only_for_a_base_that_has_one(tmp_path: Path) -> None:
    path = tmp_path / "random.gguf"
    random = make_base(path, layers=1, width=64, heads=2, kv_heads=1, hidden=64, vocabulary=12_288)
    assert peers(Setup("random", random, 1, 1.0)) == ["llama-server"]
    assert peers(Setup("embedded", embedded_base(), 1, 1.0)) == [
        "llama-server",
        "llama-server-own-order",
    ]


def test_a_binary_with_other_kernels_is_refused(tmp_path: Path) -> None:
    """A stand-in for one built for another CPU: only its line on the system counts."""
    if os.name == "nt":
        pytest.skip("a script stands in for the binary")
    import llama_cpp

    info = llama_cpp.llama_print_system_info().decode()
    binary = tmp_path / "llama-server"
    for said, refused in ((info, False), (info + "AVX9 = 1 | ", True)):
        binary.write_text(f"#!/bin/sh\necho 'system_info: n_threads = 1 / 2 | {said}'\n")
        binary.chmod(0o700)
        if refused:
            with pytest.raises(KernelsDifferError, match="AVX9"):
                check_kernels(binary)
        else:
            check_kernels(binary)


def test_llama_vim_drops_what_stands_below() -> None:
    lines = ["a = 1", "", "b = 2", "c = 3"]
    assert _without_repetition(["b = 2"], "", "", lines, 1) == [""]
    assert _without_repetition(["b = 2", "c = 3"], "", "", lines, 1) == [""]
    assert _without_repetition(["b = 7"], "", "", lines, 1) == ["b = 7"]


async def test_all_systems_are_played_the_same_keys(repository: Path, tmp_path: Path) -> None:
    trace = make_trace(repository, 8.0, 2)
    binary = cached_llama_server()
    found = binary if binary.exists() else None
    setup = Setup("toy", embedded_base(), threads=1, speed=4.0)
    run = await play_all(trace, setup, repository, found, tmp_path)
    names = [system["system"] for system in run["systems"]]
    assert names == ["neuralforge", *(peers(setup) if found else [])]
    assert [one["peer"] for one in run["comparisons"]] == names[1:]
    for system in run["systems"]:
        values = {name: figure["value"] for name, figure in system["figures"].items()}
        assert sum(s["keystrokes"] for s in system["segments"]) == trace.keystrokes > 5
        assert values["runs"] > 0
        assert values["tokens_per_keystroke"] > 0
        assert values["cpu_seconds"] > 0
        assert system["peak_megabytes"] > 20


async def test_the_report_is_json_and_markdown_that_says_what_was_played(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = make_trace(repository, 4.0, 2)
    options = SimpleNamespace(
        alone=True, base=["embedded"], threads=1, speed=4.0, repository=repository, no_fold=True
    )
    report = json.loads(json.dumps(await measure(trace, options)))  # type: ignore[arg-type]
    assert report["trace"]["keystrokes"] == trace.keystrokes
    (run,) = report["runs"]
    assert run["comparisons"] == []
    assert run["systems"][0]["system"] == "neuralforge"
    text = markdown(report)
    assert f"{trace.keystrokes} keystrokes" in text
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert set(widths) == {3, 4}, "one system, and the goals in milliseconds"
