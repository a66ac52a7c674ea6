"""The manifest: which packages the corpus is made of, each with version, licence and checksum.

Invariant: what a build reads is what the manifest names, byte for byte; the manifest holds no
source text. It stands beside the run file, in the repository.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from neuralforge_adapters.base import file_digest
from neuralforge_adapters.home import read_json, write_json
from neuralforge_trainer.errors import CorpusError


@dataclass(frozen=True)
class Entry:
    """One package: how it is fetched, what it is, and what of it entered the corpus."""

    name: str
    kind: str
    """`package` (binary, with source inside), `source`, or `folder`."""
    version: str
    licence: str
    sha256: str
    """Of the file that the text was read from; empty for a folder."""
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Manifest:
    """The packages by name, and digests of the files that were held out by likeness.

    With the digests, a build without the held-out repositories leaves out the same files.
    """

    packages: dict[str, Entry] = field(default_factory=dict)
    held_out: frozenset[str] = frozenset()


def read_manifest(path: Path) -> Manifest:
    """The manifest in `path`; an empty one where there is none yet.

    Raises:
        CorpusError: the file is no manifest.
    """
    values = read_json(path)
    if values is None:
        return Manifest()
    try:
        packages = {value["name"]: Entry(**value) for value in values["packages"]}
        return Manifest(packages, frozenset(values["held_out"]))
    except (TypeError, KeyError) as error:
        raise CorpusError(f"{path} is no manifest ({error}); delete it and build again") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest, ordered by name."""
    ordered = sorted(manifest.packages.values(), key=lambda entry: entry.name)
    packages = [dataclasses.asdict(entry) for entry in ordered]
    write_json(path, {"held_out": sorted(manifest.held_out), "packages": packages})


def check_sum(file: Path, entry: Entry) -> None:
    """Compare a fetched file with the manifest.

    Raises:
        CorpusError: the checksum differs.
    """
    found = file_digest(file)
    if found != entry.sha256:
        raise CorpusError(
            f"{file.name} has the checksum {found[:12]}…, not {entry.sha256[:12]}… as the "
            "manifest says; delete it and fetch again, or renew the manifest"
        )
