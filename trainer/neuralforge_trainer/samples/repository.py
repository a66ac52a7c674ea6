"""Opens a git repository so that nothing in it can run a program.

A repository's own configuration can name programs (fsmonitor, textconv, hooks, filters, gpg,
transports of a promisor remote, ...), and the list grows with git. So it is not overridden key
by key: the history is read through an empty git directory of our own, whose objects are the
repository's (GIT_OBJECT_DIRECTORY) and whose configuration is ours.

Invariant: no command that reads objects sees the repository's configuration, and nothing is
written into the repository. Knows nothing of authors, commits or samples.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from neuralforge_trainer.errors import (
    EmptyRepositoryError,
    GitMissingError,
    NotARepositoryError,
    RepositoryError,
    UntrustedRepositoryError,
)

if TYPE_CHECKING:
    from git.cmd import Git

# `git rev-parse --local-env-vars`: what a hook or an alias hands down about *its* repository
_LOCAL_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
_QUIET = {
    "GIT_ALLOW_PROTOCOL": "none",  # no transport, so no lazy fetch before git 2.45 either
    "GIT_ASKPASS": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
# for the few questions (rev-parse, config) that have to be asked inside the repository
_OVERRIDES = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.sshCommand": "false",
    "diff.external": "",
    "log.showSignature": "false",
}
_SHELL_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tbare = true
[mailmap]
\tblob = HEAD:.mailmap
"""


@dataclass(frozen=True)
class Identity:
    """Who git would name as the author of a commit made in the repository now."""

    name: str
    email: str


@dataclass(frozen=True, eq=False)
class Repository:
    """A repository's history, readable and inert.

    `root` is the working tree (the git directory of a bare repository); `shallow` holds the
    ids of the commits whose parents a shallow clone lacks; `git` runs commands on the history.
    """

    root: Path
    head: str
    shallow: frozenset[str]
    identity: Identity
    git: Git


@dataclass(frozen=True)
class _Place:
    """What `git rev-parse` tells about a repository."""

    root: Path
    objects: Path
    shallow: Path
    head: str


class _Answer(NamedTuple):
    status: int
    stdout: str
    stderr: str


def open_repository(path: Path, commit: str = "") -> Repository:
    """The repository that encloses `path`: also a worktree, a submodule or a bare repository.

    Its history ends with `commit`, or where none is given with the current branch's newest.

    Raises:
        GitMissingError: there is no git program.
        NotARepositoryError: `path` does not exist, or lies in no repository.
        UntrustedRepositoryError: another user owns the repository (git's safe.directory).
        EmptyRepositoryError: it has no commit.
        RepositoryError: it lacks `commit`, its object format is not sha1, or git refuses it
            otherwise; the message then holds git's own words.
    """
    folder = _existing_folder(path)
    command = _git_command()
    place = _find(folder, commit or "HEAD")
    shell = Path(tempfile.mkdtemp(prefix="neuralforge-git-"))
    boundary = _make_shell(shell, place)
    git = command(str(shell))
    git.update_environment(**_shell_environment(shell, place.objects))
    identity = Identity(_config(folder, "user.name"), _config(folder, "user.email"))
    repository = Repository(place.root, place.head, boundary, identity, git)
    weakref.finalize(repository, _discard, git, shell)
    return repository


def _git_command() -> type[Git]:
    try:
        from git import Git
    except ImportError as error:  # GitPython looks for the program when it is imported
        raise _git_missing() from error
    return Git


def _git_missing() -> GitMissingError:
    return GitMissingError(
        "the git program was not found; install git (https://git-scm.com) and put it on the PATH"
    )


def _existing_folder(path: Path) -> Path:
    path = path.expanduser().absolute()
    if not path.exists():
        raise NotARepositoryError(f"{path} does not exist; name the folder of a git repository")
    return path if path.is_dir() else path.parent


def _find(folder: Path, newest: str) -> _Place:
    asked = [
        "--show-object-format",
        "--git-path",
        "objects",
        "--git-path",
        "shallow",
        "--absolute-git-dir",
    ]
    answer = _ask(folder, "rev-parse", *asked)
    if answer.status:
        raise _refusal(folder, answer.stderr.strip())
    object_format, objects, shallow, git_dir = answer.stdout.splitlines()
    if object_format != "sha1":
        raise RepositoryError(
            f"the repository at {folder} names its objects by {object_format}, which GitPython "
            "cannot read yet; name a repository of the sha1 format"
        )
    wanted = f"{newest}^{{commit}}"
    head = _ask(folder, "rev-parse", "--verify", "--quiet", wanted).stdout.strip()
    if not head and newest != "HEAD":
        raise RepositoryError(
            f"the repository at {folder} has no commit {newest}; fetch it, or name another"
        )
    if not head:
        raise EmptyRepositoryError(
            f"the repository at {folder} has no commit on its current branch yet; "
            "commit some work, or name another repository"
        )
    top = _ask(folder, "rev-parse", "--show-toplevel").stdout.strip()
    return _Place(Path(top or git_dir), folder / objects, folder / shallow, head)


def _refusal(folder: Path, words: str) -> RepositoryError:
    if "dubious ownership" in words or "unsafe repository" in words:
        return UntrustedRepositoryError(
            f"the repository at {folder} belongs to another user, so git refuses it; "
            f'if you trust it: git config --global --add safe.directory "{folder}"'
        )
    if "not a git repository" in words:
        return NotARepositoryError(
            f"{folder} is in no git repository; name one, or run 'git init' and commit some work"
        )
    return RepositoryError(
        f"git cannot read the repository at {folder}: {words or 'no reason given'}"
    )


def _config(folder: Path, key: str) -> str:
    return _ask(folder, "config", "--get", key).stdout.strip()


def _ask(folder: Path, *arguments: str) -> _Answer:
    """Ask git where it can only be asked: inside the repository. These commands read no object."""
    from git.cmd import safer_popen

    environment = {k: v for k, v in os.environ.items() if k not in _LOCAL_VARIABLES} | _QUIET
    settings = [part for key, value in _OVERRIDES.items() for part in ("-c", f"{key}={value}")]
    try:
        process = safer_popen(  # on Windows it never takes a git.exe from the current folder
            ["git", *settings, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except FileNotFoundError as error:
        raise _git_missing() from error
    output, errors = process.communicate()
    return _Answer(process.returncode, output, errors)


def _make_shell(shell: Path, place: _Place) -> frozenset[str]:
    """Make `shell` the emptiest git directory that is one; returns the shallow boundary."""
    (shell / "refs").mkdir()
    (shell / "config").write_text(_SHELL_CONFIG, "ascii")
    (shell / "no-config").touch()
    (shell / "HEAD").write_text(place.head + "\n", "ascii")
    if not place.shallow.is_file():
        return frozenset()
    shutil.copyfile(place.shallow, shell / "shallow")
    return frozenset(place.shallow.read_text("ascii").split())


def _shell_environment(shell: Path, objects: Path) -> dict[str, str]:
    # GitPython adds to the inherited environment, so what must be gone is given an empty value
    return _QUIET | {
        "GIT_DIR": str(shell),
        "GIT_COMMON_DIR": str(shell),
        "GIT_OBJECT_DIRECTORY": str(objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(shell / "no-config"),
        "GIT_CONFIG_COUNT": "0",
        "GIT_CONFIG_PARAMETERS": "",
        "GIT_GRAFT_FILE": str(shell / "no-grafts"),
        "GIT_SHALLOW_FILE": str(shell / "shallow"),
        "GIT_NO_REPLACE_OBJECTS": "1",
    }


def _discard(git: Git, shell: Path) -> None:
    git.clear_cache()  # ends the cat-file processes, whose working folder `shell` is
    shutil.rmtree(shell, ignore_errors=True)
