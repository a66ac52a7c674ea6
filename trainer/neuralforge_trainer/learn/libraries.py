"""Keeps the training libraries off the network, off the terminal and off the user's cores.

Invariant: nothing of the trainer calls out. The libraries read these variables when they are
imported, so `tame_libraries` comes before that.
"""

from __future__ import annotations

import os

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


def tame_libraries() -> None:
    """Tell transformers, PEFT, the hub's client and OpenMP to stay silent and at home."""
    os.environ.update(_ENVIRONMENT)
    from transformers.utils import logging

    logging.disable_progress_bar()
