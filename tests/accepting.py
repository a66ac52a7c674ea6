"""A suggestion's way from the base's text to the document, without an engine."""

from __future__ import annotations

from neuralforge_adapters.fim import split_lines
from neuralforge_server.completion.defects import defects
from neuralforge_server.completion.extent import look, rules_at
from neuralforge_server.completion.filter import shape
from neuralforge_server.documents import Position
from neuralforge_server.engine.stopping import Stopper


def end_of(text: str) -> Position:
    """The position behind `text`."""
    lines = split_lines(text + ".")
    return Position(len(lines) - 1, len(lines[-1]) - 1)


def accept(text: str, generated: str, language: str = "python", *, unfinished: bool = False) -> str:
    """The document after accepting what is shown of `generated`; as it was where nothing is.

    `|` marks the cursor in `text`. Asserts that what is shown has no defect.
    """
    before, after = text.split("|")
    lines = split_lines(before + after)
    position = end_of(before)
    place = look(lines, language, position)
    rules = rules_at(place, 12)
    end = Stopper(rules).end(generated)
    shaped = shape(
        generated[:end],
        place.prefix,
        place.suffix,
        place.below,
        rules.max_lines,
        place=place,
        unfinished=unfinished and end is None,
    )
    if shaped is None:
        return before + after
    assert not defects(before, shaped.text, after[shaped.replaces :], language)
    return before + shaped.text + after[shaped.replaces :]
