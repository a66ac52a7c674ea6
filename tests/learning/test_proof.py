"""The proof on a toy: real updates and engines, the same figures again, also after a kill.

The base has one layer of random weights and the history is the house-style repository, so the
figures themselves say nothing; that they agree does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from gguf_maker import make_base
from neuralforge_adapters.home import HOME_VARIABLE, Home
from neuralforge_adapters.store import PERSONAL, AdapterStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


LEARNER = "both"


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "small.gguf"
    return make_base(path, layers=1, width=64, heads=2, kv_heads=1, hidden=64, vocabulary=12288)


class Proof:
    """The command on one repository and base, with a home of its own."""

    def __init__(self, folder: Path, repository: Path, base: Path, *learners: str) -> None:
        self.output = folder / "out"
        self.home = folder / "home"
        numbers = {"updates": 2, "samples": 64, "items": 2, "lines": 1, "general": 2, "threads": 1}
        options = [word for name, n in numbers.items() for word in (f"--{name}", str(n))]
        self._command = [
            *(sys.executable, "-P", "-m", "neuralforge_trainer.evaluate.history"),
            *(str(repository), "--base", str(base), "--output", str(self.output), *options),
            *(word for learner in learners for word in ("--learner", learner)),
        ]

    def start(self) -> subprocess.Popen[str]:
        environment = os.environ | {HOME_VARIABLE: str(self.home)}
        return subprocess.Popen(
            self._command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill_after(self, words: str) -> None:
        """Start, and `kill -9` with all children as soon as it says `words`."""
        with self.start() as process:
            assert process.stderr is not None
            assert any(words in line for line in process.stderr)
            family = psutil.Process(process.pid)
            for member in [*family.children(recursive=True), family]:
                member.kill()

    def finish(self) -> dict[str, Any]:
        with self.start() as process:
            _, errors = process.communicate()
        assert process.returncode == 0, errors
        report: dict[str, Any] = json.loads((self.output / "replay.json").read_text("utf-8"))
        return report

    def kept(self) -> dict[str, bytes]:
        """Everything measured, but for what updates cost."""
        root = self.home / "cache" / "proof"
        files = [p for p in root.rglob("*.json") if "learners" not in p.parts]
        return {"/".join(p.parts[-2:]): p.read_bytes() for p in files if p.stem != "cost"}


@dataclass(frozen=True)
class Ended:
    """A run that was killed after its first update and went on."""

    proof: Proof
    before: dict[str, bytes]
    """Kept when it was killed."""
    report: dict[str, Any]


@pytest.fixture(scope="module")
def ended(
    small_base: Path, house_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Ended:
    folder = tmp_path_factory.mktemp("ended")
    proof = Proof(folder, house_repository, small_base, LEARNER, "joint")
    proof.kill_after("1 of 2 updates")
    return Ended(proof, proof.kept(), proof.finish())


def test_a_run_killed_between_updates_measures_what_one_that_was_not_does(
    ended: Ended, small_base: Path, house_repository: Path, tmp_path: Path
) -> None:
    whole = Proof(tmp_path, house_repository, small_base, LEARNER)
    report, found = whole.finish(), ended.proof.kept()
    assert ended.before and ended.before.items() < found.items(), "killed on its way"
    kept = whole.kept()
    assert {name: found[name] for name in kept} == kept
    assert {name.partition("-")[0] for name in found.keys() - kept.keys()} == {"joint"}
    theirs = [row for row in ended.report["overall"]["systems"] if row["system"] != "joint"]
    assert theirs == report["overall"]["systems"]
    assert ended.report["comparisons"] == report["comparisons"]


def test_the_report_holds_every_system_its_costs_and_the_goals(ended: Ended) -> None:
    report = ended.report
    (one,) = report["figures"]
    names = {(row["system"], row["aided"]) for row in one["systems"]}
    assert names == {
        ("copier", False),
        *((name, aided) for name in ("base", LEARNER, "joint") for aided in (False, True)),
    }
    by_name = {(row["system"], row["aided"]): row for row in one["systems"]}
    assert list(by_name[LEARNER, True]["windows"]) == ["1", "2"]
    assert list(by_name["joint", True]["windows"]) == ["2"], "asked when it knows all before"
    assert {row["learner"]: row["bwt"] is None for row in one["forgetting"]} == {
        LEARNER: False,
        "joint": True,
    }
    spent = report["overall"]["spent"]
    assert [row["updates"] for row in spent] == [2, 1]
    assert [list(row["each"]) for row in spent] == [["1", "2"], ["2"]]
    updates = [row for learner in spent for row in (learner, *learner["each"].values())]
    assert all(row["seconds"] > 0 and row["peak_bytes"] > 100_000_000 for row in updates)
    assert len(report["goals"]) == 6


def test_an_update_goes_on_from_the_one_before_and_joint_learns_all_at_once(ended: Ended) -> None:
    (folder,) = ended.proof.home.glob("cache/proof/*/*/*/learners")
    versions = {
        name: AdapterStore(Home(folder / name / "home")).get(PERSONAL).manifest
        for name in (f"{LEARNER}-2", "joint-2")
    }
    assert versions[f"{LEARNER}-2"].parent == f"{PERSONAL}@v0001"
    assert versions["joint-2"].parent is None
    costs = {
        name: json.loads((folder.parent / name / "cost.json").read_text("utf-8"))[0]
        for name in (f"{LEARNER}-1", f"{LEARNER}-2", "joint-2")
    }
    first, second, joint = costs.values()
    assert first["replayed"] == joint["replayed"] == 0 < second["replayed"]
    assert joint["new"] == first["new"] + second["new"]


def test_the_page_needs_nothing_else_and_the_plots_lie_beside_the_markdown(ended: Ended) -> None:
    output = ended.proof.output
    page = (output / "replay.html").read_text("utf-8")
    assert page.count("<svg") == 8 and "http://www.w3.org" in page
    assert not [word for word in ("<script", "src=", "@import") if word in page]
    text = (output / "replay.md").read_text("utf-8")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 8
    assert all((output / name).read_text("utf-8").startswith("<svg") for name in pictures)
