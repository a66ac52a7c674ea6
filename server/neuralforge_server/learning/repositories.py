"""What the server must know of repositories to learn from them: where HEAD moves, what is new.

Invariant: no git runs and no configuration is read, so that nothing in a repository can make the
server do anything. What a training was already started for is kept in the profile, so that
neither a restart nor a second server starts it again. Knows no history.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neuralforge_adapters.home import Home, read_json, write_json
from neuralforge_server.learning.trigger import Job, commits_since

_REFLOG_BYTES = 1 << 18
"""Only the newest part of a long reflog is read."""


class Attempts:
    """For what trainings were started, and when."""

    def __init__(self, home: Home) -> None:
        self._file = home.profile_dir / "learning.json"

    def started(self, job: Job, new_samples: int) -> None:
        """Remember a start.

        Raises:
            HomeError: the disk is full or read-only.
        """
        if job.base is not None:
            return
        content = self._read()
        if job.repository is None:
            content["samples"] = new_samples
        else:
            content["repositories"][str(job.repository)] = time.time()
        write_json(self._file, content)

    def new_samples(self, count: int) -> int:
        """How many of `count` unused samples came since; those that were used lower the mark."""
        known: int = self._read()["samples"]
        return count - min(count, known)

    def new_commits(self, repositories: Iterable[Path]) -> dict[Path, int | None]:
        """Commits since the last start, by repository; None: there was none."""
        known = self._read()["repositories"]
        return {
            r: commits_since(read_reflog(r), known[str(r)]) if str(r) in known else None
            for r in repositories
        }

    def _read(self) -> dict[str, Any]:
        content = read_json(self._file)
        known = content if isinstance(content, dict) else {}
        samples, repositories = known.get("samples"), known.get("repositories")
        return {
            "samples": samples if isinstance(samples, int) else 0,
            "repositories": {
                name: when
                for name, when in (repositories if isinstance(repositories, dict) else {}).items()
                if isinstance(when, int | float)
            },
        }


def git_folder(repository: Path) -> Path:
    """Where HEAD lies: `.git`, or where that points in a worktree or a submodule."""
    dot_git = repository / ".git"
    try:
        if dot_git.is_file():
            with dot_git.open(encoding="utf-8", errors="replace") as file:
                return repository / file.readline(4096).removeprefix("gitdir:").strip()
    except OSError:
        pass
    return dot_git


def head_folders(repository: Path) -> list[Path]:
    """The folders in which a commit changes a file."""
    folder = git_folder(repository)
    return [folder, folder / "logs"]


def read_reflog(repository: Path) -> str:
    """The newest part of HEAD's log; empty where there is none."""
    try:
        with (git_folder(repository) / "logs" / "HEAD").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _REFLOG_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
