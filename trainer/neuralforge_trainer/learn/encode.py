"""A sample becomes token ids and the weight of the loss on each, laid out exactly as served.

Invariant: window, token healing and FIM layout are those of `neuralforge_adapters.fim`, which the
engine uses too; the target is what the engine would have to say: the healed text, the middle, and
the end token. Pure; knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from neuralforge_adapters.fim import Window, heal, layout
from neuralforge_trainer.learn.vocabulary import Vocabulary
from neuralforge_trainer.samples.sample import Sample

_FIM_TOKENS = 3
_LONGEST_TARGET = 2  # a target may take 1 / this of the room: without context it teaches little


@dataclass(frozen=True)
class Encoded:
    """Token ids, and for each the weight of the loss on predicting it (0: no loss)."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    teaching: bytes = b""
    """What is to be said at its targets, where that is known; see `distill`."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Encoder:
    """Encodes samples for one base.

    `tokens` bounds the length; `prefix_weight` is the weight of the loss on the prefix, of which
    the user's own code is the larger part (0: the target alone).
    """

    vocabulary: Vocabulary
    tokens: int
    prefix_weight: float = 0.0
    window: Window = field(default_factory=Window)

    def encode(self, sample: Sample) -> Encoded | None:
        """`sample` encoded; None where its middle is too long to leave room for a context."""
        prefix, suffix = self.window.cut_text(sample.prefix, sample.suffix)
        kept, healed = heal(prefix)
        vocabulary = self.vocabulary
        target = [*vocabulary.encode(healed + sample.middle), vocabulary.end]
        room = self.tokens - len(target) - _FIM_TOKENS
        if len(target) > self.tokens // _LONGEST_TARGET:
            return None
        before, after = self._fit(kept, suffix, room)
        prompt = layout(vocabulary.order, vocabulary.fim, before, after)
        start = 1 if vocabulary.order == "prefix-first" else len(prompt) - len(before)
        weights = [0.0] * len(prompt)
        weights[start : start + len(before)] = [self.prefix_weight] * len(before)
        return Encoded((*prompt, *target), (*weights, *[1.0] * len(target)))

    def _fit(self, kept: str, suffix: str, room: int) -> tuple[list[int], list[int]]:
        """Tokens before and after the cursor, cut to `room` as the engine cuts them."""
        vocabulary = self.vocabulary
        after = [] if vocabulary.order == "left-to-right" else vocabulary.encode(suffix)
        after = after[: room // 3]
        before = [*vocabulary.beginning, *vocabulary.encode(kept)]
        return before[max(0, len(before) + len(after) - room) :], after


def encode_all(encoder: Encoder, samples: Iterable[Sample]) -> list[Encoded]:
    """The samples that can be encoded, in order."""
    return [encoded for sample in samples if (encoded := encoder.encode(sample)) is not None]
