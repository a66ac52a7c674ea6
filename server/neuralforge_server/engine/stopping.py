"""When a text that grows at a cursor is complete.

Pure: knows no engine, no document and no language beyond brackets and indentation. What the
rules are for a given cursor is decided where the document is known (`completion.extent`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StopRules:
    """What ends a generation before the model does."""

    max_lines: int = 1
    """Lines that it may have."""


class Stopper:
    """Watches one text grow."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules

    def end(self, text: str) -> int | None:
        """Length of `text` to keep where it is complete, None where it may go on."""
        lines = text.split("\n")
        if len(lines) <= self._rules.max_lines:
            return None
        return len("\n".join(lines[: self._rules.max_lines]).removesuffix("\r"))
