"""Installs every editor and says where each lies; status 1 where one cannot be had."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from e2e.install.cache import InstallError
from e2e.install.emacs import emacs
from e2e.install.extension import vsix
from e2e.install.neovim import neovim, old_neovim
from e2e.install.vscode import vscode


def main() -> int:
    """Install all; one that fails does not keep the others."""
    programs: dict[str, Callable[[], Path]] = {
        "Neovim": neovim,
        "Neovim 0.11": old_neovim,
        "VS Code": lambda: vscode().entry,
        "the extension": vsix,
        "Emacs": emacs,
    }
    failed = 0
    for name, install in programs.items():
        began = time.monotonic()
        try:
            print(f"{name}: {install()} ({time.monotonic() - began:.0f} s)")
        except InstallError as error:
            failed = 1
            print(f"{name}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
