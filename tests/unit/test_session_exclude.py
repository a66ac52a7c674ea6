"""Files that must not be read are not, and git itself agrees about what it ignores."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from neuralforge_server.session.exclude import Exclusions, find_repository


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    git(tmp_path, "init", "-q", "-b", "main", str(root))
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m0")
    return root


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=False, capture_output=True, text=True
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def write(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "prod.env", "server.pem", "sub/tls.key", "id_rsa", "ID_RSA", ".netrc",
     ".pypirc", ".aws/credentials", ".ssh/config", "credentials.json", ".git/config", "a.p12"],
)  # fmt: skip
def test_files_that_hold_secrets_are_excluded_inside_and_outside_a_repository(
    repository: Path, tmp_path: Path, name: str
) -> None:
    exclusions = Exclusions()

    assert exclusions.is_excluded(repository / name)
    assert exclusions.is_excluded(tmp_path / "elsewhere" / name)


def test_ordinary_files_are_read_in_a_repository_and_out_of_one(
    repository: Path, tmp_path: Path
) -> None:
    exclusions = Exclusions()

    for name in (
        "main.py",
        "environment.py",
        "keyboard.c",
        "docs/secrets/how.md",
        "credentials/a.py",
        "credentials.py",
        ".environment/a.py",
    ):
        assert not exclusions.is_excluded(repository / name)
        assert not exclusions.is_excluded(tmp_path / "loose" / name)


def test_git_agrees_on_what_it_ignores(repository: Path) -> None:
    write(
        repository / ".gitignore", "build/\n*.log\n!keep.log\n/top.txt\ndocs/**/out\nsp ace\n#c\n"
    )
    write(repository / "sub/.gitignore", "!*.log\nlocal.*\n/only-here\n")
    write(repository / "build/.gitignore", "!taken-back.py\n")
    write(repository / ".git/info/exclude", "private/\n")
    names = [
        "a.py", "x.log", "keep.log", "top.txt", "sub/top.txt", "sub/x.log", "sub/local.py",
        "sub/deep/local.py", "sub/only-here", "sub/deep/only-here", "build/a.py",
        "build/taken-back.py", "sub/build/x/y.py", "docs/out", "docs/a/b/out", "docs/a/out/x.py",
        "private/a.py", "sub/private/b.py", "privately.py", "sp ace/x.py", "#c",
    ]  # fmt: skip
    for name in names:
        write(repository / name, "x")
    ignored = git(repository, "-c", "core.quotePath=off", "check-ignore", "--no-index", *names)
    exclusions = Exclusions()

    ours = [name for name in names if exclusions.is_excluded(repository / name)]

    assert ours == ignored.splitlines()
    assert len(ours) > 8  # git did answer


def test_a_changed_ignore_file_is_read_again(repository: Path) -> None:
    exclusions = Exclusions()
    target = repository / "sub/generated.py"
    assert not exclusions.is_excluded(target)

    write(repository / ".gitignore", "generated.py\n")
    assert exclusions.is_excluded(target)

    write(repository / ".gitignore", "others.py\n")
    assert not exclusions.is_excluded(target)

    write(repository / ".gitignore", "generated.*\n")
    assert exclusions.is_excluded(target)

    (repository / ".gitignore").unlink()
    assert not exclusions.is_excluded(target)


def test_the_users_own_list_is_gitignore_syntax(repository: Path, tmp_path: Path) -> None:
    exclusions = Exclusions(["secret-project/", "*.gen.py", "!tests.env"])

    assert exclusions.is_excluded(repository / "a/b.gen.py")
    assert exclusions.is_excluded(tmp_path / "secret-project/main.py")
    assert not exclusions.is_excluded(repository / "b.py")


def test_a_link_is_judged_by_where_it_leads(repository: Path) -> None:
    write(repository / ".env", "A=1")
    link = repository / "notes.txt"
    try:
        link.symlink_to(repository / ".env")
    except OSError:
        pytest.skip("this platform lets the user make no links")

    assert Exclusions().is_excluded(link)


def test_gits_own_user_wide_ignore_file_counts(repository: Path, tmp_path: Path) -> None:
    write(tmp_path / "config/git/ignore", "*.scratch\n")

    assert Exclusions().is_excluded(repository / "a.scratch")


def test_the_root_of_worktrees_and_submodules_is_found(repository: Path, tmp_path: Path) -> None:
    worktree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", str(worktree))
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add",
        str(repository), "vendor/inner")  # fmt: skip
    write(repository / ".git/info/exclude", "hidden.py\n")

    assert find_repository(repository / "a/b/c.py") == repository
    assert find_repository(worktree / "a.py") == worktree
    assert find_repository(repository / "vendor/inner/x.py") == repository / "vendor/inner"
    assert find_repository(tmp_path / "loose.py") is None
    assert Exclusions().is_excluded(worktree / "hidden.py")


def test_no_git_is_run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert Exclusions().is_excluded(repository / ".env")
    assert find_repository(repository) == repository
