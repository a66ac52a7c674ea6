"""Keeps the training libraries off the network and off the terminal.

Invariant: nothing of the trainer calls out. The libraries read these variables when they are
imported, so `go_offline` comes before that.
"""

from __future__ import annotations

import os

_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def go_offline() -> None:
    """Tell transformers, PEFT and the hub's client to stay silent and at home."""
    os.environ.update(_OFFLINE)
    from transformers.utils import logging

    logging.disable_progress_bar()
