"""What any part of the server has to tell the user. Knows neither who tells nor how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Notice:
    """Something that the user should know."""

    kind: Literal["info", "warning", "error"]
    message: str
    answers: bool = False
    """It answers what the user asked for, and is said however often that is."""
