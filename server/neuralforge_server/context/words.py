"""The words of code: identifiers as they stand, and the parts that they are composed of.

Invariant: an identifier and its parts are folded to lower case, as both the index and a query are
made of them. Knows no language: keywords are told by how often they occur, not by a list.
"""

from __future__ import annotations

import re
from functools import lru_cache

_IDENTIFIER = re.compile(r"[^\W\d][\w$]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+")
_LONGEST = 64
"""Characters; what is longer is data that looks like a word."""
_LEAST_PART = 3


def identifiers(text: str) -> list[str]:
    """The identifiers of `text` in their order, of two characters or more, in their own case."""
    return [word for word in _IDENTIFIER.findall(text) if len(word) <= _LONGEST]


@lru_cache(1 << 16)
def parts(identifier: str) -> tuple[str, ...]:
    """`fetch`, `user`, `name` of `fetchUserName` and `fetch_user_name`; none of a single word."""
    found = tuple(p.lower() for p in _PART.findall(identifier) if len(p) >= _LEAST_PART)
    return () if len(found) == 1 and len(found[0]) == len(identifier) else found


@lru_cache(1 << 12)
def indexed(text: str) -> tuple[str, str]:
    """What the full-text index holds of `text`: its identifiers, and their parts, each once."""
    own = dict.fromkeys(identifiers(text))
    pieces = dict.fromkeys(part for word in own for part in parts(word))
    names = dict.fromkeys(word.lower() for word in own)
    return " ".join(names), " ".join(piece for piece in pieces if piece not in names)
