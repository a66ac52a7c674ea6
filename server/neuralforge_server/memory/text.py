"""Cuts a text where no tokenizer joins anything, so that pieces of it can be tokenised alone.

Invariant: the pieces make up the text, and each begins at a line that is not blank: pre-tokenizers
of the GPT-2 kind (see `fim`) end a run of white space at its last line end. A base with another
pre-tokenizer may get other tokens right at a cut, which costs a match there and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_BLOCK = re.compile(r"(?:[^\S\r\n]*[\r\n]+)*[^\r\n]*(?:[^\S\r\n]*[\r\n]+)*(?![^\S\r\n]*[\r\n])")
_CHUNK = 1 << 16
"""Characters tokenised by one call: long enough not to matter, short enough to be let go."""


def blocks(text: str) -> list[str]:
    """`text` in single lines, each with the blank lines after it (the first, also before it)."""
    return [block for block in _BLOCK.findall(text) if block]


def chunks(text: str, size: int = _CHUNK) -> Iterator[str]:
    """`text` in pieces of about `size` characters."""
    held: list[str] = []
    length = 0
    for block in blocks(text):
        held.append(block)
        length += len(block)
        if length >= size:
            yield "".join(held)
            held, length = [], 0
    if held:
        yield "".join(held)
