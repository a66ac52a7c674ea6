"""The files of a folder as if one commit had added each of them whole.

Invariant: only files of code that were written by hand, that git does not ignore and that hold no
secret by their nature; no link is followed. Knows no history.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from neuralforge_adapters.handwritten import is_handwritten
from neuralforge_adapters.language import language_of
from neuralforge_server.indexer.walk import Walker
from neuralforge_server.session.exclude import Exclusions
from neuralforge_trainer.errors import DatasetError
from neuralforge_trainer.samples.git import CommitChange, FileChange
from neuralforge_trainer.samples.lines import split_lines


def folder_changes(folder: Path) -> list[CommitChange]:
    """One change for each file below `folder`, with the time when it was written, oldest first.

    Raises:
        DatasetError: there is no such folder.
    """
    root = folder.expanduser().absolute()
    if not root.is_dir():
        raise DatasetError(f"{folder} is no folder; name one with files of code")
    return sorted(_changes(root), key=lambda change: change.time)


def _changes(root: Path) -> Iterator[CommitChange]:
    for found in Walker(root, Exclusions()).walk():
        language = language_of(found.path)
        try:
            text = (root / found.path).read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if language is not None and "\0" not in text and is_handwritten(text):
            whole = ((0, len(split_lines(text)) - 1),)
            change = FileChange(found.path, language, text, whole)
            yield CommitChange("", found.stamp.mtime_ns / 1e9, (change,))
