"""Progressive mode: an adapter for each repository; the others stay, and all are served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gguf_maker import make_base
from git_maker import isolate, varied_history
from lora_maker import random_lora
from neuralforge_adapters.base import Base, file_digest
from neuralforge_adapters.convert import peft_to_gguf
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import ResolvedAdapter, StackEntry, StackFile, resolve
from neuralforge_adapters.store import GGUF_FILE, AdapterStore, Manifest
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import ScoreRequest
from neuralforge_trainer.job import Outcome, run_job
from neuralforge_trainer.learn.lora import attach_lora, load_base
from neuralforge_trainer.learn.progressive import add_frozen, others, task_adapter
from neuralforge_trainer.settings import Job, JobSettings

SETTINGS = JobSettings(
    progressive=True, arm="none", rehearsal_share=0.0, general_items=0, heldout_items=10,
    least_samples=5, least_items=3, max_samples=40,
)  # fmt: skip


def _learn(home: Home, repository: Path) -> Outcome:
    outcome = run_job(home, Job(repository=repository, foreground=True, settings=SETTINGS))
    assert outcome.result == "published", outcome.message
    return outcome


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_second_repository_leaves_the_firsts_adapter_alone_and_the_stack_serves_both(
    home: Home, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    first = _learn(home, varied_history(tmp_path / "fleet", 8, "ship").root)
    assert first.version == "personal-fleet@v0001"
    before = _bytes(home.adapters / "personal-fleet")
    second = _learn(home, varied_history(tmp_path / "rail yard", 8, "train").root)
    assert second.version == "personal-rail-yard@v0001"
    assert _bytes(home.adapters / "personal-fleet") == before
    assert [entry.adapter for entry in StackFile(home).read()] == [
        "personal",
        "personal-fleet",
        "personal-rail-yard",
    ]
    store = AdapterStore(home)
    served = resolve(StackFile(home).read(), store, base.digest)
    alone = resolve((StackEntry("personal-rail-yard"),), store, base.digest)
    texts = [
        ScoreRequest(f"{noun}_sail.", "\n", f"wheel(oar, tide={noun}_port)")
        for noun in ("ship", "train")
    ]
    with EngineClient(base, context=512) as engine:
        engine.set_stack(served)
        both = [engine.score(text).nll for text in texts]
        engine.set_stack(alone)
        one = [engine.score(text).nll for text in texts]
        engine.set_stack(resolve((), store, base.digest))
        none = [engine.score(text).nll for text in texts]
    assert all(with_both < without for with_both, without in zip(both, none, strict=True))
    assert both[0] < one[0]  # what the frozen one knows


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Two layers of width 64: for what a base does, not for how well."""
    path = tmp_path_factory.mktemp("base") / "small.gguf"
    make_base(path, layers=2, width=64, heads=2, kv_heads=1, hidden=96, vocabulary=12_288)
    return Base(path, file_digest(path))


@pytest.fixture
def stored(home: Home, small: Base) -> Any:
    """Publishes a random adapter for the small base under a name."""

    def publish(name: str, seed: int, task: str = "", digest: str = small.digest) -> None:
        store = AdapterStore(home)
        with store.staging(name) as staged:
            random_lora(small, staged, scale=0.1, seed=seed)
            peft_to_gguf(staged, small.path, small.digest, staged / GGUF_FILE)
            store.publish(staged, Manifest(name, digest, 16, 32.0, data={"task": task}))

    return publish


def test_the_base_with_the_frozen_ones_added_computes_what_the_stack_does(
    home: Home, small: Base, stored: Any
) -> None:
    stored("personal-one", 1)
    stored("personal-two", 2)
    entries = (StackEntry("personal-one", 0.5), StackEntry("personal-two", 1.5))
    StackFile(home).write(entries)
    beside = others(home, small.digest, "personal-three")
    assert [(a.reference, a.scale) for a in beside] == [
        ("personal-one@v0001", 0.5),
        ("personal-two@v0001", 1.5),
    ]
    ids = torch.tensor([[5, 17, 400, 33, 2]])
    with torch.no_grad():
        added = attach_lora(add_frozen(load_base(small), beside), 0).eval()(input_ids=ids).logits
        plain = load_base(small).eval()
        wanted = _with_loras(plain, beside)(input_ids=ids).logits
        assert (added - plain.eval()(input_ids=ids).logits).abs().max() > 0.01
    assert torch.allclose(added, wanted, atol=2e-3)


def _with_loras(model: Any, adapters: tuple[ResolvedAdapter, ...]) -> Any:
    """The base's weights plus scale x alpha / rank x B A, by hand."""
    from copy import deepcopy

    from safetensors.torch import load_file

    summed = deepcopy(model)
    for adapter in adapters:
        tensors = load_file(adapter.path.parent / "adapter_model.safetensors")
        for name, a in tensors.items():
            if name.endswith("lora_A.weight"):
                b = tensors[name.replace("lora_A", "lora_B")]
                module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                summed.get_submodule(module).weight += adapter.scale * 2.0 * (b @ a)
    return summed.eval()


def test_only_personal_adapters_of_this_base_count(home: Home, small: Base, stored: Any) -> None:
    stored("personal-one", 1)
    stored("foreign", 2)
    stored("personal-other-base", 3, digest="0" * 64)
    names = ("personal-one", "foreign", "personal-other-base", "personal-gone")
    StackFile(home).write([StackEntry(name) for name in names])
    assert [a.reference for a in others(home, small.digest, "personal-own")] == [
        "personal-one@v0001"
    ]
    assert others(home, small.digest, "personal-one") == ()


def test_two_folders_of_one_name_are_two_tasks(home: Home, stored: Any) -> None:
    store = AdapterStore(home)
    assert task_adapter(store, "/mine/api") == "personal-api"
    stored("personal-api", 1, task="/mine/api")
    assert task_adapter(store, "/mine/api") == "personal-api"
    assert task_adapter(store, "/play/api") == "personal-api-2"
    assert task_adapter(store, "/play/Ünser Ding!") == "personal-nser-Ding"
    assert task_adapter(store, "/") == "personal-repository"


def test_digests_are_of_what_is_frozen(home: Home, small: Base, stored: Any) -> None:
    stored("personal-one", 1)
    StackFile(home).write([StackEntry("personal-one")])
    (beside,) = others(home, small.digest, "")
    assert beside.digest == file_digest(beside.path)
