"""Up to which commit each repository's history was learnt.

Invariant: the file is replaced in one step, after a version was published. Knows no repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuralforge_adapters.home import Home, read_json, write_json
from neuralforge_trainer.samples.git import CommitChange


def learnt_repositories(home: Home) -> list[str]:
    """The repositories that were ever learnt from."""
    return list(_read(home))


def learnt_until(home: Home, repository: str) -> float:
    """The time (Unix seconds) of the newest commit learnt; 0 for none."""
    entry = _read(home).get(repository)
    return float(entry.get("time", 0.0)) if isinstance(entry, dict) else 0.0


def set_learnt(home: Home, repository: str, newest: CommitChange) -> None:
    """Note that everything up to `newest` was learnt."""
    entry = {repository: {"time": newest.time, "commit": newest.commit}}
    write_json(_file(home), _read(home) | entry)


def _read(home: Home) -> dict[str, Any]:
    content = read_json(_file(home))
    return content if isinstance(content, dict) else {}


def _file(home: Home) -> Path:
    return home.profile_dir / "trained.json"
