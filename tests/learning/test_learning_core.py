"""The learning core's parts: batches, attention, what continues, and what saves memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import Qwen2Config, Qwen2ForCausalLM

from gguf_maker import make_base
from neuralforge_adapters.base import Base, file_digest
from neuralforge_adapters.base_memory import Shape, training_bytes
from neuralforge_adapters.convert import check_adapter, peft_to_gguf
from neuralforge_trainer.errors import TrainingDivergedError
from neuralforge_trainer.learn.attention import register_folded_attention
from neuralforge_trainer.learn.batch import collate, pieces, token_loss
from neuralforge_trainer.learn.encode import Encoded
from neuralforge_trainer.learn.ewc import Consolidation, EwcPenalty
from neuralforge_trainer.learn.lora import attach_lora, load_base, lora_parameters, save_lora
from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings
from neuralforge_trainer.learn.placement import savings
from neuralforge_trainer.learn.run_state import OPTIMIZER_FILE, moments_metadata

_GIB = 1 << 30


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    path = tmp_path_factory.mktemp("base") / "small.gguf"
    make_base(path, layers=2, width=64, heads=2, kv_heads=1, hidden=96, vocabulary=12_288)
    return Base(path, file_digest(path))


@pytest.fixture
def tiny() -> Any:
    """A two-layer model with grouped heads and a LoRA that does something."""
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    model = attach_lora(Qwen2ForCausalLM(config).requires_grad_(False), seed=2)
    with torch.no_grad():
        for weight in lora_parameters(model).values():
            weight.normal_(0, 0.1)
    return model


def _examples(count: int, vocabulary: int = 50, seed: int = 0) -> list[Encoded]:
    source = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 30, (count,), generator=source).tolist()
    return [
        Encoded(
            tuple(torch.randint(0, vocabulary, (length,), generator=source).tolist()),
            (*[0.0] * (length - 4), 0.2, 1.0, 1.0, 1.0),
        )
        for length in lengths
    ]


def _gradients(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(lora_parameters(model).values())))


def _run(**changes: Any) -> RunSettings:
    values = {"learning_rate": 5e-3, "micro_batch": 2, "accumulation": 2, "warm_up": 0.0}
    rest = {"seed": 0, "checkpoint_steps": 1000, "time_budget": 0.0}
    return RunSettings(**(values | rest | changes))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_micro_batch_in_pieces_has_the_same_gradient(tiny: Any, rows: int) -> None:
    batch = collate(_examples(5))
    whole = _gradients(tiny, token_loss(tiny, batch))
    parts = pieces(batch, rows)
    assert len(parts) == -(-5 // rows)
    losses = torch.stack([token_loss(tiny, part) * share for part, share in parts])
    for a, b in zip(_gradients(tiny, losses.sum()), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_attention_for_short_rows_is_that_of_transformers(tiny: Any) -> None:
    batch = collate(_examples(4))
    tiny.base_model.model.set_attn_implementation("eager")
    expected = token_loss(tiny, batch)
    wanted = _gradients(tiny, expected)
    tiny.base_model.model.set_attn_implementation(register_folded_attention())
    got = token_loss(tiny, batch)
    torch.testing.assert_close(got, expected)
    for a, b in zip(_gradients(tiny, got), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_attention_for_short_rows_obeys_a_mask(tiny: Any) -> None:
    ids = torch.tensor([[0, 0, 7, 8, 9], [1, 2, 3, 4, 5]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    tiny.base_model.model.set_attn_implementation("sdpa")
    expected = tiny(input_ids=ids, attention_mask=mask).logits[:, 2:]
    tiny.base_model.model.set_attn_implementation(register_folded_attention())
    torch.testing.assert_close(tiny(input_ids=ids, attention_mask=mask).logits[:, 2:], expected)


def test_activations_computed_again_give_the_same_gradient(tiny: Any) -> None:
    batch = collate(_examples(3))
    tiny.train()
    kept = _gradients(tiny, token_loss(tiny, batch))
    tiny.base_model.model.gradient_checkpointing_enable({"use_reentrant": False})
    for a, b in zip(_gradients(tiny, token_loss(tiny, batch)), kept, strict=True):
        torch.testing.assert_close(a, b)


def test_moments_go_on_from_the_parent(small_base: Base, tmp_path: Path) -> None:
    examples = _examples(8, 12_000)
    model = attach_lora(load_base(small_base), 0)
    first = PersonalTrainer(model, examples, tmp_path / "a", _run())
    assert first.run() == 2
    first.save_moments(tmp_path / "version", {"updates": "1"})
    assert moments_metadata(tmp_path / "version") == {"updates": "1"}

    second = PersonalTrainer(model, examples, tmp_path / "b", _run(), parent=tmp_path / "version")
    state = second.create_optimizer().state
    before = first.optimizer.state
    for weight in lora_parameters(model).values():
        assert torch.equal(state[weight]["exp_avg_sq"], before[weight]["exp_avg_sq"])
        assert int(state[weight]["step"]) == 2
    second.run()
    assert {int(kept["step"]) for kept in second.optimizer.state.values()} == {4}


def test_moments_of_another_rank_are_not_taken(small_base: Base, tmp_path: Path) -> None:
    trainer = PersonalTrainer(_of_rank(small_base, 4), _examples(4, 12_000), tmp_path / "a", _run())
    trainer.run()
    trainer.save_moments(tmp_path / "version", {})
    model = attach_lora(load_base(small_base), 0)
    other = PersonalTrainer(
        model, _examples(4, 12_000), tmp_path / "b", _run(), parent=tmp_path / "version"
    )
    assert not other.create_optimizer().state


def _of_rank(base: Base, rank: int) -> Any:
    config = LoraConfig(r=rank, lora_alpha=rank * 3, target_modules=["q_proj", "up_proj"])
    return get_peft_model(load_base(base), config)


def test_an_adapter_keeps_its_rank_and_alpha_for_life(small_base: Base, tmp_path: Path) -> None:
    save_lora(_of_rank(small_base, 4), tmp_path / "parent")
    model = attach_lora(load_base(small_base), 0, tmp_path / "parent")
    PersonalTrainer(model, _examples(4, 12_000), tmp_path / "run", _run()).run()
    save_lora(model, tmp_path / "child")
    gguf = tmp_path / "child.gguf"
    peft_to_gguf(tmp_path / "child", small_base.path, small_base.digest, gguf)
    facts = check_adapter(gguf, small_base.digest)
    assert (facts.rank, facts.alpha) == (4, 12.0)
    config = json.loads((tmp_path / "child" / "adapter_config.json").read_text("utf-8"))
    assert sorted(config["target_modules"]) == ["q_proj", "up_proj"]


def test_a_checkpoint_holds_no_pickle(small_base: Base, tmp_path: Path) -> None:
    model = attach_lora(load_base(small_base), 0)
    PersonalTrainer(model, _examples(8, 12_000), tmp_path, _run(checkpoint_steps=1)).run()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md"}
    with safe_open(tmp_path / "checkpoint-2" / OPTIMIZER_FILE, framework="pt") as moments:
        assert len(moments.keys()) == 3 * len(lora_parameters(model))


def test_a_penalty_that_is_not_finite_ends_the_run_and_changes_no_weight(
    small_base: Base, tmp_path: Path
) -> None:
    model = attach_lora(load_base(small_base), 0)
    weights = {name: p.detach().clone() for name, p in lora_parameters(model).items()}
    bad = {name: torch.full_like(w, float("nan")) for name, w in weights.items()}
    ones = {name: torch.ones_like(w) for name, w in weights.items()}
    ewc = EwcPenalty(Consolidation(bad, ones), 0.3, 1.0)
    with pytest.raises(TrainingDivergedError, match="current version stays in force"):
        PersonalTrainer(model, _examples(24, 12_000), tmp_path, _run(), ewc=ewc).run()
    assert all(torch.equal(p, weights[n]) for n, p in lora_parameters(model).items())


def test_memory_is_saved_only_where_it_is_short() -> None:
    shape = Shape(0, 7_000_000_000, 32, 4096, 1024, 11_008, 32_000)
    needed = training_bytes(shape)
    assert savings(shape, "cpu", 2 * needed) == (False, False)
    assert savings(shape, "cpu", needed // 2) == (False, True)
    assert savings(shape, "cuda", 80 * _GIB) == (False, False)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of address space")
def test_out_of_memory_is_survived_with_the_same_steps(small_base: Base, tmp_path: Path) -> None:
    program = Path(__file__).with_name("starved_run.py")
    done = subprocess.run(
        [sys.executable, program, small_base.path, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["rows"] < 8
    assert said["steps"] == said["free_steps"] == 2
    assert said["difference"] < 1e-3
