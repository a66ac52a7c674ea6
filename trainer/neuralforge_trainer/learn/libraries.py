"""Keeps the training libraries off the network, the terminal, and the user's cores and memory.

Invariant: nothing of the trainer calls out. The libraries read these variables when they are
imported, so `tame_libraries` comes before that.
"""

from __future__ import annotations

import ctypes
import os
import sys

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",  # what Apple's GPU lacks is computed on the CPU
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads took three times the CPU on a busy machine
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_LARGE = 4_000_000
"""Bytes of a block that goes back to the system when it is freed."""


def tame_libraries() -> None:
    """Tell transformers, PEFT, the hub's client and OpenMP to stay silent and at home."""
    os.environ.update(_ENVIRONMENT)
    _give_back_memory()
    from transformers.utils import logging

    logging.disable_progress_bar()


def _give_back_memory() -> None:
    """Where glibc allocates: it raises these limits by itself and keeps what was freed, in holes.

    Rows of ever other lengths leave many; without them an update needs a tenth less memory
    (docs/lab-log.md).
    """
    if sys.platform != "linux":
        return
    set_limit = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if set_limit is not None:
        set_limit(_M_MMAP_THRESHOLD, _LARGE)
        set_limit(_M_TRIM_THRESHOLD, 0)
