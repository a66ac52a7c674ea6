"""Opening repositories: each bad one is named, and none can run anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from git_maker import ADA, GitMaker, isolate
from neuralforge_trainer.errors import (
    EmptyRepositoryError,
    NotARepositoryError,
    RepositoryError,
    UntrustedRepositoryError,
)
from neuralforge_trainer.samples.git import CommitChange, choose_author, user_commits
from neuralforge_trainer.samples.repository import open_repository


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def maker(tmp_path: Path) -> GitMaker:
    return GitMaker(tmp_path / "repo")


def walk(path: Path) -> list[CommitChange]:
    repository = open_repository(path)
    return list(user_commits(repository, choose_author(repository).author))


def test_a_missing_folder_and_one_outside_any_repository_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(NotARepositoryError, match=path.name):
            open_repository(path)


def test_a_repository_without_commits_is_named(maker: GitMaker) -> None:
    with pytest.raises(EmptyRepositoryError, match="no commit"):
        open_repository(maker.root)


def test_a_machine_without_git_is_told_to_install_it(maker: GitMaker) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from neuralforge_trainer.errors import GitMissingError\n"
        "from neuralforge_trainer.samples.repository import open_repository\n"
        "try: open_repository(Path(sys.argv[1]))\n"
        "except GitMissingError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(maker.root)],
        env=os.environ | {"PATH": str(maker.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "install git" in done.stdout, done.stderr


def test_another_users_repository_is_refused_with_the_way_out(
    maker: GitMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.commit({"a.py": "value = 1\n"})
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(UntrustedRepositoryError, match=r"safe\.directory"):
        open_repository(maker.root)


def test_a_subfolder_a_file_and_a_bare_clone_open_the_same_history(
    maker: GitMaker, tmp_path: Path
) -> None:
    head = maker.commit({"deep/a.py": "value = 1\n"})
    maker.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare"))
    for path in (maker.root / "deep", maker.root / "deep" / "a.py", tmp_path / "bare"):
        assert open_repository(path).head == head
        assert [change.commit for change in walk(path)] == [head]
    assert open_repository(maker.root / "deep").root == maker.root


def test_a_worktree_reads_its_own_branch(maker: GitMaker, tmp_path: Path) -> None:
    first = maker.commit({"a.py": "value = 1\n"})
    maker.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "tree"))
    maker.commit({"a.py": "value = 2\n"})
    assert [change.commit for change in walk(tmp_path / "tree")] == [first]


def test_a_submodule_reads_its_own_history(maker: GitMaker, tmp_path: Path) -> None:
    inner = maker.commit({"a.py": "value = 1\n"})
    outer = GitMaker(tmp_path / "outer")
    outer.git("-c", "protocol.file.allow=always", "submodule", "add", str(maker.root), "sub")
    assert [change.commit for change in walk(outer.root / "sub")] == [inner]
    outer.commit({"b.py": "value = 2\n"})
    (change,) = walk(outer.root)
    assert [file.path for file in change.files] == ["b.py"]


def test_a_sha256_repository_is_refused_by_name(tmp_path: Path) -> None:
    maker = GitMaker(tmp_path / "repo", "--object-format=sha256")
    maker.commit({"a.py": "value = 1\n"})
    with pytest.raises(RepositoryError, match="sha256"):
        open_repository(maker.root)


def test_the_variables_of_a_calling_hook_do_not_redirect_the_walk(
    maker: GitMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = maker.commit({"a.py": "value = 1\n"})
    other = GitMaker(tmp_path / "other")
    other.commit({"b.py": "value = 2\n"})
    for name in ("GIT_DIR", "GIT_COMMON_DIR"):
        monkeypatch.setenv(name, str(other.root / ".git"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other.root / ".git" / "objects"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.bare'='true'")
    assert [change.commit for change in walk(maker.root)] == [head]


def test_reading_writes_nothing_into_the_repository(maker: GitMaker) -> None:
    maker.commit({"a.py": "value = 1\n"})

    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in maker.root.rglob("*")}

    before = state()
    assert walk(maker.root)
    assert state() == before


def test_the_identity_is_the_one_in_force_in_the_repository(maker: GitMaker) -> None:
    maker.commit({"a.py": "value = 1\n"})
    maker.git("config", "user.name", ADA.name)
    maker.git("config", "user.email", ADA.email)
    assert open_repository(maker.root).identity == ADA


HOSTILE = {
    # what the repository's configuration says, and a plain command that falls for it
    "fsmonitor": ({"core.fsmonitor": "{program}"}, ["status"]),
    "external-diff": ({"diff.external": "{program}"}, ["log", "-p", "--ext-diff", "--", "a.py"]),
    "driver": ({"diff.evil.command": "{program}"}, ["log", "-p", "--ext-diff", "--", "a.py"]),
    "textconv": ({"diff.evil.textconv": "{program}"}, ["log", "-p", "--", "a.py"]),
    "clean-filter": ({"filter.evil.clean": "{program}"}, ["add", "--renormalize", "."]),
    "smudge-filter": ({"filter.evil.smudge": "{program}"}, ["checkout", "HEAD~1", "--", "."]),
    "process-filter": ({"filter.evil.process": "{program}"}, ["checkout", "HEAD~1", "--", "."]),
    "hooks": ({"core.hooksPath": "{hooks}"}, ["checkout", "--quiet", "--detach"]),
    "signature": (
        {"gpg.program": "{program}", "log.showSignature": "true"},
        ["log"],
    ),
    "promisor": (
        {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "evil",
            "remote.evil.promisor": "true",
            "remote.evil.url": "ext::{program}",
            "protocol.ext.allow": "always",
        },
        ["cat-file", "-p", "{missing}"],
    ),
    "ssh": (
        {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "evil",
            "remote.evil.promisor": "true",
            "remote.evil.url": "ssh://localhost/nowhere",
            "core.sshCommand": "{program}",
        },
        ["cat-file", "-p", "{missing}"],
    ),
}


@pytest.mark.skipif(os.name == "nt", reason="the planted programs are shell scripts")
@pytest.mark.parametrize("setting", HOSTILE)
def test_a_hostile_configuration_runs_nothing(
    setting: str, maker: GitMaker, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    program = hooks / "post-checkout"
    program.write_text(f"#!/bin/sh\ntouch '{canary}'\nexit 1\n")
    program.chmod(0o755)
    maker.commit({"a.py": "value = 1\n", ".gitattributes": "*.py diff=evil filter=evil\n"})
    maker.commit({"a.py": "value = 1\nother = 2\n"})
    missing = _lose_blob(maker, maker.commit({"b.py": "value = 3\n"}), "b.py")
    if setting == "signature":
        _sign_badly(maker)
    maker.write({"a.py": "value = 4\n"})
    settings, command = HOSTILE[setting]
    places = {"program": program, "hooks": hooks, "missing": missing}
    for key, value in settings.items():
        maker.git("config", key, value.format_map(places))

    changes = walk(maker.root)
    assert [file.path for change in changes for file in change.files] == ["a.py", "a.py"]
    assert not canary.exists()

    plain = [part.format_map(places) for part in command]
    subprocess.run(["git", *plain], cwd=maker.root, capture_output=True, check=False)
    assert canary.exists(), "the trap does not work: plain git did not fall for it either"


def _lose_blob(maker: GitMaker, commit: str, path: str) -> str:
    blob = maker.git("rev-parse", f"{commit}:{path}")
    (maker.root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    return blob


def _sign_badly(maker: GitMaker) -> None:
    head, _, message = maker.git("cat-file", "-p", "HEAD").partition("\n\n")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n none\n -----END PGP SIGNATURE-----"
    signed = f"{head}\n{signature}\n\n{message}\n".encode()
    commit = maker.git("hash-object", "-t", "commit", "-w", "--stdin", feed=signed)
    maker.git("update-ref", "HEAD", commit)
