"""Work that nobody waits for gives way to everything else."""

from __future__ import annotations

import contextlib

import psutil


def lower_priority() -> None:
    """Give this process idle priority for processor and disk, as far as the platform has it."""
    process = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        process.nice(getattr(psutil, "IDLE_PRIORITY_CLASS", 19))
    with contextlib.suppress(psutil.Error, OSError, ValueError, AttributeError):
        idle = getattr(psutil, "IOPRIO_CLASS_IDLE", getattr(psutil, "IOPRIO_VERYLOW", None))
        if idle is not None:
            process.ionice(idle)
