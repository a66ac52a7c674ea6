"""Updates in a row, with what keeps the old: slow weights, distillation, EWC's memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gguf_maker import make_base
from neuralforge_adapters.base import Base, file_digest
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import PERSONAL, AdapterStore, AdapterVersion, Manifest
from neuralforge_trainer.errors import ConsolidationError
from neuralforge_trainer.learn.ewc import EWC_FILE, Consolidation
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.learn.run_state import OPTIMIZER_FILE
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.settings import JobSettings
from neuralforge_trainer.update import Lineage, Update

Step = Callable[..., AdapterVersion]


def _samples(start: int, count: int = 12) -> list[Sample]:
    return [
        Sample("ship = ", f"sail_{i}(to=port_{i})", "\n", "python", "a.py", "r", float(i), "git")
        for i in range(start, start + count)
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Two layers of width 64: for what a base does, not for how well."""
    path = tmp_path_factory.mktemp("base") / "small.gguf"
    make_base(path, layers=2, width=64, heads=2, kv_heads=1, hidden=96, vocabulary=12_288)
    return Base(path, file_digest(path))


@pytest.fixture
def step(home: Home, base: Base) -> Step:
    """One update from the current version, published and remembered."""

    def run(start: int, **changes: Any) -> AdapterVersion:
        settings = JobSettings(rehearsal_share=0.1, fisher_samples=4, **changes)
        store = AdapterStore(home)
        update = Update(home, base, _samples(start), settings, store.current(PERSONAL))
        with store.staging(PERSONAL) as staged:
            update.train(staged, lambda: None, lambda step, steps: None)
            update.consolidate(staged, lambda: None)
            version = store.publish(staged, Manifest(PERSONAL, base.digest, 16, 32.0))
        with ReplayBuffer(home.replay_buffer) as buffer:
            buffer.add(_samples(start))
        update.forget()
        return version

    return run


def _product(folder: Path) -> torch.Tensor:
    """The first module's update, dense."""
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(n for n in sorted(tensors) if "lora_A" in n)
    return tensors[name.replace("lora_A", "lora_B")].double() @ tensors[name].double()


def test_slow_weights_go_a_part_of_the_way_and_start_the_optimizer_anew(
    step: Step, home: Home
) -> None:
    first = step(0, arm="ewc")
    fast = step(20, arm="ewc")
    AdapterStore(home).set_current(first.reference)
    slow = step(20, arm="ewc", fast_share=0.25)
    whole, part = (_product(v.path) - _product(first.path) for v in (fast, slow))
    assert float((part - 0.25 * whole).norm() / whole.norm()) < 0.05
    assert load_file(fast.path / OPTIMIZER_FILE)
    assert not load_file(slow.path / OPTIMIZER_FILE)
    assert Lineage.of(slow).updates == Lineage.of(fast).updates == 2
    kept = load_file(slow.path / EWC_FILE)
    weights = load_file(slow.path / "adapter_model.safetensors")
    name = next(iter(weights))
    anchor = kept[f"anchor.{name.removesuffix('.weight')}.default.weight"]
    assert torch.equal(anchor, weights[name])


def test_distillation_keeps_what_the_parent_says_of_what_is_replayed(
    step: Step, home: Home, base: Base
) -> None:
    step(0, arm="replay", distillation=1.0)
    with ReplayBuffer(home.replay_buffer) as buffer:
        assert buffer.teachings(base.digest) == {}  # there was no parent, and nothing to replay
    step(20, arm="replay", distillation=1.0)
    with ReplayBuffer(home.replay_buffer) as buffer:
        said = buffer.teachings(base.digest)
        replayed = {held.identifier for held in buffer.draw_held(24) if held.sample.time < 20}
    assert said
    assert said.keys() <= replayed
    step(40, arm="replay")
    with ReplayBuffer(home.replay_buffer) as buffer:
        assert buffer.teachings(base.digest) == said


def test_a_damaged_memory_ends_the_update_by_name_and_another_arm_goes_on(
    step: Step, base: Base
) -> None:
    first = step(0, arm="ewc")
    Consolidation({}, {}).save(first.path, "0" * 64)
    with pytest.raises(ConsolidationError, match=r"ewc\.safetensors is of base 000000000000"):
        step(20, arm="both")
    assert step(20, arm="replay").version == "v0002"
