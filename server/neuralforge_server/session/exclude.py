"""Which files are never read: those that hold secrets, those that git ignores, the user's own.

Invariant: in doubt a file is excluded; a file outside any repository is judged by the patterns
alone. Only files are looked at: no git runs, so that no repository's configuration is trusted,
and `core.excludesFile` is therefore unknown (git's default place for it is not). A tracked file
that matches an ignore pattern counts as ignored here. Knows no content of the files it judges.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

SECRET_FILES = (
    ".env*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ppk",
    "*.asc",
    "*.gpg",
    "*.tfstate",
    "*.tfstate.*",
    "*.tfvars",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".npmrc",
    ".pgpass",
    ".htpasswd",
    ".git-credentials",
    ".dockercfg",
    ".vault-token",
    "credentials",
    *(
        f"{name}.{kind}"
        for name in ("credentials", "secret", "secrets")
        for kind in ("json", "yaml", "yml", "toml", "ini", "xml", "csv", "txt", "db")
    ),
    "*service-account*.json",
)
"""Names (gitignore patterns) of files that hold secrets by their nature."""
SECRET_FOLDERS = frozenset({".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".git"})


class Exclusions:
    """The judgement of one user's settings; ignore files are read again when they change."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """`patterns`: the user's own, in gitignore syntax.

        They are matched against the path inside the repository and against the absolute path.
        """
        self._secret_files = GitIgnoreSpec.from_lines(SECRET_FILES)
        self._own = GitIgnoreSpec.from_lines(pattern.casefold() for pattern in patterns)
        self._ignore_files: dict[Path, tuple[tuple[int, int], GitIgnoreSpec | None]] = {}

    def is_excluded(self, path: Path) -> bool:
        """Whether the file at `path`, which need not exist, must not be read.

        A symbolic link is judged by its own name and by where it leads.
        """
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - keeps links, drops ".."
        return any(self._is_excluded(place) for place in {absolute, absolute.resolve()})

    def is_folder_excluded(self, folder: Path) -> bool:
        """Whether nothing inside `folder` may be read, so that a walk need not enter it.

        The user's own patterns count as far as they exclude the folder itself.
        """
        absolute = Path(os.path.abspath(folder))  # noqa: PTH100 - keeps links, drops ".."
        if SECRET_FOLDERS & {part.casefold() for part in absolute.parts}:
            return True
        root = find_repository(absolute)
        names = [absolute.relative_to(absolute.anchor)]
        names += [absolute.relative_to(root)] if root not in {None, absolute} else []
        if any(self._own.match_file(f"{name.as_posix().casefold()}/") for name in names):
            return True
        if root is None or root == absolute:
            return False
        return self._is_git_ignored(root, absolute, is_folder=True)

    def is_named(self, path: Path, root: Path | None) -> bool:
        """Whether the user's own patterns name the file at the absolute `path`, in the repository
        at `root`. No file is looked at."""
        whole = path.relative_to(path.anchor).as_posix()
        names = {whole} if root is None else {whole, path.relative_to(root).as_posix()}
        return any(self._own.match_file(place.casefold()) for place in names)

    def _is_excluded(self, path: Path) -> bool:
        # in lower case, since `.ENV` is the same file on the file systems of two platforms
        folders, name = path.parts[:-1], path.name.casefold()
        if SECRET_FOLDERS & {folder.casefold() for folder in folders}:
            return True
        if self._secret_files.match_file(name):
            return True
        root = find_repository(path)
        if self.is_named(path, root):
            return True
        return root is not None and self._is_git_ignored(root, path)

    def _is_git_ignored(self, root: Path, path: Path, *, is_folder: bool = False) -> bool:
        """As git: the file, or a folder that it lies in, which nothing inside can take back."""
        parts = path.relative_to(root).parts
        shared = [*map(self._spec, _shared_ignore_files(root))]
        specs: list[GitIgnoreSpec | None] = []
        for depth in range(1, len(parts) + 1):
            specs.append(self._spec(root.joinpath(*parts[: depth - 1], ".gitignore")))
            closing = "/" if is_folder or depth < len(parts) else ""
            names = ["/".join(parts[level:depth]) + closing for level in range(depth)]
            if _is_ignored(zip(specs, names, strict=True), shared, names[0]):
                return True
        return False

    def _spec(self, file: Path) -> GitIgnoreSpec | None:
        """The patterns in `file`; None where it is absent or cannot be read."""
        try:
            status = file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            known = self._ignore_files.get(file)
            if known is None or known[0] != stamp:
                lines = file.read_text("utf-8", errors="replace").splitlines()
                known = (stamp, GitIgnoreSpec.from_lines(lines))
                self._ignore_files[file] = known
        except OSError:
            self._ignore_files.pop(file, None)
            return None
        return known[1]


def find_repository(path: Path) -> Path | None:
    """The root folder of the repository that `path` lies in; None outside of any.

    In a linked worktree or a submodule `.git` is a file, and the root is its own folder.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - keeps links, drops ".."
    for folder in (absolute, *absolute.parents):
        if _git_dir(folder) is not None:
            return folder
    return None


def common_git_dir(root: Path) -> Path | None:
    """The folder that a repository and its linked worktrees share; None where `root` is none."""
    git_dir = _git_dir(root)
    return None if git_dir is None else _common_dir(git_dir).resolve()


def _is_ignored(
    own: Iterable[tuple[GitIgnoreSpec | None, str]],
    shared: Iterable[GitIgnoreSpec | None],
    name: str,
) -> bool:
    """The last matching pattern decides: the deepest .gitignore's, then the shared files'."""
    ordered = [*reversed(list(own)), *((spec, name) for spec in shared)]
    for spec, relative in ordered:
        verdict = None if spec is None else spec.check_file(relative).include
        if verdict is not None:
            return verdict
    return False


def _shared_ignore_files(root: Path) -> Iterator[Path]:
    git_dir = _git_dir(root)
    if git_dir is not None:
        yield _common_dir(git_dir) / "info" / "exclude"
    settings = os.environ.get("XDG_CONFIG_HOME")
    yield (Path(settings) if settings else Path.home() / ".config") / "git" / "ignore"


def _git_dir(folder: Path) -> Path | None:
    dot_git = folder / ".git"
    if (dot_git / "HEAD").is_file():
        return dot_git
    content = _read_line(dot_git)
    if content is None or not content.startswith("gitdir:"):
        return None
    return folder / content.removeprefix("gitdir:").strip()


def _common_dir(git_dir: Path) -> Path:
    """Of a linked worktree, the main repository's folder, where info/exclude lies."""
    content = _read_line(git_dir / "commondir")
    return git_dir if content is None else git_dir / content.strip()


def _read_line(file: Path) -> str | None:
    try:
        if not file.is_file():
            return None
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.readline(4096)
    except OSError:
        return None
