"""The words between an indexer and whoever started it: one JSON object a line.

The order comes on the child's stdin, which ends with its parent; progress comes from its stdout.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

IndexerState = Literal["waiting", "loading", "scanning", "watching", "failed", "ended"]
"""Another process keeps this workspace's indexes; the base's vocabulary is being read; files are
being taken in; all is up to date; an index cannot be written; there is no process any more."""


@dataclass(frozen=True)
class IndexerOrder:
    """What to index."""

    workspace: str
    home: str
    profile: str
    exclude: tuple[str, ...]
    """The user's own patterns."""
    base: str = ""
    """Path of the base whose tokens the fast memory is made of; empty for no fast memory."""
    base_digest: str = ""


@dataclass(frozen=True)
class IndexerProgress:
    """Where an indexer stands."""

    state: IndexerState
    files: int = 0
    message: str = ""
    """What the user should know, said once; empty for nothing."""


def encode(value: IndexerOrder | IndexerProgress) -> bytes:
    """One line."""
    return json.dumps(asdict(value)).encode() + b"\n"


def decode_order(line: bytes) -> IndexerOrder:
    """The order in a line.

    Raises:
        ValueError, TypeError: it is none.
    """
    fields = json.loads(line)
    return IndexerOrder(**{**fields, "exclude": tuple(fields.get("exclude", ()))})


def decode_progress(line: bytes) -> IndexerProgress:
    """The progress in a line.

    Raises:
        ValueError, TypeError: it is none.
    """
    return IndexerProgress(**json.loads(line))
