"""The proof on a toy: real updates and engines, the same figures again, also after a kill.

The base has two layers of random weights and the history is the house-style repository, so the
figures themselves say nothing; that they agree does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from gguf_maker import make_base
from neuralforge_adapters.home import HOME_VARIABLE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "small.gguf"
    return make_base(path, layers=2, width=64, heads=2, kv_heads=1, hidden=128, vocabulary=12288)


class Proof:
    """The command on one repository and base, with a home of its own."""

    def __init__(self, folder: Path, repository: Path, base: Path) -> None:
        self.output = folder / "out"
        self.home = folder / "home"
        numbers = {"updates": 2, "samples": 96, "items": 3, "lines": 1, "general": 4, "threads": 1}
        options = [word for name, n in numbers.items() for word in (f"--{name}", str(n))]
        self._command = [
            *(sys.executable, "-P", "-m", "neuralforge_trainer.evaluate.history"),
            *(str(repository), "--base", str(base), "--output", str(self.output)),
            *("--learner", "both", "--learner", "joint", *options),
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


@pytest.fixture(scope="module")
def whole(
    small_base: Path, house_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Proof, dict[str, Any]]:
    proof = Proof(tmp_path_factory.mktemp("whole"), house_repository, small_base)
    return proof, proof.finish()


def test_a_run_killed_between_updates_goes_on_and_ends_with_the_same_report(
    whole: tuple[Proof, dict[str, Any]],
    small_base: Path,
    house_repository: Path,
    tmp_path: Path,
) -> None:
    first, expected = whole
    proof = Proof(tmp_path, house_repository, small_base)
    proof.kill_after("1 of 2 updates")
    before = proof.kept()
    assert before and len(before) < len(first.kept()), "killed on its way"
    found = proof.finish()
    assert proof.kept() == first.kept()
    for report in (expected, found):
        for one in (*report["figures"], report["overall"]):
            one.pop("spent", None)
    assert json.dumps(found) == json.dumps(expected)


def test_the_report_holds_every_system_its_costs_and_the_goals(
    whole: tuple[Proof, dict[str, Any]],
) -> None:
    proof, report = whole
    (one,) = report["figures"]
    names = {(row["system"], row["aided"]) for row in one["systems"]}
    assert names == {
        ("copier", False),
        *((name, aided) for name in ("base", "both", "joint") for aided in (False, True)),
    }
    by_name = {(row["system"], row["aided"]): row for row in one["systems"]}
    assert list(by_name["both", True]["windows"]) == ["1", "2"]
    assert list(by_name["joint", True]["windows"]) == ["2"], "asked when it knows all before"
    assert {row["learner"]: row["bwt"] is None for row in one["forgetting"]} == {
        "both": False,
        "joint": True,
    }
    spent = json.loads((proof.output / "replay.json").read_text("utf-8"))["overall"]["spent"]
    assert [row["updates"] for row in spent] == [2, 1]
    assert all(row["seconds"] > 0 and row["peak_bytes"] > 100_000_000 for row in spent)
    assert len(report["goals"]) == 6
    page = (proof.output / "replay.html").read_text("utf-8")
    assert page.count("<svg") == 6 and "http://www.w3.org" in page
    assert not [word for word in ("<script", "src=", "@import") if word in page]
