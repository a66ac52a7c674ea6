"""What is asked of the engine at a cursor, and what a text made there depends on.

Invariant: two requests with one key and one text around the cursor may be answered alike. Knows
no engine; where surroundings and stacks come from is told by whoever owns them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from neuralforge_adapters.fim import Window
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.completion.cache import Key
from neuralforge_server.completion.extent import Place, look, rules_at
from neuralforge_server.completion.spot import Spot
from neuralforge_server.completion.toggles import Toggles
from neuralforge_server.documents import Document, Position
from neuralforge_server.engine.interface import Engine
from neuralforge_server.engine.protocol import CompleteRequest, Surroundings, WarmRequest
from neuralforge_server.settings import CompletionSettings, Settings


class Asking:
    """Makes requests under the settings in force."""

    def __init__(self, settings: Settings) -> None:
        self.window = Window()
        self.around: Callable[[Document], Surroundings] = lambda _: Surroundings()
        """What a document's requests show of other files."""
        self.toggles = Toggles()
        self.stack_of: Callable[[Document], ResolvedStack | None] = lambda _: None
        """The stack of a document that has one of its own."""
        self._looked: tuple[tuple[str, int, int, Position], Place] | None = None
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Go over to other settings."""
        self.settings = settings
        self._digest = _digest(settings)

    @property
    def completion(self) -> CompletionSettings:
        """The settings of suggestions."""
        return self.settings.completion

    def wanted(self, document: Document) -> bool:
        """Whether anything is to be suggested in a document."""
        if document.too_large or document.left_alone or not self.completion.enabled:
            return False
        return self.toggles.allow(document, self.completion.languages)

    @property
    def memory(self) -> float:
        """Scale of the fast memory."""
        return self.settings.memory.scale if self.settings.memory.enabled else 0.0

    def key(self, document: Document, engine: Engine) -> Key:
        """What a text made for the document now depends on."""
        stack = self.stack_of(document)
        return Key(
            engine.options.base.digest, engine.stack if stack is None else stack, self._digest
        )

    def place(self, document: Document, position: Position) -> Place:
        """What stands around a position of the document as it is now."""
        asked = (document.uri, document.version, document.length, position)
        if self._looked is None or self._looked[0] != asked:
            self._looked = asked, look(document.lines, document.language, position)
        return self._looked[1]

    def complete(
        self, spot: Spot, place: Place, key: Key, candidates: int, background: bool
    ) -> CompleteRequest:
        """The request at `spot`, with what stands around it there."""
        return CompleteRequest(
            spot.prefix,
            spot.suffix,
            around=self.around(spot.document),
            max_tokens=self.completion.max_tokens,
            rules=rules_at(place, self.completion.max_lines),
            deadline_ms=float(self.completion.deadline_ms),
            memory=self.memory,
            candidates=candidates,
            stack=key.stack.digest,
            background=background,
        )

    def warm(self, spot: Spot, key: Key) -> WarmRequest:
        """The request that has the prompt at `spot` computed ahead."""
        return WarmRequest(
            spot.prefix, spot.suffix, around=self.around(spot.document), stack=key.stack.digest
        )


def _digest(settings: Settings) -> str:
    """Of what changes a text; whether and when one is shown does not."""
    completion = replace(
        settings.completion, enabled=True, languages={}, popup=False, prefetch=True
    )
    content = repr((completion, settings.context, settings.memory, settings.engine.context_tokens))
    return hashlib.sha256(content.encode()).hexdigest()[:16]
