"""VS Code (code-server) and a headless Chromium to look at it with, from npm.

Install scripts are left out: what they would compile (spdlog, kerberos and the like) is optional
when it runs, and the rest ships built.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from e2e.install.cache import InstallError, installed, run
from e2e.install.node import Node, node

_CODE_SERVER, _CHROMIUM = "4.139.1", "153.0.0"
_UNUSED = (
    "extensions/copilot",
    "extensions/github-authentication",
    "extensions/mermaid-markdown-features",
    "extensions/microsoft-authentication",
    "extensions/ms-vscode.js-debug",
)
"""Parts of VS Code that no test needs, a third of its size."""
_UNPACK = "import c from '@sparticuz/chromium'; console.log(await c.executablePath())"


@dataclass(frozen=True)
class VSCode:
    """The programs of an installed VS Code."""

    node: Path
    entry: Path
    """The script that Node.js starts code-server by."""
    chromium: Path


def vscode() -> VSCode:
    """VS Code and a Chromium, installed.

    Raises:
        InstallError: they cannot be had for this machine.
    """
    if sys.platform != "linux":
        raise InstallError("code-server and its Chromium are installed on Linux only")
    javascript = node()
    server = installed(f"code-server-{_CODE_SERVER}", lambda folder: _server(folder, javascript))
    browser = installed(f"chromium-{_CHROMIUM}", lambda folder: _chromium(folder, javascript))
    return VSCode(
        javascript.program,
        server / "node_modules/code-server/out/node/entry.js",
        browser / "unpacked/chromium",
    )


def _server(folder: Path, javascript: Node) -> None:
    _package(folder, javascript, f"code-server@{_CODE_SERVER}")
    code = folder / "node_modules/code-server/lib/vscode"
    javascript.npm(["install", "--omit=dev", "--ignore-scripts"], code)
    for part in _UNUSED:
        shutil.rmtree(code / part, ignore_errors=True)


def _chromium(folder: Path, javascript: Node) -> None:
    _package(folder, javascript, f"@sparticuz/chromium@{_CHROMIUM}")
    (folder / "unpacked").mkdir()
    environment = javascript.environment | {"TMPDIR": str(folder / "unpacked")}
    run([javascript.program, "--input-type=module", "--eval", _UNPACK], folder, environment)
    shutil.rmtree(folder / "node_modules")
    program = folder / "unpacked/chromium"
    try:
        run([program, "--version"])
    except InstallError as error:
        raise InstallError(f"{error}; on Debian: apt-get install libnss3") from error


def _package(folder: Path, javascript: Node, package: str) -> None:
    (folder / "package.json").write_text(json.dumps({"private": True}))
    javascript.npm(["install", "--ignore-scripts", package], folder)
