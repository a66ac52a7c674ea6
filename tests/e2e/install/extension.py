"""Our extension for VS Code, packaged from the checkout as a user gets it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from filelock import FileLock

from e2e.install.node import Node, node

SOURCE = Path(__file__).parents[3] / "editor-clients/vscode"
_STAMP = "node_modules/.lockfile-digest"
_BUILT = (".ts", ".json", ".mjs", ".md", ".svg", ".png")


def vsix() -> Path:
    """The packaged extension, built anew where its sources have changed.

    Raises:
        InstallError: npm failed.
    """
    package, javascript = SOURCE / "neuralforge.vsix", node()
    with FileLock(SOURCE / ".build.lock"):
        _dependencies(javascript)
        if not package.exists() or package.stat().st_mtime < _newest_source():
            javascript.npm(["run", "package"], SOURCE)
    return package


def _dependencies(javascript: Node) -> None:
    digest = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    stamp = SOURCE / _STAMP
    if not stamp.exists() or stamp.read_text() != digest:
        javascript.npm(["ci", "--ignore-scripts"], SOURCE)
        stamp.write_text(digest)


def _newest_source() -> float:
    folders = [folder for folder in SOURCE.iterdir() if folder.name in ("src", "media")]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in _BUILT]
    files += [file for file in SOURCE.iterdir() if file.suffix in _BUILT]
    return max(file.stat().st_mtime for file in files)
