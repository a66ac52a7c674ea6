"""Which files are worth showing to a base: code that a person keeps by hand, and no secrets.

Invariant: a file that the session log excludes is excluded here; in doubt a file stays out.
Knows neither an index nor an editor.
"""

from __future__ import annotations

import re
from functools import lru_cache

from neuralforge_adapters.handwritten import MOST_BYTES, is_handwritten, is_own_path
from neuralforge_server.session.scrub import find_secrets

__all__ = ["MOST_BYTES", "has_secret", "is_own_path", "readable"]

_CHECKED = 4_096
_SUSPECT = re.compile(
    r"(?i)pass|pwd|secret|token|key|auth|credential|private|contrase|://\S*@"
    r"|(?=[a-z+/=.-]*\d)[\w+/=.-]{8,}|[\w+/=-]{40,}|.{1000}"
)
"""What every pattern of the scrubber needs in a line: asking it costs twenty times as much."""


def readable(data: bytes) -> str | None:
    """The text of a file; None for one too large, binary, not UTF-8, generated or minified."""
    if len(data) > MOST_BYTES or b"\0" in data:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return text if is_handwritten(text) else None


@lru_cache(_CHECKED)
def has_secret(text: str) -> bool:
    """Whether a secret stands in `text`, as the session log's scrubber sees it."""
    suspects = [line for line in text.splitlines() if _SUSPECT.search(line)]
    return bool(suspects and find_secrets("\n".join(suspects)))
