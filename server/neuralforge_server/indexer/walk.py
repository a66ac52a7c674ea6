"""Finding the files of a workspace that may be indexed.

Invariant: no link is followed, so that no loop and nothing outside is met; what vanishes, cannot
be read or has a name that is no text is passed over; folders that nobody keeps by hand, or that
the user excludes, are not entered. A walk holds one folder at a time. Knows no content.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from neuralforge_server.context.eligible import MOST_BYTES, is_own_path
from neuralforge_server.context.index import Stamp
from neuralforge_server.session.exclude import Exclusions

MOST_FILES = 200_000
"""Files of code that are indexed of one workspace."""
MOST_ENTRIES = 3_000_000
"""Files and folders of any kind that a walk looks at."""


@dataclass(frozen=True)
class FoundFile:
    """A file of code: its path from the workspace's root, with forward slashes, and its stamp."""

    path: str
    stamp: Stamp


class Walker:
    """Walks one workspace; `capped` tells whether the last walk ended before its end."""

    def __init__(
        self,
        root: Path,
        exclude: Exclusions,
        most_files: int = MOST_FILES,
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        self.root = root
        self.capped = False
        self._exclude = exclude
        self._most_files = most_files
        self._most_entries = most_entries

    def walk(self, folder: str = "") -> Iterator[FoundFile]:
        """The files below `folder`, those nearest to it first."""
        self.capped = False
        waiting, files, entries = deque([folder]), 0, 0
        while waiting:
            for path, is_folder in self._entries(waiting.popleft()):
                entries += 1
                found = None if is_folder else self.look(path)
                files += found is not None
                if files > self._most_files or entries > self._most_entries:
                    self.capped = True
                    return
                if found is not None:
                    yield found
                elif is_folder and self.may_enter(path):
                    waiting.append(path)

    def folders(self, folder: str = "") -> Iterator[str]:
        """`folder` and those below it that a walk enters, as far as a walk goes."""
        waiting, entries = deque([folder]), 0
        while waiting and entries <= self._most_entries:
            yield (current := waiting.popleft())
            for path, is_folder in self._entries(current):
                entries += 1
                if is_folder and self.may_enter(path):
                    waiting.append(path)

    def look(self, path: str) -> FoundFile | None:
        """The file at `path`, as it is now; None for one that is not to be indexed."""
        if not is_own_path(path):
            return None
        place = self.root / path
        try:
            status = place.lstat()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            return None
        if self._exclude.is_excluded(place):
            return None
        return FoundFile(path, Stamp(status.st_mtime_ns, status.st_size))

    def is_inside(self, path: str) -> bool:
        """Whether the way to `path` leads through no link; a watch may report one that does."""
        parent = (self.root / path).parent
        try:
            return parent.resolve() == self.root.resolve() / parent.relative_to(self.root)
        except (OSError, ValueError, RuntimeError):
            return False

    def is_folder(self, path: str) -> bool:
        """Whether a folder lies there, and no link to one."""
        try:
            return stat.S_ISDIR((self.root / path).lstat().st_mode)
        except (OSError, ValueError):
            return False

    def may_enter(self, path: str) -> bool:
        """Whether a folder may hold files that are indexed."""
        return is_own_path(f"{path}/x.py") and not self._exclude.is_folder_excluded(
            self.root / path
        )

    def _entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Paths in a folder, and whether each is a folder itself, and no link to one."""
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if _is_text(entry.name):
                        path = f"{folder}/{entry.name}" if folder else entry.name
                        yield path, entry.is_dir(follow_symlinks=False)
        except OSError:
            return  # it vanished, or is not ours to read


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
