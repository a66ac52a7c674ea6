"""Steps through a repository's newest commits as their author lived them.

Each moment holds what stood in the repository before a commit and the lines that the commit then
wrote, so that an index of the workspace can be kept up to date from moment to moment, and asked
for lines that it cannot hold yet.

Invariant: a moment's items ask for lines whose text occurred neither in the files before the
first moment nor in an earlier moment; what `changed` says is the state of the commit's first
parent. Knows no model and no index.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from neuralforge_adapters.handwritten import MOST_BYTES, is_handwritten, is_own_path
from neuralforge_adapters.language import language_of
from neuralforge_trainer.errors import NothingToLearnError
from neuralforge_trainer.evaluate.heldout import Item, heldout_items
from neuralforge_trainer.samples.git import CommitChange, FileChange, choose_author, user_commits
from neuralforge_trainer.samples.repository import Repository

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""What git calls a state without files."""


@dataclass(frozen=True)
class Moment:
    """What changed on disk since the moment before, and what is asked now."""

    commit: str
    changed: dict[str, str | None]
    """Text of each file of code that is new or different, by path; None for one that is gone."""
    items: tuple[Item, ...]


def moments(repository: Repository, commits: int, items: int, seed: int) -> list[Moment]:
    """The newest `commits` of the repository's main author that ask anything, oldest first.

    `items` of their new lines are asked in all, drawn with `seed`.

    Raises:
        NothingToLearnError: the history is too short to ask for anything.
    """
    author = choose_author(repository).author
    newest = list(user_commits(repository, author, newest=commits))
    states = [(change, first_parent(repository, change.commit)) for change in newest]
    states = [(change, parent) for change, parent in states if parent]
    if not states:
        raise NothingToLearnError(
            f"{repository.root} has no commit with a parent that adds code; "
            "name a repository with a longer history"
        )
    asked = _ask(repository, [change for change, _ in states], states[0][1], items, seed)
    return list(walk(repository, states, asked))


def walk(
    repository: Repository,
    states: Sequence[tuple[CommitChange, str]],
    asked: dict[str, tuple[Item, ...]],
) -> Iterator[Moment]:
    """A moment for each of `states`, (commit, its first parent), that `asked` has items for.

    The first one holds every file.
    """
    before = EMPTY_TREE
    for change, parent in states:
        if change.commit in asked:
            yield Moment(
                change.commit, changed_files(repository, before, parent), asked[change.commit]
            )
            before = parent


def _ask(
    repository: Repository, changes: Sequence[CommitChange], start: str, count: int, seed: int
) -> dict[str, tuple[Item, ...]]:
    """Items by commit; lines that stand in the files at `start` are not asked for."""
    known = changed_files(repository, EMPTY_TREE, start)
    files = tuple(FileChange(path, "", text, ()) for path, text in known.items() if text)
    items = heldout_items(changes, [CommitChange(start, 0.0, files)], seed=seed)
    order = {change.commit: place for place, change in enumerate(changes)}
    if len(items) > count:
        items = random.Random(seed).sample(items, count)
    items.sort(key=lambda item: (order[item.commit], item.path, len(item.prefix)))
    found: dict[str, tuple[Item, ...]] = {}
    for item in items:
        found[item.commit] = (*found.get(item.commit, ()), item)
    return found


def first_parent(repository: Repository, commit: str) -> str:
    """The first parent, empty for a root and at a shallow clone's boundary."""
    if commit in repository.shallow:
        return ""
    fields = repository.git.rev_list("--parents", "-n", "1", commit).split()
    return fields[1] if len(fields) > 1 else ""


def changed_files(repository: Repository, before: str, after: str) -> dict[str, str | None]:
    """Files of code that differ between two trees, as they are in `after`."""
    output = repository.git.diff_tree("-r", "-z", "--raw", "--no-abbrev", before, after)
    fields = iter(output.split("\0"))
    found: dict[str, str | None] = {}
    for field in fields:
        path = next(fields, "")
        if not field or language_of(path) is None or not is_own_path(path):
            continue
        _, mode, _, blob, _ = field.split(" ")
        found[path] = _text(repository, blob) if mode.startswith("100") else None
    return found


def _text(repository: Repository, blob: str) -> str | None:
    """A file as an index reads it; None for what no index takes in."""
    _, _, size, data = repository.git.get_object_data(blob)
    if size > MOST_BYTES:
        return None
    try:
        text: str = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if "\0" not in text and is_handwritten(text) else None
