"""Where the indexes of a workspace lie, and how they are forgotten.

Invariant: context database and fast memory of one folder have the same key, whichever link the
folder was opened by; forgetting deletes both, and what an interrupted forgetting left.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from neuralforge_adapters.home import Home
from neuralforge_server.errors import ContextIndexError

DATABASE_SUFFIXES = ("-wal", "-shm", "")
"""The database itself last: a write-ahead log must never be left beside a new one."""


def workspace_key(workspace: Path) -> str:
    """A name that tells a reader which folder is meant, and another folder from it."""
    resolved = workspace.resolve()
    digest = hashlib.sha256(str(resolved).encode("utf-8", "surrogateescape")).hexdigest()
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", resolved.name)[:40]
    return f"{name or 'root'}-{digest[:16]}"


def context_file(home: Home, workspace: Path) -> Path:
    """The SQLite file with the chunks of a workspace."""
    return home.indexes / "context" / f"{workspace_key(workspace)}.db"


def memory_folder(home: Home, base_digest: str, workspace: Path) -> Path:
    """The folder of the fast memory's segments, as tokens of one base, of a workspace."""
    return home.indexes / "memory" / base_digest[:16] / workspace_key(workspace)


def lock_file(home: Home, workspace: Path) -> Path:
    """Held by the one process that writes the indexes of a workspace."""
    return context_file(home, workspace).with_suffix(".lock")


def damage_mark(file: Path) -> Path:
    """A reader that finds an index damaged leaves this file, for the writer to replace both."""
    return file.with_suffix(".damaged")


def forget(home: Home, repository: Path) -> bool:
    """Delete the indexes of a folder, of every base; whether there were any.

    An indexer at work on it notices and begins anew; where nothing of it may come back, stop
    the indexer first.

    Raises:
        ContextIndexError: a file cannot be deleted (on Windows while a process has it open).
    """
    database = context_file(home, repository)
    files = [Path(f"{database}{suffix}") for suffix in DATABASE_SUFFIXES]
    files.append(damage_mark(database))
    folders = [*(home.indexes / "memory").glob(f"*/{workspace_key(repository)}")]
    found = bool(folders) or any(file.exists() for file in files)
    try:
        for file in files:
            file.unlink(missing_ok=True)
        for folder in folders:
            shutil.rmtree(folder)
    except OSError as error:
        raise ContextIndexError(
            f"the index of {repository} is not forgotten: {error}; "
            "close the editors that have it open and try again"
        ) from error
    return found
