"""Whether a base can be trained on this machine, before anyone waits for it.

Invariant: torch is never imported here; what only transformers can tell is asked of a process of
its own, and only after everything that is known without it. Knows no samples.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from neuralforge_adapters.base_facts import read_facts
from neuralforge_adapters.base_memory import Shape, least_training_bytes
from neuralforge_adapters.convert import CONVERTIBLE
from neuralforge_adapters.home import HOME_VARIABLE, PROFILE_VARIABLE, Home
from neuralforge_adapters.machine_memory import total_bytes
from neuralforge_server.learning.trainer_process import HOW_TO_ADD, missing_packages


def obstacle(path: Path, home: Home) -> str:
    """Why the base at `path` cannot be trained here; empty where nothing speaks against it.

    Raises:
        BaseFileError: the file cannot be read.
    """
    facts = read_facts(path)
    return shape_obstacle(facts.architecture, facts.shape) or _probed(path, home)


def shape_obstacle(architecture: str, shape: Shape) -> str:
    """`obstacle` as far as architecture, memory and installed packages decide it."""
    if architecture not in CONVERTIBLE:
        return (
            f"adapters for the architecture {architecture} cannot be converted for llama.cpp yet "
            f"(only for {', '.join(CONVERTIBLE)})"
        )
    needed, there = least_training_bytes(shape), total_bytes()
    if needed > there:
        return (
            f"it takes at least {needed / 1e9:.1f} GB of memory, and there are {there / 1e9:.1f} GB"
        )
    if missing := missing_packages():
        return f"training needs {', '.join(missing)}: {HOW_TO_ADD}"
    return ""


def _probed(path: Path, home: Home) -> str:
    """What transformers says of the architecture, and whether it splits texts as llama.cpp does."""
    module = "neuralforge_trainer.learn.trainable"
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, str(path)],
        capture_output=True,
        text=True,
        env=os.environ | {HOME_VARIABLE: str(home.root), PROFILE_VARIABLE: home.profile},
    )
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2]
        return f"transformers cannot read it: {last or f'status {done.returncode}'}"
    return str(json.loads(done.stdout.splitlines()[-1])["reason"])
