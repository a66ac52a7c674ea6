"""Every default of the proof in one place, and the digest by which its results are kept.

Invariant: two runs share a digest only if nothing that determines a figure differs between them:
settings, the trainer's code that learns and asks, and the interpreter whose library is the general
code. Knows no repository.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from neuralforge_trainer.settings import Arm, JobSettings

JOINT: Literal["joint"] = "joint"
Learner = Arm | Literal["joint"]
LEARNERS: tuple[str, ...] = (*get_args(Arm), JOINT)
"""What guards against forgetting; `joint` learns all windows at once from the bare base."""

_ASKING = ("copier", "general", "heldout", "metrics", "moments", "shown", "workspace")
_TRAVELLING = ("course", "exams", "learners", "one_update", "periods", "typist")
_CODE = (
    "update.py",
    "collecting/from_git.py",
    "learn/*.py",
    "samples/*.py",
    *(f"evaluate/{name}.py" for name in _ASKING),
    *(f"evaluate/history/{name}.py" for name in _TRAVELLING),
)


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

    def digest(self) -> str:
        """Names the settings and the code that a figure depends on: 12 hex digits."""
        content = json.dumps(asdict(self), sort_keys=True) + platform.python_version()
        digest = hashlib.sha256(content.encode())
        root = Path(__file__).parents[2]
        for path in sorted(path for shape in _CODE for path in root.glob(shape)):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()[:12]
