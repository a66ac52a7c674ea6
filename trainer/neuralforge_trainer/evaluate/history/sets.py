"""Lists of histories that a table is made of, chosen before any result is seen.

Invariant: an entry names a commit, so that a table can be made again from the same history.
Knows no figure.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from neuralforge_adapters.home import Home, private_dir
from neuralforge_trainer.errors import ProofError
from neuralforge_trainer.evaluate.history.settings import LEARNERS


@dataclass(frozen=True)
class History:
    """One entry. Counts are of the author's commits that add code, and of samples cut from them,
    duplicates included."""

    name: str
    """owner/name."""
    url: str = ""
    commit: str = ""
    """Where the history ends; empty for the current branch's newest."""
    author: str = ""
    languages: list[str] = field(default_factory=list)
    commits: int = 0
    samples: int = 0
    learners: list[str] = field(default_factory=list)
    """Of those that the command names, only these; empty for all."""
    clone: Path | None = None
    """Where it lies on this machine, if that is known."""


def read_set(path: Path) -> list[History]:
    """The entries of a YAML file: a list of objects with the fields of `History`.

    Raises:
        ProofError: it cannot be read, or an entry is not one.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ProofError(f"cannot read the list of histories {path}: {error}") from error
    if not isinstance(content, list) or not content:
        raise ProofError(f"{path} holds no list of histories; see evaluate/history/histories.yaml")
    return [_entry(path, fields_of) for fields_of in content]


def _entry(path: Path, content: Any) -> History:
    known = {f.name for f in fields(History)} - {"clone"}
    if not isinstance(content, dict) or not content.get("name"):
        raise ProofError(f"{path}: {content!r:.80} has no name; write owner/name")
    if unknown := sorted(set(content) - known):
        raise ProofError(f"{path}: {content['name']} has an unknown field {unknown[0]!r}")
    if bad := [name for name in content.get("learners", []) if name not in LEARNERS]:
        raise ProofError(f"{path}: {content['name']}: {bad[0]!r} is none of {', '.join(LEARNERS)}")
    return History(**content)


def find_clone(history: History, clones: Path | None, home: Home) -> Path:
    """The clone of an entry: below `clones` as owner/name, owner+name or name; else cloned anew.

    Raises:
        ProofError: it is not there and cannot be cloned.
    """
    if history.clone is not None:
        return history.clone
    owner, _, name = history.name.rpartition("/")
    if clones is not None:
        places = [clones / shape for shape in (f"{owner}/{name}", f"{owner}+{name}", name)]
        found = [place for place in [*places, *(p / "repo" for p in places)] if _is_git(place)]
        if not found:
            raise ProofError(f"no clone of {history.name} in {clones}; clone it there as {name}")
        return found[0]
    place = private_dir(home.cache / "histories") / f"{owner}+{name}"
    if not _is_git(place):
        _clone(history, place)
    return place


def _is_git(place: Path) -> bool:
    return (place / ".git").exists() or (place / "objects").is_dir()


def _clone(history: History, place: Path) -> None:
    arguments = ["git", "clone", "--quiet", "--bare", "--", history.url, str(place)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProofError(
            f"cannot clone {history.name} from {history.url}: {done.stderr.strip()[-300:]}; "
            "clone it by hand and name its folder with --clones"
        )


def named(paths: Sequence[Path], author: str | None) -> list[History]:
    """Entries for repositories on this machine, named by their folders, each differently."""
    entries: list[History] = []
    for path in paths:
        place = path.resolve()
        generic = place.name in ("repo", "repo.git", ".git")
        name = (place.parent if generic else place).name.removesuffix(".git") or "repository"
        same = sum(entry.name.partition("#")[0] == name for entry in entries)
        name = f"{name}#{same + 1}" if same else name
        entries.append(History(name, author=author or "", clone=place))
    return entries
