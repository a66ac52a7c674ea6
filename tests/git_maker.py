"""Makes real git repositories for tests, untouched by the machine's own settings."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from neuralforge_trainer.samples.repository import Identity

ADA = Identity("Ada House", "ada@example.com")
BO = Identity("Bo Branch", "bo@example.com")


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Take the machine's git configuration, and a calling hook's variables, out of the way."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (folder / "no-gitconfig").touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / "no-gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


class GitMaker:
    """A repository at `root`; every commit is one minute after the one before."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self.now = 1_700_000_000
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", *options)

    def git(self, *arguments: str, author: Identity = ADA, feed: bytes = b"") -> str:
        """What git prints; fails the test if git fails."""
        when = f"{self.now} +0000"
        variables = {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", author.name), ("EMAIL", author.email), ("DATE", when))
        }
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            env=os.environ | variables,
            input=feed,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def write(self, files: dict[str, str | bytes | None]) -> None:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(
        self, files: dict[str, str | bytes | None], author: Identity = ADA, message: str = "Work"
    ) -> str:
        """Commit `files` (None deletes one) and give the commit's id."""
        self.now += 60
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message, author=author)
        return self.git("rev-parse", "HEAD")


_WORDS = (
    *("anchor", "buoy", "cabin", "deck", "engine", "funnel", "galley", "hatch", "island"),
    *("jetty", "keel", "ladder", "mast", "north", "oar", "port", "quay", "rudder", "sail"),
    *("tide", "vessel", "wheel", "yard", "zenith", "harbour", "current", "compass"),
)


def varied_history(root: Path, commits: int = 12, noun: str = "ship") -> GitMaker:
    """A repository of lines that have words in common, but are not near-duplicates."""
    made = GitMaker(root)
    go_on(made, commits, noun)
    return made


def go_on(made: GitMaker, commits: int, noun: str) -> None:
    """Further commits of such lines."""
    source = random.Random(noun)
    for number in range(commits):
        lines = [
            f"{noun}_{a}.{b}({c}, {d}={noun}_{e})\n"
            for a, b, c, d, e in (source.sample(_WORDS, 5) for _ in range(8))
        ]
        made.commit({f"{noun}_{number}.py": "".join(lines)})
