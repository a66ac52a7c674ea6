"""A repository whose history goes on during a test.

Invariant: what is committed later is what the repository's own author wrote next. Knows nothing
of who learns from it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

AUTHOR = "Ada House <ada@example.com>"


def older_clone(repository: Path, folder: Path, commits: int) -> Path:
    """A clone of the newest `commits`, in which HEAD stands at the oldest third of them."""
    source = repository.as_uri()
    _git(folder.parent, "clone", "--quiet", "--depth", str(commits), source, str(folder))
    _git(folder, "config", "user.email", "ada@example.com")
    _git(folder, "branch", "--quiet", "newest")
    _git(folder, "reset", "--quiet", "--hard", f"HEAD~{2 * commits // 3}")
    return folder


def commit_the_rest(repository: Path) -> None:
    """What the author wrote next, commit by commit, made now."""
    for revision in _git(repository, "rev-list", "--reverse", "HEAD..newest").split():
        _git(repository, "checkout", "--quiet", revision, "--", ".")
        _git(repository, "commit", "--quiet", "--message", "Work", "--author", AUTHOR)


def _git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=House Author", "-c", "user.email=house@example.com"]
    done = subprocess.run(["git", *name, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
