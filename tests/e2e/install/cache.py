"""The folder that installed programs are kept in, and the running of installers.

Invariant: a folder counts as installed only once its installer has ended well; of several workers
one installs, and the others wait for it. Knows no program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import platformdirs
from filelock import FileLock

CACHE_VARIABLE = "NEURALFORGE_E2E_CACHE"
_READY = "READY"
_SECONDS = 900.0


class InstallError(Exception):
    """A program cannot be had on this machine; the message says what was tried."""


def cache_folder() -> Path:
    """Outside of any checkout, so that it serves them all."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("neuralforge") / "e2e"


def installed(name: str, install: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, filled by `install` unless it was before.

    Args:
        name: of the program with its version.

    Raises:
        InstallError: `install` did not end well; what it left is deleted.
    """
    folder = cache_folder() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):
        if not (folder / _READY).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            (folder / _READY).touch()
    return folder


def run(
    command: Sequence[str | Path],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What a program of an installer prints.

    Raises:
        InstallError: there is no such program, or it failed; with the end of what it said.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=os.environ | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except FileNotFoundError as error:
        raise InstallError(f"{words[0]} is not on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{' '.join(words[:4])}… took more than {_SECONDS:g} s") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip()[-600:]
        raise InstallError(f"{' '.join(words[:4])}… failed: {said}") from error
    return done.stdout


def pip_install(requirement: str, folder: Path) -> None:
    """Put a package of the Python index, without what it depends on, into a folder.

    Raises:
        InstallError: it cannot be had.
    """
    import sys

    options = ("--quiet", "--no-deps", "--disable-pip-version-check", "--target", folder)
    run([sys.executable, "-m", "pip", "install", *options, requirement])
