"""A training run that kills itself, as `kill -9` would, at a given moment. Run as a program.

Arguments: base, folder of the run, file for the LoRA's weights, what to count ("micro-batches" or
"file operations" in the run's folder) and at which of them to die (-1: at none). Prints how many
there were.
"""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

from neuralforge_adapters.base import Base, file_digest
from neuralforge_trainer.learn.libraries import tame_libraries

_WRITES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


class Fuse:
    """Counts, and kills the process at a given count."""

    def __init__(self, fatal: int) -> None:
        self.count = 0
        self._fatal = fatal

    def step(self) -> None:
        self.count += 1
        if self.count == self._fatal:
            psutil.Process().kill()


def main(base: str, folder: str, out: str, counted: str, fatal: str) -> None:
    tame_libraries()
    import torch

    from neuralforge_trainer.learn.encode import Encoded
    from neuralforge_trainer.learn.lora import attach_lora, load_base, save_lora
    from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings

    torch.set_num_threads(1)
    fuse = Fuse(int(fatal))

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in _WRITES and str(arguments[0]).startswith(folder):
            fuse.step()

    source = torch.Generator().manual_seed(3)
    examples = [
        Encoded(tuple(torch.randint(0, 12_000, (24,), generator=source).tolist()), (1.0,) * 24)
        for _ in range(40)
    ]
    path = Path(base)
    model = attach_lora(load_base(Base(path, file_digest(path))), seed=1)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1  # so that the order of random numbers counts
    settings = RunSettings(5e-3, 2, 2, 0.1, 1, 3, 0.0)
    by_micro_batch = counted == "micro-batches"
    pace = fuse.step if by_micro_batch else lambda: None
    trainer = PersonalTrainer(model, examples, Path(folder), settings, pace=pace)
    if not by_micro_batch:
        sys.addaudithook(audit)
    trainer.run()
    count = fuse.count
    save_lora(model, Path(out))
    print(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
