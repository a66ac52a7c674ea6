"""The wheel of this checkout, installed by pip from an index into an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from e2e.package_index import PackageIndex
from neuralforge_adapters.home import Home
from neuralforge_server.lsp_client import LspClient

pytestmark = pytest.mark.slow

TEXT = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"


@pytest.fixture(scope="module")
def installed(package_index: PackageIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `neuralforge` program of a fresh environment."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--no-warn-script-location"]
    subprocess.run([*pip, "--index-url", package_index.url, "neuralforge"], check=True)
    assert package_index.requests[0] == "/simple/neuralforge/"
    return programs / "neuralforge"


async def test_what_was_installed_serves_suggestions_with_the_embedded_base(
    installed: Path, home: Home, tmp_path: Path
) -> None:
    async with LspClient(home=home.root, command=[str(installed), "serve"]) as editor:
        await editor.initialize()
        uri = (tmp_path / "a.py").as_uri()
        editor.open(
            uri, "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"
        )
        (item,) = await editor.complete(uri, (5, 17))
    assert item["insertText"].strip()


def test_doctor_says_what_training_needs_and_that_the_rest_works(installed: Path) -> None:
    done = subprocess.run([installed, "doctor", "--json"], capture_output=True, text=True)
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert not findings["training"]["ok"] and "torch" in findings["training"]["detail"]
    assert "extra `train`" in findings["training"]["advice"]
    assert all(findings[check]["ok"] for check in ("python", "home", "engine", "stack", "log"))


def test_training_without_its_packages_says_how_to_get_them(installed: Path) -> None:
    done = subprocess.run([installed, "train", "--session"], capture_output=True, text=True)
    assert done.returncode != 0 and "extra `train`" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_interpreter_is_not_this_one(installed: Path) -> None:
    said = subprocess.run(
        [installed.with_name("python"), "-c", "import neuralforge_server as n; print(n.__file__)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert Path(said.strip()).is_relative_to(installed.parents[1]) and sys.prefix not in said
