"""How much memory there is: of the machine, or of what a container leaves this process.

Invariant: never more than the machine has. Knows no model.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

CONTAINER = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
"""(limit, usage) of control groups, by their second and their first version."""


def total_bytes() -> int:
    """Memory that there is at all."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in _limits())])


def available_bytes() -> int:
    """Memory that is left; what the kernel would give back counts as taken in a container."""
    left = [limit - used for limit, used in _limits()]
    return max(0, min([psutil.virtual_memory().available, *left]))


def _limits() -> list[tuple[int, int]]:
    found = []
    for limit, usage in CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # absent, or `max`
            found.append((int(limit.read_text("ascii")), int(usage.read_text("ascii"))))
    return found
