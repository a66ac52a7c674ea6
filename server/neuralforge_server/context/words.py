"""The words of code: identifiers as they stand, and the parts that they are composed of.

Invariant: an identifier and its parts are folded to lower case, as both the index and a query are
made of them. Knows no language: keywords are told by how often they occur, not by a list.
"""

from __future__ import annotations

import re

_IDENTIFIER = re.compile(r"[^\W\d][\w$]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+")
_LONGEST = 64
"""Characters; what is longer is data that looks like a word."""
_LEAST_PART = 3


def identifiers(text: str) -> list[str]:
    """The identifiers of `text` in their order, of two characters or more, in their own case."""
    return [word for word in _IDENTIFIER.findall(text) if len(word) <= _LONGEST]


def parts(identifier: str) -> list[str]:
    """`fetch`, `user`, `name` of `fetchUserName` and `fetch_user_name`; none of a single word."""
    found = [part.lower() for part in _PART.findall(identifier) if len(part) >= _LEAST_PART]
    return [] if len(found) == 1 and len(found[0]) == len(identifier) else found


def indexed(text: str) -> tuple[str, str]:
    """What the full-text index holds of `text`: its identifiers, and their parts, each once."""
    own = dict.fromkeys(identifiers(text))
    pieces = dict.fromkeys(part for word in own for part in parts(word))
    names = dict.fromkeys(word.lower() for word in own)
    return " ".join(names), " ".join(piece for piece in pieces if piece not in names)
