"""Turns documents into rows of tokens: plain text of a repository, or a middle to fill in.

Invariant: a row has exactly its length, and belongs to one document (and its neighbours in the
same package), so that plain causal attention never crosses from one repository into another. A
middle is tokenised as the engine generates it: joined with the healed end of the prefix.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from neuralforge_adapters.fim import FimTokens, heal, layout
from neuralforge_trainer.pretrain.clean import Document
from neuralforge_trainer.pretrain.config import PackConfig
from neuralforge_trainer.pretrain.middles import draw_middle
from neuralforge_trainer.pretrain.tokenizer import Tokenizer
from neuralforge_trainer.samples.syntax import Tree

_HEALED = 0.85
"""Share of the cuts that are healed as the engine does; the others stay where they are."""
_SUFFIX_FIRST = 0.8
_NO_SUFFIX = 0.12
_WITH_PATH = 0.35
"""Share of the FIM samples with the file's path in front, and pieces of neighbouring files."""
_FRONT_SHARE = 0.4
"""Of a row, at most, for what stands in front, as in the engine's prompts."""
_SHORTEST_WITH_PIECES = 512
_SKIP_HEAD = 0.8
"""A licence at the head of each file is soon known by heart."""
_LEAST_PREFIX = 16
_LEAST_PIECE = 32
_OVERLAP = 1.5
"""Tokens of a document's rows for each of its own, as measured."""

_GRAMMARS = {"typescript": "typescriptreact"}
"""A corpus counts .tsx files as TypeScript."""
_HEAD = re.compile(r"\A(?:[ \t]*(?:#|//|/?\*|--)[^\n]*\n|[ \t]*\n)+")

Row = tuple[int, list[int]]


@dataclass(frozen=True)
class RowMaker:
    """Makes rows; `characters` is how many a token stands for, by language."""

    tokenizer: Tokenizer
    config: PackConfig
    characters: dict[str, float]

    def tokens(self, document: Document) -> float:
        """About how many tokens the rows of `document` have; they overlap a little."""
        return _OVERLAP * len(document.text) / self.characters[document.language]

    def rows(
        self, document: Document, neighbours: Sequence[Document], random_source: random.Random
    ) -> Iterator[Row]:
        """Rows over the whole of `document`, each with its length; others of its package beside."""
        text = document.text
        tree = Tree(text, _GRAMMARS.get(document.language, document.language))
        position = _body(text) if random_source.random() < _SKIP_HEAD else 0
        while position < len(text) - 1:
            length = self._length(random_source)
            if random_source.random() < self.config.fim:
                row, position = self._fim(
                    document, tree, neighbours, position, length, random_source
                )
            else:
                neighbour = next(iter(neighbours), None)
                row, position = self._plain(document, neighbour, position, length)
            if row:
                yield self._padded(row, length)

    def _length(self, random_source: random.Random) -> int:
        """By share of tokens, so short rows are drawn more often."""
        lengths = list(self.config.lengths)
        weights = [share / length for length, share in self.config.lengths.items()]
        return random_source.choices(lengths, weights)[0]

    def _plain(
        self, document: Document, neighbour: Document | None, position: int, length: int
    ) -> tuple[list[int], int]:
        tokenizer = self.tokenizer
        row = self._header(document)
        size = int(length * self.characters[document.language] * 1.15) + 8
        window = document.text[position : position + size]
        ids = tokenizer.encode(window)
        room = length - len(row)
        if len(ids) > room:
            return row + ids[:room], position + max(1, len(window) * room // len(ids))
        row += ids
        if position + size >= len(document.text):
            row += self._beside(neighbour, length - len(row)) or [tokenizer.end]
        return row[:length], position + size

    def _fim(
        self,
        document: Document,
        tree: Tree,
        neighbours: Sequence[Document],
        position: int,
        length: int,
        random_source: random.Random,
    ) -> tuple[list[int], int]:
        """A row, and where the next begins; no row where the middle takes too much of it."""
        text = document.text
        size = int(length * self.characters[document.language])
        after = 0 if random_source.random() < _NO_SUFFIX else random_source.uniform(0.04, 0.35)
        reach = (size * (1 - after)) * random_source.uniform(0.0 if position == 0 else 0.5, 1)
        near = min(len(text) - 1, position + int(reach))
        start, end = draw_middle(text, tree, near, random_source)
        suffix = _whole_lines(text[end : end + int(size * after)])
        prefix = text[max(0, start - size) : start]
        following = max(position + 1, end)
        middle = self._middle(prefix, text[start:end], random_source)
        if len(middle[1]) > length // 2:
            return [], following
        front = self._front(document, neighbours, length, random_source)
        return self._laid_out(*middle, suffix, front, length, random_source), following

    def _middle(
        self, prefix: str, middle: str, random_source: random.Random
    ) -> tuple[list[int], list[int]]:
        """Token ids before the middle, and of the middle with its end."""
        tokenizer = self.tokenizer
        kept, healed = heal(prefix) if random_source.random() < _HEALED else (prefix, "")
        return tokenizer.encode(kept), [*tokenizer.encode(healed + middle), tokenizer.end]

    def _laid_out(
        self,
        before: list[int],
        middle: list[int],
        suffix: str,
        front: list[int],
        length: int,
        random_source: random.Random,
    ) -> list[int]:
        room = length - len(middle) - 3
        if len(front) > room - _LEAST_PREFIX:
            front = []
        room -= len(front)
        after = self.tokenizer.encode(suffix)[: room // 3]
        before = before[max(0, len(before) - (room - len(after))) :]
        fim = FimTokens(self.tokenizer.prefix, self.tokenizer.suffix, self.tokenizer.middle)
        suffix_first = random_source.random() < _SUFFIX_FIRST
        order = "suffix-first" if suffix_first else "prefix-first"
        return [*front, *layout(order, fim, before, after), *middle]  # type: ignore[arg-type]

    def _front(
        self,
        document: Document,
        neighbours: Sequence[Document],
        length: int,
        random_source: random.Random,
    ) -> list[int]:
        """What stands before a FIM sample: nothing, or the own path behind pieces of other files.

        As the engine lays out what it retrieves (`engine/prompt.py`).
        """
        if random_source.random() >= _WITH_PATH:
            return []
        own = [self.tokenizer.file, *self.tokenizer.encode(f"{document.path}\n")]
        if not neighbours or length < _SHORTEST_WITH_PIECES:
            return own
        name = [self.tokenizer.repository, *self.tokenizer.encode(f"{document.package}\n")]
        shown = random_source.sample(neighbours, random_source.randint(1, len(neighbours)))
        room = (int(_FRONT_SHARE * length) - len(name) - len(own)) // len(shown)
        pieces = [self._piece(neighbour, room, random_source) for neighbour in shown]
        return [*name, *(token for piece in pieces for token in piece), *own]

    def _piece(self, neighbour: Document, room: int, random_source: random.Random) -> list[int]:
        """Some whole lines of a neighbouring file, from anywhere in it, behind its path."""
        if room < _LEAST_PIECE:
            return []
        text = neighbour.text
        start = text.rfind("\n", 0, random_source.randrange(len(text))) + 1
        size = int(room * self.characters[neighbour.language])
        lines = f"{neighbour.path}\n{_whole_lines(text[start : start + size])}"
        return [self.tokenizer.file, *self.tokenizer.encode(lines)[: room - 1]]

    def _header(self, document: Document) -> list[int]:
        tokenizer = self.tokenizer
        name = tokenizer.encode(f"{document.package}\n")
        path = tokenizer.encode(f"{document.path}\n")
        return [tokenizer.repository, *name, tokenizer.file, *path]

    def _beside(self, neighbour: Document | None, room: int) -> list[int]:
        """The beginning of a neighbouring file, without its head of comments."""
        if neighbour is None or room < _LEAST_PIECE:
            return []
        size = int(room * self.characters[neighbour.language] * 1.2)
        start = _body(neighbour.text)
        text = f"{neighbour.path}\n{neighbour.text[start : start + size]}"
        return [self.tokenizer.file, *self.tokenizer.encode(text)][:room]

    def _padded(self, row: list[int], length: int) -> Row:
        """The row at the shortest length that holds it."""
        fitting = min(size for size in self.config.lengths if size >= min(len(row), length))
        return fitting, row[:fitting] + [self.tokenizer.pad] * (fitting - len(row))


def characters_per_token(
    tokenizer: Tokenizer, documents: Sequence[Document], sample: int = 40
) -> dict[str, float]:
    """Measured on a few documents of each language."""
    texts: dict[str, list[str]] = {}
    for document in documents:
        known = texts.setdefault(document.language, [])
        if len(known) < sample:
            known.append(document.text)
    return {
        name: sum(map(len, some)) / max(1, sum(len(tokenizer.encode(text)) for text in some))
        for name, some in texts.items()
    }


def _body(text: str) -> int:
    """Where a file's text begins after its head of comments."""
    head = _HEAD.match(text)
    return head.end() if head and head.end() < len(text) - 1 else 0


def _whole_lines(suffix: str) -> str:
    """`suffix` up to its last line end, as the engine's window cuts it."""
    end = suffix.rfind("\n")
    return suffix[: end + 1] if end > 0 else suffix
