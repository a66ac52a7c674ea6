"""What would be on screen at an item's cursor, and what is wrong with it.

Invariant: rules, shaping and settings are those of serving; the judge of defects looks at nothing
but the document before and after accepting. Knows no arm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from neuralforge_adapters.fim import Window, split_lines
from neuralforge_server.completion.defects import Defect, defects
from neuralforge_server.completion.extent import look, rules_at
from neuralforge_server.completion.filter import Shaped, shape
from neuralforge_server.documents import Position
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest, Surroundings
from neuralforge_server.settings import CompletionSettings
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.metrics import exact_match

_HARMFUL: tuple[Defect, ...] = ("suffix", "brackets", "indentation")


@dataclass(frozen=True)
class Shown:
    """One suggestion as it would appear; `text` is empty where none would."""

    text: str
    exact: bool
    """Whether its first line is the rest of the line that was written."""
    defects: tuple[Defect, ...]


def suggest(
    engine: EngineClient, item: Item, around: Surroundings, memory: float = 1.0, stack: str = ""
) -> Shaped | None:
    """Ask as serving does, with blocks where blocks begin, and shape the answer.

    `memory` and `stack` are those of `CompleteRequest`.
    """
    settings = CompletionSettings()
    document = item.prefix + item.suffix
    line, column = item.prefix.count("\n"), len(item.prefix) - item.prefix.rfind("\n") - 1
    place = look(split_lines(document), item.language, Position(line, column))
    prefix, suffix = Window().cut_text(item.prefix, item.suffix)
    request = CompleteRequest(
        prefix,
        suffix,
        around=around,
        max_tokens=settings.max_tokens,
        rules=rules_at(place, settings.max_lines),
        memory=memory,
        stack=stack,
        evaluation=True,
    )
    completion = engine.complete(request)
    return shape(
        completion.text,
        "",
        "",
        max_lines=settings.max_lines,
        place=place,
        unfinished=completion.stop in ("length", "deadline"),
    )


def show(engine: EngineClient, item: Item, around: Surroundings) -> Shown:
    """What would appear at an item's cursor, judged."""
    shaped = suggest(engine, item, around)
    if shaped is None:
        return Shown("", False, ())
    after = item.suffix[shaped.replaces :]
    first = shaped.text.split("\n")[0]
    found = defects(item.prefix, shaped.text, after, item.language)
    return Shown(shaped.text, exact_match(item.expected, first), tuple(sorted(found)))


def markdown(shown: Sequence[Shown]) -> str:
    """How often something is shown, how often it is right, and each kind of defect."""
    visible = [one for one in shown if one.text]
    if not visible:
        return "Nothing was shown.\n"
    counts = Counter(name for one in visible for name in one.defects)
    harmful = sum(any(name in _HARMFUL for name in one.defects) for one in visible)
    each = ", ".join(f"{name} {number}" for name, number in counts.most_common()) or "none"
    return (
        f"Shown at {len(visible)} of {len(shown)} cursors ({len(visible) / len(shown):.0%}); the "
        f"line is right in {sum(one.exact for one in visible) / len(visible):.1%} of them. "
        f"Suffix doubled, brackets or indentation broken: {harmful} "
        f"({harmful / len(visible):.2%}). All defects: {each}.\n"
    )
