"""Lays out what the base is shown: surroundings, suffix, prefix, in the base's own format.

Invariant: with nothing around, a prompt is what `fim.layout` makes of the window alone. While
the user types, the head of the prompt stays the same tokens: what comes before the prefix does
not depend on it, and the prefix is cut in steps. Surroundings are written as the base was trained
on them (`trainer/…/pretrain/rows.py`; Qwen2.5-Coder's repository format). Knows no cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from neuralforge_adapters.fim import FimOrder, layout
from neuralforge_server.engine.protocol import Snippet, Surroundings
from neuralforge_server.engine.vocabulary import Vocabulary
from neuralforge_server.memory.text import blocks

_FRONT_SHARE = 0.4
"""Of the context, for the surroundings; the rest is the window's."""
_LEAST_SNIPPET = 24
"""Tokens: a shorter remainder of a snippet is not worth its path."""
_STEP = 64
"""Tokens by which the prefix is cut, so that the head stays cached for as many keystrokes."""
_RESERVES = 8
"""Steps in which room is left for the generated tokens."""
_SLACK = 4
"""Tokens left free for the special ones."""
_CACHED_BLOCKS = 8192
_CACHED_TEXTS = 256
_PROBE = "a = [\n    1,\n\n\n  \n\tb);\r\n\r\n  }\n// c\n \n"
"""Where its lines can be tokenised one by one, the base's pre-tokenizer ends at line ends."""
_PLAIN_SEPARATOR = "\n\n--- snippet ---\n\n"
"""Between files for a base without a token for it, as llama-server's /infill writes it."""


@dataclass(frozen=True)
class Prompt:
    """What is evaluated, and the same text with the cursor at its end."""

    tokens: list[int]
    left: list[int]
    """Surroundings, suffix, prefix: where a copy of what comes next may stand."""
    right: tuple[int, ...]
    """The suffix as far as it was given, whether it is shown or not."""


class Prompts:
    """Makes prompts for one base."""

    def __init__(self, vocabulary: Vocabulary, order: FimOrder, context: int) -> None:
        self._vocabulary = vocabulary
        self._order = order
        self._context = context
        self._block = lru_cache(_CACHED_BLOCKS)(lambda text: tuple(vocabulary.tokenize(text)))
        self._in_blocks = self._joined(_PROBE) == vocabulary.tokenize(_PROBE)
        self._tokens = lru_cache(_CACHED_TEXTS)(lambda text: tuple(self._tokenize(text)))

    def make(self, kept: str, suffix: str, around: Surroundings, reserve: int) -> Prompt:
        """The prompt for the cursor after `kept`, cut to leave `reserve` tokens; never empty."""
        step = self._context // _RESERVES
        reserve = -(-reserve // step) * step  # so that requests of other lengths share the head
        room = max(16, self._context - reserve - _SLACK)
        front = self._front(around, min(room // 2, int(_FRONT_SHARE * self._context)))
        room -= len(front)
        blind = self._order == "left-to-right"
        right = self._tokens(suffix)
        after = () if blind else right[: room // 3]
        before = self._before(kept, beginning=blind and not front)
        excess = len(before) + len(after) - room
        if excess > 0:
            before = before[-(-excess // _STEP) * _STEP :]
        tokens = layout(self._order, self._vocabulary.fim, before, after, front)
        left = [*front, *after, *before]
        return Prompt(tokens or [min(self._vocabulary.end_tokens, default=0)], left, right)

    def _before(self, kept: str, *, beginning: bool) -> list[int]:
        if beginning:  # with what the base wants at a prompt's start
            return self._vocabulary.tokenize(kept, beginning=True)
        return self._tokenize(kept)

    def _tokenize(self, text: str) -> list[int]:
        """Of a text that changes with every key, only the changed lines are tokenised anew."""
        return self._joined(text) if self._in_blocks else self._vocabulary.tokenize(text)

    def _joined(self, text: str) -> list[int]:
        return [token for block in blocks(text) for token in self._block(block)]

    def _front(self, around: Surroundings, room: int) -> list[int]:
        """Repository, snippets and own path, in at most `room` tokens; the best comes last."""
        file = self._vocabulary.file_separator
        if file is None:
            return self._plain_front(around, room)
        name = self._vocabulary.repository_name
        head = self._marked(name, around.repository) if around.repository and name else []
        own = self._marked(file, around.path) if around.path else []
        room -= len(head) + len(own)
        if room < 0:
            return []
        shown = list(self._fitting(around.snippets, [file], room))
        return [*head, *(token for tokens in reversed(shown) for token in tokens), *own]

    def _plain_front(self, around: Surroundings, room: int) -> list[int]:
        shown = list(self._fitting(around.snippets, self._tokens(_PLAIN_SEPARATOR), room))
        return [token for tokens in reversed(shown) for token in tokens]

    def _fitting(
        self, snippets: tuple[Snippet, ...], mark: list[int] | tuple[int, ...], room: int
    ) -> Iterator[list[int]]:
        """The snippets in order while `room` lasts, the last one cut at a line's end."""
        for snippet in snippets:
            head = [*mark, *self._tokens(f"{snippet.path}\n")]
            text = snippet.text if snippet.text.endswith("\n") else f"{snippet.text}\n"
            body = self._tokens(text)
            if len(head) + len(body) > room:
                body = self._whole_lines(body[: max(0, room - len(head))])
            if len(body) < min(_LEAST_SNIPPET, len(self._tokens(text))):
                return
            room -= len(head) + len(body)
            yield [*head, *body]

    def _whole_lines(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """`tokens` up to the last that ends a line."""
        ends = (i for i in range(len(tokens), 0, -1) if self._ends_line(tokens[i - 1]))
        return tokens[: next(ends, 0)]

    def _ends_line(self, token: int) -> bool:
        return self._vocabulary.piece(token).endswith(b"\n")

    def _marked(self, mark: int, text: str) -> list[int]:
        return [mark, *self._tokens(f"{text}\n")]
