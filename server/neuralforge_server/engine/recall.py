"""What a generation sees of the fast memory: the mixture, and drafts to check.

Sources are the segments on disk (every repository below the base's folder), the open documents
as they are now, and the prompt with what has been generated behind it.

Invariant: `mix` and `draft` depend on the documents and tokens given last and on nothing else; a
document's own half-written line at the cursor is never evidence, given what stands right of the
cursor. Not thread-safe. Knows no llama.cpp.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from neuralforge_server.memory.blend import Evidence, mixed, weigh
from neuralforge_server.memory.evidence import (
    Alive,
    LivePlaces,
    LiveText,
    OwnPlace,
    SegmentPlaces,
)
from neuralforge_server.memory.index import MemoryIndex
from neuralforge_server.memory.segment import DEPTH, Segment
from neuralforge_server.memory.text import blocks

_MOST_SEGMENTS = 10
"""Segments searched for every token, of the repositories written last: some 0.1 ms each."""
_MOST_LIVE_TOKENS = 50_000
"""Of open documents, the one changed last in any case: a scan of so many takes 0.05 ms."""
_LONGEST_DOCUMENT = 400_000
"""Characters: a longer document is no source of its own."""
_LEAST_DRAFT_MATCH = 3

Logits = npt.NDArray[np.float32]


class Tokenizer(Protocol):
    """What is needed of an engine's `Vocabulary`."""

    size: int

    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for."""
        ...


class Recall:
    """The fast memory of one engine, at one cursor at a time."""

    def __init__(self, folder: Path | None, vocabulary: Tokenizer) -> None:
        """`folder` is one base's, with a folder for every repository; None for none."""
        self._index = MemoryIndex(folder) if folder else None
        self._vocabulary = vocabulary
        self._documents = _OpenDocuments(vocabulary)
        self._ends_line = functools.cache(lambda token: b"\n" in vocabulary.piece(token))
        self._segments: list[tuple[Segment, Alive | None]] = []
        self.start([])

    def remember(self, key: str, text: str) -> None:
        """Take `text` as what the open document `key` holds now; forget it where it is empty.

        It counts from the next `start` on.
        """
        self._documents.put(key, text)

    def start(self, tokens: Sequence[int], after: Sequence[int] = ()) -> None:
        """Stand behind `tokens`, with `after` right of the cursor.

        `tokens` end before what is healed. They are a source of copies too, and may begin with
        anything else that is shown to the model. `after` tells the cursor's own place in stored
        copies of the document apart; without it, nothing is taken for that.
        """
        self._context = list(tokens)
        self._prompt = LiveText([self._context])
        self._own = OwnPlace.at(after, self._ends_line)
        self._live = self._documents.joined()
        self._segments = self._chosen()
        self._lookup: _Lookup | None = None

    def extend(self, token: int) -> None:
        """One more token was chosen."""
        self._context.append(token)
        self._prompt.append(token)
        self._lookup = None

    def mix(self, logits: Logits, scale: float) -> Logits:
        """The model's `logits` with the memory mixed in; the same object where it has nothing."""
        if scale <= 0 or not self._context:
            return logits
        evidence = self._here().evidence
        return logits if evidence is None else mixed(logits, evidence, scale)

    def draft(self, limit: int) -> list[int]:
        """Up to `limit` tokens that followed the longest match; none where it is short."""
        return self._here().ahead(limit) if limit > 0 and self._context else []

    def _here(self) -> _Lookup:
        if self._lookup is None:
            context = self._context[-DEPTH:]
            near = [self._live.places(context), self._prompt.places(context)]
            stored = [SegmentPlaces(segment, alive, context) for segment, alive in self._segments]
            self._lookup = _Lookup(near, stored, self._own, self._vocabulary.size)
        return self._lookup

    def _chosen(self) -> list[tuple[Segment, Alive | None]]:
        if self._index is None:
            return []
        newest_first = (
            pair for repository in self._index.refresh() for pair in reversed(repository.segments)
        )
        return list(itertools.islice(newest_first, _MOST_SEGMENTS))


@dataclass
class _Lookup:
    """What was found for one context, weighed when that is first asked for."""

    near: list[LivePlaces]
    stored: list[SegmentPlaces]
    own: OwnPlace
    vocabulary: int

    @functools.cached_property
    def evidence(self) -> Evidence | None:
        near = [level for source in self.near for level in source.levels(self.own)]
        stored = [level for source in self.stored for level in source.levels(self.own)]
        return weigh(stored, near, self.vocabulary)

    def ahead(self, limit: int) -> list[int]:
        best: tuple[int, list[int]] = (_LEAST_DRAFT_MATCH - 1, [])
        sources: list[LivePlaces | SegmentPlaces] = [*self.near, *self.stored]
        for source in sources:  # of equal matches, the nearest counts
            if source.longest > best[0]:
                best = max(best, source.ahead(self.own, limit), key=lambda found: found[0])
        return [token for token in best[1] if token < self.vocabulary]


class _OpenDocuments:
    """Token texts of the open documents, of which a change tokenises only new lines."""

    def __init__(self, vocabulary: Tokenizer) -> None:
        self._vocabulary = vocabulary
        self._blocks: dict[str, dict[str, list[int]]] = {}
        self._tokens: dict[str, npt.NDArray[np.int32]] = {}
        self._joined: LiveText | None = None

    def put(self, key: str, text: str) -> None:
        """Replace or forget a document; it becomes the one changed last."""
        self._joined = None
        self._tokens.pop(key, None)
        before = self._blocks.pop(key, {})
        if not text or len(text) > _LONGEST_DOCUMENT:
            return
        parts = blocks(text)
        known = {part: before.get(part) or self._vocabulary.tokenize(part) for part in set(parts)}
        self._blocks[key] = known
        self._tokens[key] = np.array([token for part in parts for token in known[part]], np.int32)

    def joined(self) -> LiveText:
        """The document changed last, and as many of those before it as there is room for."""
        if self._joined is None:
            room = _MOST_LIVE_TOKENS
            chosen: list[npt.NDArray[np.int32]] = []
            for tokens in reversed(self._tokens.values()):
                room -= len(tokens)
                if room < 0 and chosen:
                    break
                chosen.append(tokens)
            self._joined = LiveText(chosen[::-1])
        return self._joined
