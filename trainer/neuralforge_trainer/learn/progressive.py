"""Progressive mode: an adapter for each task, of which only the one at work is trained.

A task is a repository, and its adapter is named `personal-<repository>`. The others in the stack
stay as they are: they are added to the base's weights at their scales, so that the new adapter
learns what they leave over and all are served together (compare progressive networks, Rusu et al.
2016, here with the sum that a stack of LoRAs computes instead of lateral connections).

Invariant: no file of another adapter is written. Knows no samples and no gate.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuralforge_adapters.convert import PEFT_WEIGHTS
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import (
    Entries,
    ResolvedAdapter,
    StackEntry,
    StackFile,
    adapter_name,
    resolve,
)
from neuralforge_adapters.store import PERSONAL, AdapterStore
from neuralforge_trainer.learn.libraries import tame_libraries

_LONGEST = 40
"""Characters of a repository's name in its adapter's name."""


@dataclass(frozen=True)
class Task:
    """What a job trains, and beside what."""

    name: str = PERSONAL
    """The adapter's."""
    others: tuple[ResolvedAdapter, ...] = ()
    """Those that stay as they are and are served with it."""
    data: dict[str, str] = field(default_factory=dict)
    """For the manifest."""


def choose_task(home: Home, base_digest: str, data: Mapping[str, Any]) -> Task:
    """The task of a job whose manifest will say `data` (repository, or another source)."""
    task = str(data.get("repository") or data.get("source") or "sessions")
    name = task_adapter(AdapterStore(home), task)
    return Task(name, others(home, base_digest, name), {"task": task})


def task_adapter(store: AdapterStore, task: str) -> str:
    """The name of the adapter for `task`, a repository's folder or a word for another source.

    Of two folders of one name the one that came later gets a number.
    """
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", Path(task).name).strip("-.")[:_LONGEST] or "repository"
    number = 1
    while True:
        name = f"{PERSONAL}-{slug}" + (f"-{number}" if number > 1 else "")
        current = store.current(name)
        if current is None or current.manifest.data.get("task") == task:
            return name
        number += 1


def others(home: Home, base_digest: str, own: str) -> tuple[ResolvedAdapter, ...]:
    """What of the stack in force is personal, fits the base and is not the adapter `own`."""
    store = AdapterStore(home)
    found: list[ResolvedAdapter] = []
    for entry in StackFile(home).read():
        name = adapter_name(entry.adapter)
        if name != own and (name == PERSONAL or name.startswith(f"{PERSONAL}-")):
            with contextlib.suppress(AdapterError):  # of another base, or gone: not served either
                found += resolve((entry,), store, base_digest).adapters
    return tuple(a for a in found if (a.path.parent / PEFT_WEIGHTS).is_file())


def add_frozen(model: Any, adapters: Sequence[ResolvedAdapter]) -> Any:
    """`model`, a base in float32, with the adapters' updates added to its weights."""
    tame_libraries()
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    for adapter in adapters:
        wrapped = PeftModel.from_pretrained(model, adapter.path.parent)
        for module in wrapped.modules():
            if isinstance(module, LoraLayer):
                module.set_scale(wrapped.active_adapter, adapter.scale)
        model = wrapped.merge_and_unload()
    return model.requires_grad_(False)


def serve_too(home: Home, name: str) -> Entries:
    """Put the adapter `name` into the stack in force, unless it is there with a scale already.

    Raises:
        StackError, HomeError: the stack cannot be changed.
    """

    def change(entries: Entries) -> Entries:
        if any(adapter_name(entry.adapter) == name for entry in entries):
            return entries
        return (*entries, StackEntry(name))

    return StackFile(home).update(change)
