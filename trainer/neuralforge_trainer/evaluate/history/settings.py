"""Every default of the proof in one place, and the digest by which its results are kept.

Invariant: two runs share a digest only if nothing that determines a figure differs between them:
settings, the code that learns, serves and asks, the libraries that compute, and the interpreter,
whose library is the general code. Comments and the layout of code do not count. Knows no
repository.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from neuralforge_trainer.settings import Arm, JobSettings

JOINT: Literal["joint"] = "joint"
Learner = Arm | Literal["joint"]
LEARNERS: tuple[str, ...] = (*get_args(Arm), JOINT)
"""What guards against forgetting; `joint` learns all windows at once from the bare base."""

_ASKING = ("copier", "general", "heldout", "metrics", "moments", "shown", "workspace")
_TRAVELLING = ("course", "exams", "learners", "one_update", "periods", "typist")
_ADAPTERS = ("convert", "fim", "fim_families", "fold", "handwritten", "language")
_CODE: dict[str, tuple[str, ...]] = {
    "neuralforge_trainer": (
        "update.py",
        "collecting/from_git.py",
        "collecting/material.py",
        "learn/*.py",
        "samples/*.py",
        *(f"evaluate/{name}.py" for name in _ASKING),
        *(f"evaluate/history/{name}.py" for name in _TRAVELLING),
    ),
    "neuralforge_server": (
        "completion/extent.py",
        "completion/filter.py",
        "context/*.py",
        "engine/*.py",
        "memory/*.py",
    ),
    "neuralforge_adapters": tuple(f"{name}.py" for name in _ADAPTERS),
}
"""What a figure depends on, by package; docs/learning.md lists it."""
_LIBRARIES = ("gguf", "llama-cpp-python", "numpy", "peft", "torch", "transformers")


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
        content = json.dumps([asdict(self), platform.python_version(), code_digest()])
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def code_digest() -> str:
    """Names the code that a figure depends on, and the versions of the libraries below it."""
    digest = hashlib.sha256()
    for name in _LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    for package, shapes in _CODE.items():
        root = Path(str(files(package)))
        for path in sorted({path for shape in shapes for path in root.glob(shape)}):
            meaning = ast.dump(ast.parse(path.read_text("utf-8")))
            digest.update(f"{path.relative_to(root).as_posix()}\n{meaning}\n".encode())
    return digest.hexdigest()
