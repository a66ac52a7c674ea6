"""What was learnt: each repository's history up to some commits, and which datasets.

Invariant: the files are replaced in one step, after a version was published. A dataset is told by
its content alone, whatever its name. Knows no repository and no sample.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from neuralforge_adapters.home import Home, read_json, write_json
from neuralforge_trainer.samples.git import CommitChange
from neuralforge_trainer.samples.selection import Selection


def learnt_repositories(home: Home) -> list[str]:
    """The repositories that were ever learnt from."""
    return list(_read(home))


def learnt_until(home: Home, repository: str) -> float:
    """The time (Unix seconds) of the newest commit learnt; 0 for none."""
    entry = _read(home).get(repository)
    return float(entry.get("time", 0.0)) if isinstance(entry, dict) else 0.0


def learnt_commits(home: Home, repository: str) -> list[str]:
    """The commits up to which the history was learnt, with all that they build on."""
    return _commits(_read(home).get(repository))


def learnt_elsewhere(home: Home, repository: str) -> list[str]:
    """The same of other folders, which may be worktrees or clones of this one."""
    others = [entry for name, entry in _read(home).items() if name != repository]
    return [commit for entry in others for commit in _commits(entry)]


def learnt_without(home: Home, repository: str) -> tuple[str, ...]:
    """The patterns of files that were left out when the history was learnt last."""
    entry = _read(home).get(repository)
    patterns = entry.get("exclude") if isinstance(entry, dict) else None
    return tuple(map(str, patterns)) if isinstance(patterns, list) else ()


def set_learnt(
    home: Home,
    repository: str,
    newest: CommitChange,
    heads: Sequence[str],
    exclude: Sequence[str],
) -> None:
    """Note that `newest`, `heads` and everything that these build on was learnt, but for the
    files that `exclude` names."""
    until = max(newest.time, learnt_until(home, repository))  # a branch merged late is older
    commits = {"time": until, "commit": newest.commit, "heads": list(heads)}
    write_json(_file(home), _read(home) | {repository: {**commits, "exclude": list(exclude)}})


def is_dataset_learnt(home: Home, digest: str, selection: Selection) -> bool:
    """Whether the dataset of that SHA-256 was learnt whole, or by the same selection."""
    return any(
        entry["selection"] in (_described(Selection()), _described(selection))
        for entry in _read_datasets(home)
        if entry["digest"] == digest
    )


def set_datasets_learnt(home: Home, datasets: Mapping[str, str], selection: Selection) -> None:
    """Note that datasets, names by SHA-256, were learnt as far as `selection` admits."""
    chosen = _described(selection)
    new = [
        {"digest": digest, "name": name, "selection": chosen, "time": time.time()}
        for digest, name in datasets.items()
    ]
    write_json(_datasets_file(home), [*_read_datasets(home), *new])


def _commits(entry: object) -> list[str]:
    """The commits that an entry names; what is damaged is left out."""
    if not isinstance(entry, dict):
        return []
    heads = entry.get("heads")
    named = [entry.get("commit"), *(heads if isinstance(heads, list) else [])]
    return [commit for commit in map(str, named) if re.fullmatch("[0-9a-f]{40}", commit)]


def _described(selection: Selection) -> dict[str, Any]:
    """As it comes back from JSON."""
    described: dict[str, Any] = json.loads(json.dumps(asdict(selection)))
    return described


def _read_datasets(home: Home) -> list[dict[str, Any]]:
    """Oldest first; what is damaged is left out."""
    content = read_json(_datasets_file(home))
    entries = content if isinstance(content, list) else []
    return [e for e in entries if isinstance(e, dict) and {"digest", "selection"} <= e.keys()]


def _datasets_file(home: Home) -> Path:
    return home.profile_dir / "trained-datasets.json"


def _read(home: Home) -> dict[str, Any]:
    content = read_json(_file(home))
    return content if isinstance(content, dict) else {}


def _file(home: Home) -> Path:
    return home.profile_dir / "trained.json"
