"""Which process answers for a row: only it, or whoever comes after its death, measures it.

Invariant: a token names one process for good, since a reused process id starts at another
time. Knows nothing of what is owned.
"""

from __future__ import annotations

from functools import cache

import psutil

_CLOCK_STEP_S = 2.0
"""The system computes a start time from the wall clock, which may be corrected in between."""


@cache
def own_token() -> str:
    """This process, as `<pid>:<start in Unix seconds>`."""
    process = psutil.Process()
    return f"{process.pid}:{process.create_time():.2f}"


def is_alive(token: str) -> bool:
    """Whether the process that `token` names still runs."""
    pid, _, started = token.partition(":")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < _CLOCK_STEP_S
    except psutil.AccessDenied:  # it exists and is someone else's, so it is not the same one
        return False
    except (psutil.NoSuchProcess, ValueError):
        return False
