"""Emacs for terminals, as Debian stable has it, started where it was unpacked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from e2e.install.cache import InstallError, installed
from e2e.install.debian import unpack

_UNUSED = ("usr/include", "usr/lib/gcc", "usr/libexec/gcc", "usr/share/doc", "usr/share/man")


def emacs() -> Path:
    """The folder that Emacs and its libraries were unpacked into.

    Raises:
        InstallError: there is none for this machine.
    """
    if sys.platform != "linux":
        raise InstallError("Emacs is installed on Linux only")
    return installed("emacs-nox-stable", _unpack) / "root"


def run_batch(
    root: Path, script: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Let the Emacs in `root` run a script without a terminal.

    Started by the loader it finds neither its dump nor its Lisp, so it is told where they lie.
    """
    (dump,) = root.glob("usr/libexec/emacs/*/*/emacs-*.pdmp")
    (shared,) = root.glob("usr/share/emacs/[0-9]*")
    loader = [root / "usr/lib64/ld-linux-x86-64.so.2"]
    libraries = ["--library-path", root / "usr/lib/x86_64-linux-gnu"]
    program = [root / "usr/bin/emacs-nox", f"--dump-file={dump}", "--batch", "--load", script]
    folders = {
        "EMACSLOADPATH": str(shared / "lisp"),
        "EMACSDATA": str(shared / "etc"),
        "EMACSDOC": str(shared / "etc"),
        "EMACSPATH": str(dump.parent),
    }
    return subprocess.run(
        [*loader, *libraries, *program],
        env={**environment, **folders},
        capture_output=True,
        text=True,
        timeout=240,
    )


def _unpack(folder: Path) -> None:
    unpack(folder, "stable", "emacs-nox")
    for unused in _UNUSED:
        shutil.rmtree(folder / "root" / unused, ignore_errors=True)
