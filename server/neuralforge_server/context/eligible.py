"""Which files are worth showing to a base: code that a person keeps by hand, and no secrets.

Invariant: a file that the session log excludes is excluded here; in doubt a file stays out.
Knows neither an index nor an editor.
"""

from __future__ import annotations

from neuralforge_adapters.fim import split_lines
from neuralforge_adapters.handwritten import MOST_BYTES, is_handwritten, is_own_path
from neuralforge_server.session.scrub import (
    find_secrets,
    has_placeholder,
    may_hold_secret,
    scrub,
)

__all__ = ["MOST_BYTES", "has_secret", "is_own_path", "readable", "without_secrets"]


def readable(data: bytes) -> str | None:
    """The text of a file without its secrets.

    None for one that is too large, binary, not UTF-8, generated or minified.
    """
    if len(data) > MOST_BYTES or b"\0" in data:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return without_secrets(text) if is_handwritten(text) else None


def without_secrets(text: str) -> str:
    """`text` with the lines that hold a secret left blank."""
    if not has_secret(text):
        return text
    lines = split_lines(scrub(text))
    return "".join("\n" if has_placeholder(line) else line for line in lines)


def has_secret(text: str) -> bool:
    """Whether a secret stands in `text`, as the session log's scrubber sees it."""
    suspects = [line for line in text.splitlines() if may_hold_secret(line)]
    return bool(suspects and find_secrets("\n".join(suspects)))
