"""uv, from the wheel that carries its program."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from e2e.install.cache import installed, pip_install

VERSION = "0.13.8"


def uv_folder() -> Path:
    """The folder with the program, for a PATH.

    Raises:
        InstallError: it cannot be had.
    """
    return installed(f"uv-{VERSION}", partial(pip_install, f"uv=={VERSION}")) / "bin"
