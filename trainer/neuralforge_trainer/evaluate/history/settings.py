"""Every default of the proof in one place, and the digest by which its results are kept.

Invariant: two runs share a digest only if nothing that determines a figure differs between them:
settings and threads, the code that learns, serves and asks, the libraries that compute, the
interpreter, and the general code that is asked about. Knows no repository.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

import psutil

from neuralforge_trainer.evaluate.general import general_items
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.history.closure import code_digest
from neuralforge_trainer.settings import Arm, JobSettings

JOINT: Literal["joint"] = "joint"
Learner = Arm | Literal["joint"]
LEARNERS: tuple[str, ...] = (*get_args(Arm), JOINT)
"""What guards against forgetting; `joint` learns all windows at once from the bare base."""


@dataclass(frozen=True)
class ProofSettings:
    """How a history is cut, asked about and learnt."""

    updates: int = 10
    """Windows that are learnt, one after the other; one more is only asked about."""
    samples: int = 200
    """New samples in an update, drawn as in production where a window has more."""
    items: int = 24
    """Lines asked about in each window."""
    lines: int = 4
    """Lines of each window that are typed out, for RoCC."""
    general: int = 60
    """Lines of general code that are asked about before the first and after the last update."""
    threads: int = 0
    """Of engine and trainer; 0 for every core."""
    seed: int = 0
    job: JobSettings = field(default_factory=JobSettings)

    @property
    def cores(self) -> int:
        """What `threads` comes to here."""
        return self.threads or psutil.cpu_count(logical=False) or 1

    def digest(self) -> str:
        """Names the settings and the code that a figure depends on: 12 hex digits."""
        settings = asdict(self) | {"threads": self.cores}
        general = [(item.commit, item.prefix, item.expected) for item in self.general_items()]
        content = json.dumps([settings, general, platform.python_version(), code_digest()])
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def general_items(self) -> list[Item]:
        """The lines of general code: of the interpreter and the packages that are installed."""
        return general_items(self.general, self.seed)
