"""Keeps what is evaluated out of what is learned: by name, and by likeness to its files.

Invariant: a file whose path names a held-out project, or that is near to a file of a held-out
repository at any of several times of its history, never enters the corpus. Reads git objects only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from neuralforge_adapters.handwritten import is_own_path
from neuralforge_trainer.pretrain.clean import digest
from neuralforge_trainer.pretrain.config import CorpusConfig
from neuralforge_trainer.samples.near import NearDuplicates
from neuralforge_trainer.samples.repository import Repository, open_repository

_SNAPSHOTS = 4
"""States of each history that are compared, evenly spread, the newest among them."""
_PACKAGED = re.compile(r"^(python3|node|libjs)-|^@[^/]*/")
"""What a packager puts before a project's name."""


class Decontamination:
    """Answers whether a file of a package belongs to a held-out repository."""

    def __init__(
        self, config: CorpusConfig, clones: Sequence[Path], known: frozenset[str] = frozenset()
    ) -> None:
        self.found = set(known)
        """Digests of the texts that were held out by likeness, now or in an earlier build."""
        names = (name for entry in config.held_out for name in entry["names"].split())
        self._names = frozenset(name.lower() for name in names)
        self._near = NearDuplicates(config.similarity)
        for clone in clones:
            self._near.extend(history_texts(clone))

    def is_named(self, path: str, package: str = "") -> bool:
        """Whether the package, or a folder or module on `path`, is named as a held-out project."""
        parts = [*path.split("/"), _PACKAGED.sub("", package)]
        return any(part.lower().split(".")[0] in self._names for part in parts)

    def is_near(self, text: str) -> bool:
        """Whether `text` is near to a held-out file, or was in an earlier build."""
        key = digest(text)
        if key not in self.found and self._near.has(text):
            self.found.add(key)
        return key in self.found


def history_texts(clone: Path) -> Iterator[str]:
    """Code files of a repository at a few times, each distinct content once.

    Raises:
        RepositoryError: `clone` is no repository that can be read.
    """
    repository = open_repository(clone)
    seen: set[str] = set()
    for commit in _spread(repository):
        for path, blob in _blobs(repository, commit):
            if blob not in seen and is_own_path(path):
                seen.add(blob)
                text: str = repository.git.cat_file("blob", blob, strip_newline_in_stdout=False)
                yield text


def _spread(repository: Repository) -> list[str]:
    commits: list[str] = repository.git.rev_list("--first-parent", repository.head).split()
    step = max(1, len(commits) // _SNAPSHOTS)
    return commits[::step][:_SNAPSHOTS]


def _blobs(repository: Repository, commit: str) -> Iterator[tuple[str, str]]:
    for entry in repository.git.ls_tree("-r", "-z", commit).split("\0"):
        head, _, path = entry.partition("\t")
        fields = head.split()
        if len(fields) == 3 and fields[1] == "blob":
            yield path, fields[2]
