"""Elastic weight consolidation: the Fisher against autograd by hand, and what its strength does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from neuralforge_adapters.base import Base
from neuralforge_trainer.errors import ConsolidationError
from neuralforge_trainer.learn.encode import Encoded
from neuralforge_trainer.learn.ewc import (
    EWC_FILE,
    Consolidation,
    EwcPenalty,
    consolidate,
    estimate_fisher,
)
from neuralforge_trainer.learn.lora import attach_lora, load_base, lora_parameters
from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings

VOCABULARY = 11


@pytest.fixture
def tiny() -> Any:
    """A one-layer model with a LoRA that does something."""
    return _tiny_model()


def _tiny_model(width: int = 16, scale: float = 0.5) -> Any:
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 3 // 2,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        initializer_range=scale,
    )
    model = attach_lora(Qwen2ForCausalLM(config).requires_grad_(False), seed=2)
    with torch.no_grad():
        for weight in lora_parameters(model).values():
            weight.normal_(0, 0.1)
    return model


def _examples(count: int, seed: int = 0) -> list[Encoded]:
    source = random.Random(seed)
    return [
        Encoded(
            tuple(source.randrange(VOCABULARY) for _ in range(length)),
            (0.0,) * (length - 3) + (1.0, 0.5, 1.0),
        )
        for length in (source.randrange(4, 9) for _ in range(count))
    ]


def test_fisher_equals_autograd_by_hand(tiny: Any) -> None:
    examples = _examples(5)
    tiny.train()
    got = estimate_fisher(tiny, examples, seed=7)
    assert tiny.training

    tiny.eval()
    generator = torch.Generator().manual_seed(7)
    parameters = lora_parameters(tiny)
    wanted = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for example in examples:
        logits = tiny(input_ids=torch.tensor([example.ids])).logits[0, -4:-1].double()
        labels = torch.multinomial(logits.float().softmax(-1), 1, generator=generator)[:, 0]
        tiny.zero_grad()
        likelihood = sum(logits[i].log_softmax(-1)[labels[i]] for i in range(3))
        likelihood.backward()  # type: ignore[union-attr]
        for name, weight in parameters.items():
            assert weight.grad is not None
            wanted[name] += weight.grad**2 / (3 * len(examples))
    for name, fisher in got.items():
        assert torch.allclose(fisher, wanted[name], rtol=1e-4, atol=1e-9), name
    assert max(f.max() for f in got.values()) > 0


def test_fisher_approaches_the_expectation_over_all_labels(tiny: Any) -> None:
    """The exact diagonal: sum over y of p(y) (d log p(y) / dw)^2, for one predicted token."""
    ids = (3, 1, 4, 1, 5)
    example = Encoded(ids, (0.0, 0.0, 0.0, 0.0, 1.0))
    parameters = lora_parameters(tiny)
    tiny.eval()
    exact = {name: torch.zeros_like(p) for name, p in parameters.items()}
    logs = tiny(input_ids=torch.tensor([ids])).logits[0, -2].log_softmax(-1)
    for log in logs:
        gradients = torch.autograd.grad(log, list(parameters.values()), retain_graph=True)
        for total, gradient in zip(exact.values(), gradients, strict=True):
            total += log.exp().detach() * gradient**2
    drawn = estimate_fisher(tiny, [example] * 1500, seed=0)
    a, b = (torch.cat([t.flatten() for t in f.values()]) for f in (exact, drawn))
    assert 0.9 < float(b.sum() / a.sum()) < 1.1
    assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.98


def test_pulls_are_as_strong_as_documented(tiny: Any) -> None:
    """A weight of average importance, moved by `reach`, feels rho times its tensor's gradient."""
    fisher = {n: torch.full_like(p, 4.0) for n, p in lora_parameters(tiny).items()}
    anchor = {n: p.detach() - 0.01 for n, p in lora_parameters(tiny).items()}
    penalty = EwcPenalty(Consolidation(anchor, fisher), rho=0.5, reach=0.01)
    penalty(tiny).backward()
    for weight in lora_parameters(tiny).values():
        assert weight.grad is not None
        assert torch.allclose(weight.grad, torch.full_like(weight, 0.5 * 2.0), rtol=1e-4)


def test_a_weight_without_fisher_is_free(tiny: Any) -> None:
    fisher = {n: torch.zeros_like(p) for n, p in lora_parameters(tiny).items()}
    anchor = {n: p.detach() - 1.0 for n, p in lora_parameters(tiny).items()}
    penalty = EwcPenalty(Consolidation(anchor, fisher), rho=1.0, reach=0.01)
    assert penalty(tiny).item() == 0.0


def test_the_old_fisher_decays_and_the_new_one_is_added(tiny: Any, tmp_path: Path) -> None:
    first = consolidate(tiny, _examples(3), None, seed=1)
    first.save(tmp_path, "base")
    stored = Consolidation.load(tmp_path, "base", tiny)
    assert stored is not None
    second = consolidate(tiny, _examples(3, seed=9), stored, decay=0.5, seed=1)
    new = estimate_fisher(tiny, _examples(3, seed=9), seed=1)
    for name, fisher in second.fisher.items():
        assert torch.allclose(fisher, 0.5 * first.fisher[name] + new[name])
        assert torch.equal(second.anchor[name], lora_parameters(tiny)[name].detach())


def test_a_version_without_ewc_has_none_to_load(tiny: Any, tmp_path: Path) -> None:
    assert Consolidation.load(tmp_path, "base", tiny) is None


def test_what_belongs_to_another_base_is_refused_by_name(tiny: Any, tmp_path: Path) -> None:
    consolidate(tiny, _examples(2), None).save(tmp_path, "0123456789abcdef")
    with pytest.raises(ConsolidationError, match="is of base 0123456789ab, not of fedcba987654"):
        Consolidation.load(tmp_path, "fedcba9876543210", tiny)


def test_what_is_damaged_or_of_another_shape_is_refused_by_name(tiny: Any, tmp_path: Path) -> None:
    past = consolidate(tiny, _examples(2), None)
    past.save(tmp_path, "base")
    with pytest.raises(ConsolidationError, match="anchor of a LoRA of another shape"):
        Consolidation.load(tmp_path, "base", _tiny_model(width=24))
    file = tmp_path / EWC_FILE
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ConsolidationError, match="is damaged"):
        Consolidation.load(tmp_path, "base", tiny)
    next(iter(past.fisher.values()))[0, 0] = float("nan")
    past.save(tmp_path, "base")
    with pytest.raises(ConsolidationError, match="Fisher that is not finite"):
        Consolidation.load(tmp_path, "base", tiny)


def _pull(model: Any, past: Consolidation, penalty: Callable[[Any], torch.Tensor]) -> float:
    """How strong the penalty's gradient is beside that of predicting one token."""
    gradients = torch.autograd.grad(penalty(model), list(lora_parameters(model).values()))
    pull = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    task = torch.stack([f.sum() for f in past.fisher.values()]).sum().sqrt()
    return float(pull / task)


@pytest.mark.parametrize("rho", [0.1, 1.0])
def test_one_strength_means_the_same_on_bases_of_other_width_and_scale(rho: float) -> None:
    """Where one factor on the raw Fisher means something else on each."""
    relative, raw = [], []
    for width, scale, reach in ((16, 0.5, 0.02), (64, 0.1, 0.001), (128, 0.3, 0.0002)):
        model = _tiny_model(width, scale)
        past = consolidate(model, _examples(30), None)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():  # as if Adam had taken every step in one direction
            for weight in lora_parameters(model).values():
                weight += reach * (torch.rand(weight.shape, generator=generator) - 0.5).sign()
        relative.append(_pull(model, past, EwcPenalty(past, rho, reach)))
        raw.append(_pull(model, past, _raw_penalty(past)))
    assert max(relative) < 2 * min(relative)
    assert all(rho <= pull < 5 * rho for pull in relative)
    assert max(raw) > 20 * min(raw)


def _raw_penalty(past: Consolidation) -> Callable[[Any], torch.Tensor]:
    def penalty(model: Any) -> torch.Tensor:
        terms = [
            (past.fisher[name] * (weight - past.anchor[name]).square()).sum()
            for name, weight in lora_parameters(model).items()
        ]
        return torch.stack(terms).sum()

    return penalty


def _code(vocabulary: Any, words: list[str], count: int, seed: int) -> list[Encoded]:
    source = random.Random(seed)
    examples = []
    for _ in range(count):
        a, b, c = (source.choice(words) for _ in range(3))
        prompt = vocabulary.encode(f"def {a}_{b}(self):\n    return self.")
        target = [*vocabulary.encode(f"_{c}.{a}({b})"), vocabulary.end]
        examples.append(Encoded((*prompt, *target), (*[0.0] * len(prompt), *[1.0] * len(target))))
    return examples


@pytest.fixture(scope="module")
def learnt(
    shared_base: Base, vocabulary: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, torch.Tensor], Consolidation, list[Encoded]]]:
    """Weights after a first task, what to consolidate of it, and the second task's examples."""
    model = attach_lora(load_base(shared_base), 0)
    first = _code(vocabulary, ["alpha", "beta", "gamma", "delta"], 64, 1)
    PersonalTrainer(model, first, tmp_path_factory.mktemp("first"), _run()).run()
    weights = {n: p.detach().clone() for n, p in lora_parameters(model).items()}
    second = _code(vocabulary, ["north", "south", "east", "west"], 64, 2)
    yield weights, consolidate(model, first[:32], None), second


def _run() -> RunSettings:
    return RunSettings(2e-3, 8, 1, 0.0, 0, 10_000, 0.0)


def _movement(base: Base, learnt: Any, rho: float, folder: Path) -> tuple[float, float]:
    """How far weights of high and of low Fisher move in the second task (root mean square)."""
    weights, past, second = learnt
    model = attach_lora(load_base(base), 0)
    with torch.no_grad():
        for name, weight in lora_parameters(model).items():
            weight.copy_(weights[name])
    PersonalTrainer(model, second, folder, _run(), ewc=EwcPenalty(past, rho, 2e-3 * 8)).run()
    high, low = [], []
    for name, weight in lora_parameters(model).items():
        moved = (weight.detach() - weights[name]).flatten().square()
        order = past.fisher[name].flatten().argsort()
        high.append(moved[order[-len(order) // 10 :]])
        low.append(moved[order[: len(order) // 2]])
    return float(torch.cat(high).mean().sqrt()), float(torch.cat(low).mean().sqrt())


def test_strength_holds_back_weights_of_high_fisher_and_not_merely_all(
    shared_base: Base, learnt: Any, tmp_path: Path
) -> None:
    free, firm, hard = (
        _movement(shared_base, learnt, rho, tmp_path / str(rho)) for rho in (0.0, 1.0, 30.0)
    )
    assert firm[0] < 0.9 * free[0]
    assert hard[0] < 0.7 * firm[0]
    held_high, held_low = hard[0] / free[0], hard[1] / free[1]
    assert held_high < 0.6 * held_low
