"""One update of the personal adapter: new samples, replay, EWC; out comes a candidate.

Invariant: the same samples, parent and settings are the same run, which goes on from its last
checkpoint; nothing outside its folder changes until the candidate is published. Knows neither
where samples come from nor whether the candidate is good.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from neuralforge_adapters.base import Base
from neuralforge_adapters.base_facts import read_facts
from neuralforge_adapters.convert import peft_to_gguf
from neuralforge_adapters.home import Home, private_dir
from neuralforge_adapters.stack import ResolvedAdapter
from neuralforge_adapters.store import GGUF_FILE, AdapterVersion
from neuralforge_server.session.preferences import Preference
from neuralforge_trainer.collecting.material import Apart
from neuralforge_trainer.evaluate.general import general_samples
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.learn.checkpoints import keep_only
from neuralforge_trainer.learn.distill import with_teachings
from neuralforge_trainer.learn.encode import Encoded, Encoder, encode_all
from neuralforge_trainer.learn.ewc import Consolidation, EwcPenalty, consolidate
from neuralforge_trainer.learn.lora import attach_lora, load_base, save_lora
from neuralforge_trainer.learn.out_of_memory import is_out_of_memory, too_large
from neuralforge_trainer.learn.personal_trainer import PersonalTrainer, RunSettings
from neuralforge_trainer.learn.placement import Placement, half_products, place, put
from neuralforge_trainer.learn.plan import plan
from neuralforge_trainer.learn.preference import PreferenceTrainer, encode_pairs
from neuralforge_trainer.learn.progressive import add_frozen
from neuralforge_trainer.learn.replay import Held, ReplayBuffer
from neuralforge_trainer.learn.run_state import moments_metadata
from neuralforge_trainer.learn.slow import slow_down, snapshot
from neuralforge_trainer.learn.vocabulary import load_vocabulary
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.settings import JobSettings

_TUNED_WIDTH = 320


@dataclass(frozen=True)
class Mixture:
    """What an update trains on, encoded."""

    new: Sequence[Encoded]
    replayed: Sequence[Encoded]
    rehearsed: Sequence[Encoded]
    replayed_ids: Sequence[int] = ()
    """What the replay buffer calls the replayed ones."""

    @property
    def all(self) -> list[Encoded]:
        """New first."""
        return [*self.new, *self.replayed, *self.rehearsed]


@dataclass(frozen=True)
class Lineage:
    """How much an adapter was trained before: random numbers go on from there."""

    updates: int = 0
    steps: int = 0

    @classmethod
    def of(cls, parent: AdapterVersion | None) -> Lineage:
        """That of a version; none where it does not say."""
        noted = moments_metadata(parent.path) if parent is not None else {}
        return cls(int(noted.get("updates", 0)), int(noted.get("steps", 0)))

    def after(self, steps: int) -> dict[str, str]:
        """What is noted with a version that was trained so many steps further."""
        return {"updates": str(self.updates + 1), "steps": str(self.steps + steps)}


class Update:
    """A run of training; `train`, and once the candidate is to be published, `consolidate`."""

    def __init__(
        self,
        home: Home,
        base: Base,
        samples: Sequence[Sample],
        settings: JobSettings,
        parent: AdapterVersion | None,
        *,
        frozen: Sequence[ResolvedAdapter] = (),
        preferences: Sequence[Preference] = (),
        heldout: Sequence[Item] = (),
    ) -> None:
        """`frozen` adapters are served beside the one that is trained; nothing that shows what
        is `heldout` is replayed."""
        self._home = home
        self._base = base
        self._frozen = frozen
        self.preferences = preferences
        self._settings = settings
        self._parent = parent
        self._lineage = Lineage.of(parent)
        self._seed = settings.seed + self._lineage.updates
        self.mixture = mix(home, base, samples, settings, self._seed, heldout)
        self._order = plan(
            [len(example) for example in self.mixture.all],
            settings.micro_batch,
            settings.epochs,
            self._seed,
        )
        self._examples = self._ordered(self.mixture)
        self._folder = home.checkpoints / self._identity()
        self._model: Any = None
        private_dir(self._folder)
        keep_only(home.checkpoints, self._folder)

    def train(
        self, staged: Path, pace: Callable[[], None], progress: Callable[[int, int], None]
    ) -> int:
        """Train and leave the candidate, as PEFT and GGUF, in `staged`; returns the steps.

        Raises:
            BaseNotTrainableError, TrainingDivergedError: it cannot be done.
            TrainingMemoryError: base, or a single example, does not fit into memory.
            TrainingStoppedError: raised by `pace`.
            AdapterError, HomeError: the disk refuses.
        """
        placement = place(read_facts(self._base.path).shape)
        self._model = self._load(placement)
        parent = self._parent.path if self._parent is not None else None
        rate = learning_rate(self._settings.learning_rate, self._model.config.hidden_size)
        trainer = PersonalTrainer(
            self._model,
            self._taught(pace),
            self._folder,
            _run_settings(self._settings, self._seed, rate, placement),
            parent=parent,
            ewc=self._penalty(rate, pace),
            distillation=self._settings.distillation,
            pace=pace,
            progress=progress,
        )
        before = snapshot(self._model)
        steps = trainer.run() + self._prefer(placement, pace)
        if self._settings.fast_share < 1:
            slow_down(self._model, before, self._settings.fast_share)
            trainer.optimizer.state.clear()  # its moments are of other factors
        save_lora(self._model, staged)
        trainer.save_moments(staged, self._lineage.after(steps))
        peft_to_gguf(staged, self._base.path, self._base.digest, staged / GGUF_FILE)
        return steps

    def consolidate(self, staged: Path, pace: Callable[[], None]) -> None:
        """Add what the next update needs to stay near this one, where the arm asks for it."""
        if self._uses_ewc:
            same_factors = self._settings.fast_share == 1  # or the old Fisher is not of these
            past = self._past() if same_factors else None
            self._consolidated(self.mixture.all, past, pace).save(staged, self._base.digest)

    def forget(self) -> None:
        """Remove the run's checkpoints."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def rank_and_alpha(self) -> tuple[int, float]:
        """Those of the trained LoRA: its parent's, for life."""
        config = self._model.peft_config[self._model.active_adapter]
        return int(config.r), float(config.lora_alpha)

    def _load(self, placement: Placement) -> Any:
        """The base with its LoRA, where it is to be trained."""
        parent = self._parent.path if self._parent is not None else None
        try:
            model = put(add_frozen(load_base(self._base), self._frozen), placement)
            return attach_lora(model, self._settings.seed, parent)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise too_large(f"the base {self._base.path.name}") from error
            raise

    def _ordered(self, mixture: Mixture) -> list[Encoded]:
        everything = mixture.all
        return [everything[index] for index in self._order]

    def _taught(self, pace: Callable[[], None]) -> list[Encoded]:
        """The examples, with what the parent says of the replayed ones where that is wanted."""
        mixture, settings = self.mixture, self._settings
        if not settings.distillation or self._parent is None or not mixture.replayed:
            return self._examples
        replayed = list(zip(mixture.replayed_ids, mixture.replayed, strict=True))
        with ReplayBuffer(self._home.replay_buffer, settings.replay_capacity) as buffer:
            taught = with_teachings(self._model, buffer, self._base.digest, replayed, pace)
        return self._ordered(replace(mixture, replayed=taught))

    def _prefer(self, placement: Placement, pace: Callable[[], None]) -> int:
        """A second, short run on the preferences, from what the first one has learnt."""
        settings = self._settings
        encoder = Encoder(load_vocabulary(self._base, self._home), settings.sequence_tokens)
        pairs = encode_pairs(encoder, self.preferences)
        if not pairs:
            return 0
        order = plan([len(pair) for pair in pairs], settings.micro_batch, 1, self._seed)
        rate = learning_rate(settings.preference_rate, self._model.config.hidden_size)
        trainer = PreferenceTrainer(
            self._model,
            [pairs[index] for index in order],
            self._folder / "preferences",
            _run_settings(settings, self._seed, rate, placement),
            beta=settings.preference_beta,
            pace=pace,
        )
        return trainer.run()

    @property
    def _uses_ewc(self) -> bool:
        return self._settings.arm in ("ewc", "both")

    def _past(self) -> Consolidation | None:
        if self._parent is None:
            return None
        return Consolidation.load(self._parent.path, self._base.digest, self._model)

    def _penalty(self, rate: float, pace: Callable[[], None]) -> EwcPenalty | None:
        """The pull to the parent; of a first version to the base, by what general code needs."""
        settings = self._settings
        if not self._uses_ewc or not settings.rho:
            return None
        past = self._past() or self._consolidated(self.mixture.rehearsed, None, pace)
        steps = -(-len(self._examples) // (settings.micro_batch * settings.accumulation))
        return EwcPenalty(past, settings.rho, rate * steps)

    def _consolidated(
        self, examples: Sequence[Encoded], past: Consolidation | None, pace: Callable[[], None]
    ) -> Consolidation:
        settings = self._settings
        count = min(settings.fisher_samples, len(examples))
        chosen = random.Random(self._seed).sample(list(examples), count)
        with half_products(self._model.device):
            return consolidate(
                self._model, chosen, past, decay=settings.fisher_decay, seed=self._seed, pace=pace
            )

    def _identity(self) -> str:
        """Names the run by all that determines its course."""
        parent = self._parent.manifest.digest if self._parent is not None else ""
        beside = [[adapter.digest, adapter.scale] for adapter in self._frozen]
        preferred = [[one.chosen, one.rejected] for one in self.preferences]
        content = [asdict(self._settings), self._base.digest, parent, beside, preferred]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        for example in self._examples:
            digest.update(repr((example.ids, example.weights)).encode())
        return digest.hexdigest()[:16]


def mix(
    home: Home,
    base: Base,
    samples: Sequence[Sample],
    settings: JobSettings,
    seed: int,
    heldout: Sequence[Item] = (),
) -> Mixture:
    """New samples, with replayed and general ones in the shares that the settings name.

    The buffer was filled by other jobs, of which some saw a line that this one holds out.
    """
    vocabulary = load_vocabulary(base, home)
    encoder = Encoder(vocabulary, settings.sequence_tokens, settings.prefix_weight)
    new = encode_all(encoder, samples)
    replay_share = settings.replay_share if settings.arm in ("replay", "both") else 0.0
    drawn: list[Held] = []
    if replay_share:
        with ReplayBuffer(home.replay_buffer, settings.replay_capacity) as buffer:
            drawn = buffer.draw_held(_beside(len(new), replay_share), Apart(heldout).admits)
    encoded = [(held.identifier, encoder.encode(held.sample)) for held in drawn]
    replayed = [(number, example) for number, example in encoded if example is not None]
    general = general_samples(_beside(len(new) + len(replayed), settings.rehearsal_share), seed)
    whole = replace(encoder, prefix_weight=settings.rehearsal_prefix_weight)
    return Mixture(
        new,
        [example for _, example in replayed],
        encode_all(whole, general),
        [number for number, _ in replayed],
    )


def _beside(count: int, share: float) -> int:
    """How many have to come beside `count` others to be that share of all."""
    return round(count * share / max(1e-6, 1 - share))


def learning_rate(tuned: float, width: int) -> float:
    """The rate tuned on the embedded base, for one of another width.

    Falls with the square of the width: from 4e-3 at 320 to 5e-4 at Qwen2.5-Coder-0.5B's 896 and
    2e-4 at 1.5B's 1536, about what is customary for LoRA there.
    """
    return tuned * min(1.0, (_TUNED_WIDTH / width) ** 2)


def _run_settings(
    settings: JobSettings, seed: int, rate: float, placement: Placement
) -> RunSettings:
    return RunSettings(
        learning_rate=rate,
        micro_batch=settings.micro_batch,
        accumulation=settings.accumulation,
        warm_up=settings.warm_up,
        seed=seed,
        checkpoint_steps=settings.checkpoint_steps,
        time_budget=settings.time_budget,
        precision=placement.precision,
        tensorboard=settings.tensorboard,
    )
