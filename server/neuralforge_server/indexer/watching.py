"""Following what changes in a workspace.

Invariant: every change in a folder that a walk enters is passed on, one made while a watch is
being set up included; where watches cannot be had, that anything may have changed is passed on
now and then instead. Knows no content.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Literal

from watchfiles import Change, watch

from neuralforge_server.indexer.walk import Walker

Anything = Literal["anything"]
ANYTHING: Anything = "anything"
"""Instead of a set of paths: any of them may have changed."""

RESCAN_SECONDS = 60.0
_DEBOUNCE_MS, _STEP_MS, _TICK_MS = 400, 50, 1_000
_ATTEMPTS = 3

# inotify watches one folder each and the library follows links, out of the workspace and in
# loops; the other systems watch a tree as a whole, and no links
_IS_WATCHED_WHOLE = not sys.platform.startswith(("linux", "freebsd", "openbsd", "netbsd"))

Stream = Iterator[set[tuple[Change, str]]]


def changes(
    walker: Walker, on_message: Callable[[str], None], rescan_seconds: float = RESCAN_SECONDS
) -> Generator[set[str] | Anything, None, None]:
    """What changed, as paths from the root, at least once a second (then perhaps nothing).

    The first is `ANYTHING`, once changes are surely noticed.
    """
    try:
        yield from _watched(walker)
    except OSError as error:
        on_message(
            f"changes in {walker.root} cannot be watched ({error}); its files are looked "
            f"through every {rescan_seconds:g} s instead"
        )
    pause = threading.Event()
    while True:
        yield ANYTHING
        pause.wait(rescan_seconds)


def _watched(walker: Walker) -> Generator[set[str] | Anything, None, None]:
    folders, stream = _start(walker, {""})
    next(stream)
    yield ANYTHING
    again: set[str] = set()
    while True:
        changed = again | _relative(walker.root, next(stream))
        yield changed
        again = _new_folders(walker, changed, folders)
        if again:
            # the old watch goes on until the new one is in place, so that nothing is missed
            folders, wider = _start(walker, folders | again)
            again |= _relative(walker.root, next(wider)) | _relative(walker.root, next(stream))
            stream = wider


def _start(walker: Walker, known: set[str]) -> tuple[set[str], Stream]:
    """A watch of the folders that are `known`, or of all of them where only the root is."""
    for attempt in range(_ATTEMPTS):
        folders = set(walker.folders()) if known == {""} and not _IS_WATCHED_WHOLE else known
        folders = {folder for folder in folders if walker.is_folder(folder)}
        try:
            return folders, _stream([walker.root / folder for folder in folders])
        except FileNotFoundError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


def _stream(places: Iterable[Path]) -> Stream:
    stream = watch(
        *places,
        watch_filter=None,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
        recursive=_IS_WATCHED_WHOLE,
        ignore_permission_denied=True,
    )
    return iter(stream)


def _new_folders(walker: Walker, changed: set[str], watched: set[str]) -> set[str]:
    """Folders that have come, each of which needs a watch of its own."""
    if _IS_WATCHED_WHOLE:
        return set()
    came = [path for path in changed if walker.is_folder(path) and walker.may_enter(path)]
    return {below for path in came for below in walker.folders(path)} - watched


def _relative(root: Path, changed: Iterable[tuple[Change, str]]) -> set[str]:
    found = set()
    for _, path in changed:
        place = Path(path)
        if place != root and place.is_relative_to(root):
            found.add(place.relative_to(root).as_posix())
    return found
