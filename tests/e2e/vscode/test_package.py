"""VS Code: the extension's own checks, and what its users download."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from e2e.install.extension import SOURCE
from e2e.install.node import node

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("script", ["lint", "test"])
def test_the_sources_pass_their_checks(vsix: Path, script: str) -> None:
    node().npm(["run", script], SOURCE)


def test_the_package_is_small_and_holds_what_runs_alone(vsix: Path) -> None:
    assert vsix.stat().st_size <= 1_000_000
    names = {name.removeprefix("extension/") for name in zipfile.ZipFile(vsix).namelist()}
    assert {"dist/extension.js", "dist/client.js", "package.json"} <= names
    unwanted = ("src/", "test/", "node_modules/", "out/")
    assert [name for name in names if name.startswith(unwanted) or name.endswith(".map")] == []
