"""The programs that end-to-end tests drive, each installed once, and what they are given to do.

Where a program cannot be had, its tests are skipped with the reason, or fail under `make e2e`,
which sets `NEURALFORGE_E2E_REQUIRED`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

from e2e.install.cache import InstallError, cache_folder
from e2e.install.extension import vsix as packaged
from e2e.install.neovim import neovim, old_neovim
from e2e.install.uv import uv_folder as uv
from e2e.install.vscode import VSCode, vscode
from e2e.package_index import PackageIndex, build_wheels

REQUIRED = "NEURALFORGE_E2E_REQUIRED"

_Program = TypeVar("_Program")


def had(install: Callable[[], _Program]) -> _Program:
    """What an installer gives; skips the test where that cannot be had."""
    try:
        return install()
    except InstallError as error:
        if os.environ.get(REQUIRED):
            raise
        pytest.skip(f"cannot be had here: {error}")


@pytest.fixture(scope="session")
def nvim_program() -> Path:
    """Neovim 0.12 or newer."""
    return had(neovim)


@pytest.fixture(scope="session")
def old_nvim_program() -> Path:
    """Neovim 0.11, which has no inline completion of its own."""
    return had(old_neovim)


@pytest.fixture(scope="session")
def vscode_program() -> VSCode:
    """VS Code, as code-server, and a Chromium."""
    return had(vscode)


@pytest.fixture(scope="session")
def uv_folder() -> Path:
    """The folder that uv's program lies in."""
    return had(uv)


@pytest.fixture(scope="session")
def vsix() -> Path:
    """Our extension for VS Code, built from the checkout."""
    return had(packaged)


@pytest.fixture(scope="session")
def package_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    """A package index on loopback that holds the wheel of this checkout."""
    wheels = tmp_path_factory.mktemp("wheels")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_folder() / ".wheels.lock"):  # the first build compiles, the next do not
        build_wheels(wheels)
    with PackageIndex(wheels) as index:
        yield index


@pytest.fixture(scope="session")
def house_repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with a style of its own, large enough to learn from."""
    from neuralforge_trainer.house_style import make_repository

    root = tmp_path_factory.mktemp("house")
    (root / "no-gitconfig").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(root / "no-gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        make_repository(root / "repository", commits=60)
        yield root / "repository"
