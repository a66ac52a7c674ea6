"""Packages of another Debian suite, unpacked with all that they need into a folder.

apt-get does it with an index, a status and a cache of its own, so that the machine's packages are
neither used nor changed; signatures are checked by Debian's keyring. Needs no root.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from e2e.install.cache import InstallError, run

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def unpack(folder: Path, suite: str, package: str) -> list[str]:
    """Unpack `package` of `suite` into `folder`/root; returns the files' names with versions.

    Raises:
        InstallError: this is no Debian, or a package cannot be had.
    """
    if not _KEYRING.is_file():
        raise InstallError(f"{_KEYRING} is missing: Debian's packages cannot be verified here")
    apt = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial", "debs"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    source = f"deb [arch=amd64 signed-by={_KEYRING}] {_mirror()} {suite} main\n"
    (apt / "sources.list").write_text(source)
    apt_get = ["apt-get", *_options(apt)]
    run([*apt_get, "--quiet=2", "update"])
    planned = run([*apt_get, "--simulate", "install", package])
    wanted = [f"{name}={version}" for name, version in _INSTALLED.findall(planned)]
    run([*apt_get, "--quiet=2", "download", *wanted], apt / "debs")
    files = sorted((apt / "debs").glob("*.deb"))
    for file in files:
        run(["dpkg-deb", "--extract", file, folder / "root"])
    shutil.rmtree(apt)
    return [file.stem for file in files]


_INSTALLED = re.compile(r"^Inst (\S+) \((\S+)", re.MULTILINE)


def _mirror() -> str:
    """The mirror that this machine gets Debian from.

    Raises:
        InstallError: its sources name none.
    """
    listed = run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"])
    sites = [site for site in listed.splitlines() if site.rstrip("/").endswith("debian")]
    if not sites:
        raise InstallError("apt's sources name no mirror of Debian: add one to sources.list")
    return sites[0]


def _options(apt: Path) -> list[str]:
    values = {
        "Dir::State": apt,
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "APT::Install-Recommends": "false",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "1",
    }
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
