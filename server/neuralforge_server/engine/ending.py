"""How an engine process ended, in words that say what to do."""

from __future__ import annotations

import sys

UNLOADABLE = 69
"""The status of a process that could not load llama.cpp (`EX_UNAVAILABLE` of sysexits.h)."""


def ending(code: int) -> str:
    """What to tell of a status; negative for a signal, as subprocess does."""
    if code == UNLOADABLE:
        return (
            "llama.cpp cannot be loaded, so that nothing can be completed; install it again with "
            f"`{sys.executable} -m pip install --force-reinstall llama-cpp-python`"
        )
    return f"the engine process ended (status {code})"
