"""What would come after a suggestion that is on show, computed before anybody asks for it.

Invariant: at most one run ahead exists, nobody waits for it, and it lives only while everything
the user does is to take over the suggestion that it follows. Knows no engine and no cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neuralforge_adapters.fim import Window, split_lines
from neuralforge_server.completion.cache import Run
from neuralforge_server.completion.spot import Spot
from neuralforge_server.documents import Change

_OPENERS = (":", "{", "(", "[")


@dataclass
class Target:
    """A text that may be inserted, and where."""

    spot: Spot
    offset: int
    """Of the spot, in code points."""
    text: str
    replaces: int
    taken: int = 0
    """Characters of the text that the user has already taken over."""
    line_ended: bool = False
    """Whether `text` ends with the line end that comes after a suggestion."""

    def follow(self, change: Change) -> bool:
        """Whether the change takes over more of the text."""
        rest, inserted = self.text[self.taken :], change.inserted.replace("\r\n", "\n")
        here = self.offset + self.taken
        if change.start != here or change.removed > self.replaces or not inserted:
            return False
        self.taken += len(inserted)
        return rest.startswith(inserted)


class Prefetch:
    """The run ahead of one server."""

    def __init__(self, window: Window, start: Callable[[Spot, Sequence[str]], Run | None]) -> None:
        """`start` begins a run in the background, or returns None where none is needed."""
        self._window = window
        self._start = start
        self._target: Target | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.run: Run | None = None

    def shown(self, target: Target, wait: float) -> None:
        """A suggestion is on show: begin once it has been for `wait` seconds."""
        known = self._target
        if known is not None and self._timer is None and _ends_alike(known, target):
            return  # the rest of the same suggestion, after which was looked already
        self.stop()
        self._target = target
        self._timer = asyncio.get_running_loop().call_later(wait, self._begin, target)

    def changed(self, uri: str, change: Change) -> None:
        """An edit: go on only where it takes over the suggestion."""
        target = self._target
        if target is None:
            return
        if target.spot.document.uri != uri or not target.follow(change):
            self.stop()

    def ended(self, run: Run, text: str | None) -> None:
        """The run is over: where it had nothing to say, go on with the next line."""
        target = self._target
        if run is not self.run or target is None:
            return
        self.run = None
        if text is None:
            return
        if not text.strip() and not target.line_ended and not run.origin.line_rest.strip():
            self._target = _next_line(target)
            self._begin(self._target)

    def release(self) -> Run | None:
        """Give the run to somebody who waits for it."""
        run, self.run = self.run, None
        return run

    def stop(self) -> None:
        """Compute nothing ahead."""
        if self._timer is not None:
            self._timer.cancel()
        run, self.run = self.run, None
        self._target = self._timer = None
        if run is not None:
            run.generation.cancel()

    def _begin(self, target: Target) -> None:
        self._timer = None
        if target.taken:
            return  # the document has moved on: its own request comes at once
        spot, lines = target.spot.after(target.text, target.replaces, self._window)
        self.run = self._start(spot, lines)


def _ends_alike(one: Target, other: Target) -> bool:
    """Whether taking over either leads to the same text."""
    return (
        one.spot.document is other.spot.document
        and one.offset + len(one.text) == other.offset + len(other.text)
        and one.text.endswith(other.text)
    )


def _next_line(target: Target) -> Target:
    """With the line end and indentation that an editor adds when Enter is pressed."""
    line = split_lines(target.spot.prefix + target.text)[-1]
    indentation = line[: len(line) - len(line.lstrip())]
    if line.rstrip().endswith(_OPENERS):
        indentation += _unit(target.spot.document.lines)
    text = f"{target.text}\n{indentation}"
    return Target(target.spot, target.offset, text, target.replaces, target.taken, line_ended=True)


def _unit(lines: Sequence[str]) -> str:
    """One step of indentation, as the first indented line has it."""
    for line in lines:
        if line[:1] in (" ", "\t") and line.strip():
            return line[: len(line) - len(line.lstrip())]
    return "    "
