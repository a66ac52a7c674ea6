"""Walks a repository's history: who wrote it, and what one author's commits added.

Invariant: a change holds what its author added by hand in files of code, and nothing else:
merges, reverts, bulk commits, the boundary of a shallow clone, renames without edits, vendored
and generated files are left out; what is missing from the repository is passed over. Knows no
sample and no configuration of the repository (`repository` keeps it out).
"""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import LCSseq

from neuralforge_adapters.handwritten import MOST_BYTES, is_handwritten, is_own_path
from neuralforge_adapters.language import language_of
from neuralforge_trainer.errors import EmptyRepositoryError, NoSuchAuthorError
from neuralforge_trainer.samples.lines import split_lines
from neuralforge_trainer.samples.repository import Repository

_BULK_FLOOR = 10  # files; an author of one-file commits may still touch ten at once
_BULK_HISTORY = 20  # commits; quartiles of fewer say nothing
_REVERT = re.compile(r"(?i)revert(s|ed|ing)?\b(?!-)")
_PATCHED = {"M", "A", "R", "C"}
_REGULAR = ("100644", "100755")  # neither symbolic links nor submodules

LineRange = tuple[int, int]


@dataclass(frozen=True)
class FileChange:
    """One file as a commit left it: its whole text, and the lines that the commit added.

    `added` holds (first, last) line numbers, from 0, both included, in the lines of `split_lines`.
    """

    path: str
    language: str
    text: str
    added: tuple[LineRange, ...]


@dataclass(frozen=True)
class CommitChange:
    """What one commit added; `time` is its commit time in seconds since the epoch."""

    commit: str
    time: float
    files: tuple[FileChange, ...]


@dataclass(frozen=True)
class Author:
    """One person: the name and the e-mail addresses used, most used first, and the commits."""

    name: str
    emails: tuple[str, ...]
    commits: int

    def __str__(self) -> str:
        return f"{self.name} <{self.emails[0]}>"


@dataclass(frozen=True)
class AuthorChoice:
    """The author to learn from, and why, in words for the user."""

    author: Author
    reason: str
    doubt: str = ""
    """Why the author may not be the user; empty where git or the user says so."""


class _Commit(NamedTuple):
    id: str
    parents: int
    time: float
    name: str
    email: str
    subject: str


class _Entry(NamedTuple):
    """A changed file: blob ids before (all zeros: none) and after."""

    before: str
    after: str
    path: str


def authors(repository: Repository) -> list[Author]:
    """Everybody who wrote a commit that is no merge, most commits first.

    Names and addresses go through the repository's mailmap; people who share a name or an
    address afterwards count as one.
    """
    uses = Counter((c.name, c.email) for c in _commits(repository) if c.parents < 2)
    people: list[Counter[tuple[str, str]]] = []
    for (name, email), count in uses.most_common():
        same = [person for person in people if _is_known(person, name, email)]
        merged = sum(same, Counter({(name, email): count}))
        people = [person for person in people if person not in same] + [merged]
    found = [_author(person) for person in people]
    return sorted(found, key=lambda author: (-author.commits, author.name))


def choose_author(repository: Repository, wanted: str | None = None) -> AuthorChoice:
    """The author to learn from: the `wanted` one (name, address or both), else the git identity
    in force in the repository, by its address or else by its name, else the most frequent author.

    Raises:
        NoSuchAuthorError: `wanted` wrote none of the commits.
        EmptyRepositoryError: every commit is a merge.
    """
    known = authors(repository)
    if not known:
        raise EmptyRepositoryError(f"the history of {repository.root} holds no commit but merges")
    total = sum(author.commits for author in known)
    if wanted is not None:
        author = _wanted(known, wanted, repository)
        return AuthorChoice(author, f"{author}, as asked: {author.commits} of {total} commits")
    identity = [name for name in (repository.identity.email, repository.identity.name) if name]
    own = next((author for name in identity for author in known if _matches(author, name)), None)
    if own is not None:
        return AuthorChoice(own, f"{own}, your git identity: {own.commits} of {total} commits")
    first = next((author for author in known if not author.name.endswith("[bot]")), known[0])
    mine = f"your git identity {' or '.join(identity)} wrote none of them"
    doubt = mine if identity else "git knows no identity of yours"
    return AuthorChoice(
        first,
        f"{first}, the most frequent author: {first.commits} of {total} commits ({doubt}; "
        "--author names another)",
        doubt,
    )


def user_commits(
    repository: Repository,
    author: Author,
    since: float | None = None,
    newest: int | None = None,
    until: float = math.inf,
) -> Iterator[CommitChange]:
    """What the author's commits added, oldest first; commits that add nothing usable are skipped.

    `since` leaves out commits at or before that time (seconds since the epoch), `newest` all but
    that many of the newest; those after `until` are not looked at, as if they were not made yet.
    What counts as a bulk commit is judged over all of the author's commits: more changed files
    than Q3 + 1.5 interquartile ranges (Giagnorio et al., TOSEM 2025), but never ten or fewer, and
    not in a history of under twenty commits.
    """
    own = [c for c in _commits(repository) if _is_own(c, author) and c.time <= until]
    entries = _changed_files(repository, [commit.id for commit in own])
    most = _bulk_limit([len(entries.get(commit.id, ())) for commit in own])
    kept = [
        commit
        for commit in own
        if commit.id not in repository.shallow
        and not _REVERT.match(commit.subject)
        and 0 < len(entries.get(commit.id, ())) <= most
        and (since is None or commit.time > since)
    ]
    kept.sort(key=lambda commit: commit.time)
    read = _text_reader(repository)
    for commit in kept[-newest:] if newest else kept:
        files = [_file_change(entry, read) for entry in entries[commit.id]]
        if present := tuple(file for file in files if file is not None):
            yield CommitChange(commit.id, commit.time, present)


def reachable(repository: Repository, commits: Sequence[str]) -> frozenset[str]:
    """The ids of `commits` and of all that they build on; those that it lacks are passed over."""
    if not commits:
        return frozenset()
    output = _run(repository, "rev-list", "--ignore-missing", "--stdin", lines=commits)
    return frozenset(output.decode("ascii", "replace").split())


def tips(repository: Repository, commits: Sequence[str]) -> list[str]:
    """Those of `commits` that no other of them builds on; together they reach all of them."""
    if not commits:
        return []
    command = ("rev-list", "--parents", "--ignore-missing", "--stdin")
    output = _run(repository, *command, lines=commits).decode("ascii", "replace")
    rows = [line.split() for line in output.splitlines()]
    parents = {parent for row in rows for parent in row[1:]}
    return [row[0] for row in rows if row[0] not in parents]


def _commits(repository: Repository) -> list[_Commit]:
    """Every commit that can be reached, children before parents; cut short where one is missing."""
    shape = "%x00".join(("%H", "%P", "%ct", "%aN", "%aE", "%s"))
    output = _run(repository, "rev-list", "--encoding=UTF-8", f"--format={shape}", repository.head)
    rows = (line.split("\0") for line in output.decode("utf-8", "replace").split("\n"))
    ordered = [
        _Commit(row[0], len(row[1].split()), float(row[2]), row[3], row[4], row[5])
        for row in rows
        if len(row) == 6 and row[2].isdigit()
    ]
    ordered.reverse()  # parents first: a stable sort by time then keeps equal times in order
    return ordered


def _run(repository: Repository, *arguments: str, lines: Sequence[str] = ()) -> bytes:
    """What a git command prints when fed `lines`, up to where it fails if it does."""
    with tempfile.TemporaryFile() as feed:
        feed.write("".join(f"{line}\n" for line in lines).encode())
        feed.seek(0)
        _, output, _ = repository.git.execute(
            ["git", *arguments],
            istream=feed,
            with_extended_output=True,
            with_exceptions=False,
            stdout_as_string=False,
            strip_newline_in_stdout=False,
        )
    return output if isinstance(output, bytes) else output.encode()


def _is_known(person: Counter[tuple[str, str]], name: str, email: str) -> bool:
    return any(
        bool(name and name.casefold() == other_name.casefold())
        or bool(email and email.casefold() == other_email.casefold())
        for other_name, other_email in person
    )


def _author(person: Counter[tuple[str, str]]) -> Author:
    ranked = person.most_common()
    emails = dict.fromkeys(email for (_, email), _ in ranked)
    return Author(ranked[0][0][0], tuple(emails), person.total())


def _matches(author: Author, wanted: str) -> bool:
    asked = wanted.strip().casefold()
    names = {author.name, str(author), *author.emails}
    return bool(asked) and asked in {name.casefold() for name in names}


def _wanted(known: list[Author], wanted: str, repository: Repository) -> Author:
    for author in known:
        if _matches(author, wanted):
            return author
    some = "; ".join(map(str, known[:5]))
    raise NoSuchAuthorError(
        f"{wanted!r} wrote no commit in {repository.root}; its most frequent authors are: {some}"
    )


def _is_own(commit: _Commit, author: Author) -> bool:
    if commit.parents > 1:
        return False
    return commit.name == author.name or bool(commit.email and commit.email in author.emails)


def _changed_files(repository: Repository, ids: list[str]) -> dict[str, list[_Entry]]:
    """Every file that each commit changed. A commit whose trees are missing is passed over."""
    found: dict[str, list[_Entry]] = {}
    pending = ids
    while pending:
        output = _run(
            repository,
            *(
                "diff-tree",
                "--stdin",
                "--root",
                "--always",
                "-r",
                "-z",
                "--raw",
                "-M",
                "--no-abbrev",
            ),
            *("--no-ext-diff", "--no-textconv"),
            lines=pending,
        )
        seen = _parse_raw(output.decode("utf-8", "surrogateescape"))
        found |= seen
        pending = pending[max(len(seen), 1) :]  # git stops at what is missing: go on after it
    return found


def _parse_raw(output: str) -> dict[str, list[_Entry]]:
    """Parse `diff-tree --raw -z`: commit ids, each followed by `:modes blobs status` and paths."""
    found: dict[str, list[_Entry]] = {}
    entries: list[_Entry] = []
    fields = iter(output.split("\0"))
    for field in fields:
        if not field.startswith(":"):
            if field:
                entries = found.setdefault(field, [])
            continue
        _, mode, before, after, status = field.split(" ")
        path = next(fields, "")
        if status[0] in "RC":
            path = next(fields, "")
        regular = mode in _REGULAR and status[0] in _PATCHED
        entries.append(_Entry(before, after if regular else "", path))
    return found


def _bulk_limit(sizes: list[int]) -> float:
    if len(sizes) < _BULK_HISTORY:
        return float("inf")
    first, third = np.percentile(sizes, (25, 75))
    return max(_BULK_FLOOR, float(third + 1.5 * (third - first)))


def _text_reader(repository: Repository) -> Callable[[str], str | None]:
    """Reads blobs as text through one `cat-file --batch`: None for what is missing, too large,
    binary or not UTF-8; "" for the blob id of all zeros, no file at all."""
    git = repository.git

    @lru_cache(maxsize=128)  # a file's text after one commit is its text before the next
    def read(blob: str) -> str | None:
        if not blob.strip("0"):
            return ""
        try:
            if git.get_object_header(blob)[2] > MOST_BYTES:
                return None
            text = git.get_object_data(blob)[3].decode("utf-8")
        except (ValueError, OSError):  # missing (or not UTF-8, a ValueError too); or git ended
            return None
        return None if "\0" in text else text

    return read


def _file_change(entry: _Entry, read: Callable[[str], str | None]) -> FileChange | None:
    language = language_of(entry.path)
    if language is None or not entry.after or not is_own_path(entry.path):
        return None
    before, text = read(entry.before), read(entry.after)
    if before is None or text is None or not is_handwritten(text):
        return None
    added = added_ranges(before, text)
    return FileChange(entry.path, language, text, added) if added else None


def added_ranges(before: str, after: str) -> tuple[LineRange, ...]:
    """The (first, last) lines of `after` that a shortest line diff from `before` adds.

    The diff is the longest common subsequence of lines (rapidfuzz's bit-parallel one); line
    ends do not count, so that a change from CRLF to LF adds nothing.
    """
    steps = LCSseq.opcodes(split_lines(before), split_lines(after))
    return tuple(
        (step.dest_start, step.dest_end - 1) for step in steps if step.tag in ("insert", "replace")
    )
