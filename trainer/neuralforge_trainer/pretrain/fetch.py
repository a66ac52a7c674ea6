"""Fetches packages with apt and npm, from the archives that this machine is set up for.

Invariant: nothing is installed, unpacked or run, and the machine's own package state is neither
read nor changed: lists and downloads lie in the run's folder. Which server is asked is the
machine's configuration, never this project's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neuralforge_adapters.home import private_dir, write_atomic
from neuralforge_trainer.errors import CorpusError
from neuralforge_trainer.pretrain.config import RunConfig
from neuralforge_trainer.pretrain.manifest import Manifest

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_AT_ONCE = 25


@dataclass(frozen=True)
class Package:
    """A package of the run file, and the version that the manifest pins, if it does."""

    name: str
    kind: str
    version: str = ""

    @property
    def wanted(self) -> str:
        """As apt or npm wants it named."""
        sign = "@" if self.kind == "npm" else "="
        return f"{self.name}{sign}{self.version}" if self.version else self.name

    @property
    def stem(self) -> str:
        """What its file's name begins with, and its name where '/' cannot stand."""
        return self.name.removeprefix("@").replace("/", "-")


def packages_of(config: RunConfig, manifest: Manifest) -> list[Package]:
    """The run's packages, pinned where the manifest knows them."""
    found = []
    for group, names in config.corpus.packages.items():
        kind = group if group in ("source", "npm") else "package"
        for name in names:
            known = manifest.packages.get(name)
            found.append(Package(name, kind, known.version if known else ""))
    return found


def downloaded(folder: Path, package: Package) -> Path | None:
    """The file of `package` that holds its text, if it was fetched."""
    if package.kind == "source":
        files = sorted((folder / "sources" / package.name).glob("*.tar.*"))
        files = [file for file in files if not file.name.endswith(".asc")]
        upstream = [file for file in files if ".orig.tar." in file.name]
        return next(iter(upstream or [f for f in files if ".debian.tar." not in f.name]), None)
    pattern = f"{package.stem}-[0-9]*.tgz" if package.kind == "npm" else f"{package.stem}_*.deb"
    return next(iter(sorted((folder / "downloads").glob(pattern))), None)


def fetch(config: RunConfig, packages: Sequence[Package]) -> list[str]:
    """Download what is missing; returns the names of packages that could not be had.

    Raises:
        CorpusError: this machine has no apt, or apt cannot read the archive's lists.
    """
    folder = config.data_folder
    missing = [package for package in packages if downloaded(folder, package) is None]
    if not missing:
        return []
    target = private_dir(folder / "downloads")
    _fetch_npm(target, [package for package in missing if package.kind == "npm"])
    if any(package.kind != "npm" for package in missing):
        apt = _Apt(private_dir(folder / "apt"), config.corpus.suite)
        _fetch_binary(apt, target, [package for package in missing if package.kind == "package"])
        for package in (package for package in missing if package.kind == "source"):
            _fetch_source(apt, folder, package)
    return [package.name for package in missing if downloaded(folder, package) is None]


def _fetch_npm(target: Path, packages: Sequence[Package]) -> None:
    npm = shutil.which("npm")
    if packages and npm is None:
        raise CorpusError(
            "npm is not installed; install Node.js, or take `npm` out of the run file"
        )
    for package in packages:
        command = [str(npm), "pack", "--ignore-scripts", "--silent", package.wanted]
        subprocess.run(command, cwd=target, stdout=subprocess.DEVNULL, check=False)


def _fetch_binary(apt: _Apt, target: Path, packages: Sequence[Package]) -> None:
    """Many at once; one that is gone fails those with it, so what is left goes one by one."""
    for start in range(0, len(packages), _AT_ONCE):
        apt.run(target, "download", *(p.wanted for p in packages[start : start + _AT_ONCE]))
    for package in packages:
        if downloaded(target.parent, package) is None:
            _first(apt, target, "download", package)


def _fetch_source(apt: _Apt, folder: Path, package: Package) -> None:
    part = folder / "sources" / f".{package.stem}"
    shutil.rmtree(part, ignore_errors=True)
    if _first(apt, private_dir(part), "source", package):
        part.rename(folder / "sources" / package.name)
    else:
        shutil.rmtree(part)


def _first(apt: _Apt, folder: Path, command: str, package: Package) -> bool:
    """Fetch the pinned version, or the one that took its place: archives keep only the newest."""
    options = ["--download-only"] if command == "source" else []
    wanted = dict.fromkeys((package.wanted, package.name))
    return any(apt.run(folder, command, *options, name) == 0 for name in wanted)


class _Apt:
    """apt-get with lists and state of its own."""

    def __init__(self, state: Path, suite: str) -> None:
        if shutil.which("apt-get") is None:
            raise CorpusError(
                "the corpus is fetched with apt-get, which this machine lacks; build it on a "
                "Debian machine or container, or pass --folder with source code of your own"
            )
        for name in ("lists/partial", "cache/archives/partial"):
            private_dir(state / name)
        write_atomic(state / "status", "")
        write_atomic(state / "sources.list", _sources(suite))
        write_atomic(state / "apt.conf", _configuration(state))
        self._environment = os.environ | {"APT_CONFIG": str(state / "apt.conf")}
        if self.run(state, "update") != 0:
            raise CorpusError("apt-get update failed; look at the messages above and try again")

    def run(self, folder: Path, *arguments: str) -> int:
        """Run apt-get in `folder`; its messages go to stderr."""
        command = ["apt-get", "-qq", *arguments]
        return subprocess.run(command, cwd=folder, env=self._environment, check=False).returncode


def _sources(suite: str) -> str:
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    site = next((site for site in sites if site.rstrip("/").endswith("debian")), None)
    if site is None:
        raise CorpusError("apt on this machine knows no Debian archive; run on a Debian machine")
    lines = [f"{kind} [signed-by={_KEYRING}] {site} {suite} main" for kind in ("deb", "deb-src")]
    return "\n".join(lines) + "\n"


def _configuration(state: Path) -> str:
    settings = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "1",
    }
    return "".join(f'{key} "{value}";\n' for key, value in settings.items())
