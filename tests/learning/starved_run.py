"""A run that memory is short for, beside the same run with enough. Run as a program, on Linux.

Arguments: base and a folder. Prints as JSON: how many rows were computed at once in the end, the
steps of both runs, and the largest difference between their weights.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import psutil

from neuralforge_adapters.base import Base, file_digest
from neuralforge_trainer.learn.libraries import tame_libraries

ROOM = 200 << 20
"""Bytes of address space beyond those in use: logits and gradients of all rows take 300 MB."""
ROWS, TOKENS = 8, 256


def main(base: str, folder: str) -> None:
    tame_libraries()
    import torch

    from neuralforge_trainer.learn.encode import Encoded
    from neuralforge_trainer.learn.lora import attach_lora, load_base, lora_parameters
    from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings

    torch.set_num_threads(1)
    source = torch.Generator().manual_seed(3)
    examples = [
        Encoded(tuple(torch.randint(0, 12_000, (n,), generator=source).tolist()), (1.0,) * n)
        for n in [TOKENS] * ROWS * 2
    ]
    path = Path(base)
    opened = Base(path, file_digest(path))

    def trainer(name: str, rows: int) -> PersonalTrainer:
        settings = RunSettings(5e-3, rows, ROWS // rows, 0.0, 0, 1000, 0.0)
        return PersonalTrainer(
            attach_lora(load_base(opened), seed=1), examples, Path(folder) / name, settings
        )

    starved = trainer("starved", ROWS)  # first: nothing is left over that it could use
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    steps = starved.run()
    resource.setrlimit(resource.RLIMIT_AS, before)
    free = trainer("free", 2)
    free_steps = free.run()
    pairs = zip(
        lora_parameters(free.model).values(), lora_parameters(starved.model).values(), strict=True
    )
    print(
        json.dumps(
            {
                "rows": starved.rows,
                "steps": steps,
                "free_steps": free_steps,
                "difference": max(float((a - b).abs().max()) for a, b in pairs),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
