"""Types out what a commit added, and takes every suggestion that is right.

The typist looks at what would be on screen after each key (the same prompt, rules and shaping as
in serving, without its clock) and accepts it as far as it is right: the whole text, else its first
line. What is typed as it stands in a suggestion keeps the rest of it on screen. Indentation is the
editor's and counts for nobody.

Invariant: what is accepted and what is typed together are the passage, character by character.
Knows no engine: it is handed a way to ask.
"""

from __future__ import annotations

from collections.abc import Callable

from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.history.kept import Typed
from neuralforge_trainer.evaluate.history.periods import Passage

Ask = Callable[[Item], str]
"""The text on screen at an item's cursor, empty where none is."""


def type_out(passage: Passage, ask: Ask) -> Typed:
    """Type a passage into its file; how much of it was accepted."""
    target = "\n".join(passage.lines)
    done, accepted, asked, shown = _indent(target, 0), 0, 0, ""
    while done < len(target):
        if not shown:
            shown = ask(_item(passage, target, done))
            asked += 1
        right = right_part(shown, target[done:])
        end = _indent(target, done + max(1, len(right)))
        accepted += _counted(target[done : done + len(right)])
        key = target[done]
        shown = shown[1:] if not right and shown.startswith(key) and key != "\n" else ""
        done = end
    return Typed(passage.commit, _counted(target[_indent(target, 0) :]), accepted, asked)


def right_part(shown: str, ahead: str) -> str:
    """What of a text on screen may be accepted before `ahead` is typed: all, a line, nothing."""
    for part in (shown, shown.split("\n")[0]):
        if part.strip() and ahead.startswith(part):
            return part
    return ""


def _indent(target: str, place: int) -> int:
    """Past the indentation, where a line begins at `place`."""
    if place and place <= len(target) and target[place - 1] != "\n":
        return place
    while place < len(target) and target[place] in " \t":
        place += 1
    return place


def _counted(text: str) -> int:
    """Characters without line ends, and without the indentation of lines that begin in `text`."""
    first, *others = text.split("\n")
    return len(first) + sum(len(line.lstrip()) for line in others)


def _item(passage: Passage, target: str, done: int) -> Item:
    line_end = target.find("\n", done)
    expected = target[done : line_end if line_end >= 0 else len(target)]
    return Item(
        path=passage.path,
        language=passage.language,
        prefix=passage.above + target[:done],
        expected=expected,
        suffix=passage.below,
        commit=passage.commit,
        time=0.0,
    )
