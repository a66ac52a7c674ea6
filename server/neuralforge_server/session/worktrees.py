"""One repository in several places: its folder and the worktrees that are linked to it.

Invariant: no git runs and only git's own small files are read (gitrepository-layout(5)); what
cannot be read is left out. Knows no consent and no log.
"""

from __future__ import annotations

from pathlib import Path

from neuralforge_server.session.exclude import common_git_dir


def worktrees(repository: Path) -> list[Path]:
    """The root folders of a repository's worktrees, the given one first, the main one next.

    Args:
        repository: the root folder of any of them.
    """
    common = common_git_dir(repository)
    if common is None:
        return [repository]
    main = [common.parent] if common.name == ".git" else []
    linked = [_root(file) for file in sorted(common.glob("worktrees/*/gitdir"))]
    found = [repository.resolve(), *main, *(root for root in linked if root is not None)]
    return list(dict.fromkeys(path for path in found if path.is_dir()))


def _root(file: Path) -> Path | None:
    """The worktree that `<common>/worktrees/<name>/gitdir` names by its `.git` file."""
    try:
        named = file.read_text("utf-8", errors="replace").strip()
    except OSError:
        return None
    return (file.parent / named).resolve().parent if named else None
