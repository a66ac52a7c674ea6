"""One YAML file describes one pretraining run; here it becomes typed and checked.

Invariant: a key that is not known, a value of the wrong kind, or a shape that no stage could
work with, is refused by name before any work begins. Knows no stage.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import platformdirs

from neuralforge_trainer.errors import PretrainConfigError

ROOT_VARIABLE = "NEURALFORGE_PRETRAIN"
_MOST_TOKENS = 65_535
"""Of a vocabulary: shards hold ids in 16 bits."""

Section = TypeVar("Section")


@dataclass(frozen=True)
class CorpusConfig:
    """What is read, how much of it, and what stays out."""

    suite: str = ""
    """The Debian suite that the packages are taken from."""
    packages: dict[str, list[str]] = field(default_factory=dict)
    """Binary packages that carry source; under `source` source packages, under `npm` npm's."""
    licences: dict[str, str] = field(default_factory=dict)
    """SPDX expressions, read by a person, for packages whose files state them in prose only."""
    mix: dict[str, float] = field(default_factory=lambda: {"python": 1.0})
    """Share of the training tokens for each language (LSP language ids)."""
    most_bytes: int = 6_000_000
    """Of one package, at most."""
    held_out: list[dict[str, str]] = field(default_factory=list)
    """Repositories used to evaluate: `repository`, `names` (of packages and folders), `reason`."""
    similarity: float = 0.7
    """Jaccard similarity from which on two files count as near-duplicates."""
    validation: float = 0.004
    """Share of the files that are never trained on."""


@dataclass(frozen=True)
class ShapeConfig:
    """The model's shape; see `ModelConfig`."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    context: int


@dataclass(frozen=True)
class PackConfig:
    """How text becomes rows of tokens."""

    lengths: dict[int, float] = field(default_factory=lambda: {256: 0.2, 512: 0.4, 1024: 0.4})
    """Share of the tokens in rows of each length."""
    fim: float = 0.65
    """Share of the samples with a middle to fill in."""
    shard_tokens: int = 20_971_520
    """All rows of a document are in one shard, shuffled with the others: in a small one they come
    close together, and are learnt by heart instead of what they have in common with others."""


@dataclass(frozen=True)
class TrainConfig:
    """The optimizers, the schedule and the rhythm; counted in steps and tokens, never in time."""

    tokens: int
    batch_tokens: int = 16_384
    micro_tokens: int = 8_192
    matrix_rate: float = 0.02
    vector_rate: float = 0.002
    weight_decay: float = 0.01
    warmup_steps: int = 200
    decay_share: float = 0.2
    """Of all steps, the last part in which the rates fall to zero."""
    checkpoint_steps: int = 50
    validate_steps: int = 250
    compiled: bool = True


@dataclass(frozen=True)
class RunConfig:
    """One run: its name, seed and sections."""

    name: str
    model: ShapeConfig
    train: TrainConfig
    corpus: CorpusConfig
    pack: PackConfig
    seed: int = 0
    extends: str = ""
    """A run file whose values hold where this one has none; corpus and tokenizer are shared."""

    @property
    def folder(self) -> Path:
        """Where everything that is this run's alone lies, outside the repository."""
        return _root() / self.name

    @property
    def data_folder(self) -> Path:
        """Where corpus and tokenizer lie: the extended run's folder, if there is one."""
        return _root() / (self.extends or self.name)


def load_config(source: str) -> RunConfig:
    """The run described by a YAML file: a path, or the name of one that ships here.

    Raises:
        PretrainConfigError: no such file, not YAML, an unknown key, a value of the wrong kind, or
            values that do not go together.
    """
    values = _read(source)
    if isinstance(values, dict) and isinstance(values.get("extends"), str):
        values = _merged(RunConfig, _extended(values["extends"], source), values)
    config = _section(RunConfig, values, source)
    _require_shape(config.model, source)
    _require_lengths(config, source)
    return config


def config_path(source: str) -> Path:
    """The file that `source` names."""
    inside = _home() / f"{source}.yaml"
    return inside if inside.is_file() else Path(source)


def shipped() -> list[str]:
    """Names of the run files that ship in this package."""
    return sorted(path.stem for path in _home().glob("*.yaml"))


def _root() -> Path:
    named = os.environ.get(ROOT_VARIABLE)
    root = Path(named) if named else Path(platformdirs.user_cache_dir("neuralforge", False))
    return root.expanduser().absolute()


def _read(source: str) -> Any:
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(config_path(source).read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise PretrainConfigError(
            f"run file {source}: {error}; name a YAML file, or one of {', '.join(shipped())}"
        ) from error


def _extended(name: str, source: str) -> Any:
    """What the run file `name` says, which `source` extends and whose corpus it shares.

    Raises:
        PretrainConfigError: it extends another.
    """
    values = _read(name)
    if isinstance(values, dict) and (further := values.get("extends")):
        raise PretrainConfigError(
            f"{source}: it extends {name}, which extends {further} itself, and only one level is "
            f"read; extend {further}, and repeat what {name} says"
        )
    return values


def _merged(kind: Any, below: Any, above: Any) -> Any:
    """`above` where it says something, section by section; else `below`.

    A mapping that is a value, such as shares, holds as a whole.
    """
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    hints = get_type_hints(kind)
    sections = {
        key: _merged(hints[key], below.get(key), value)
        for key, value in above.items()
        if dataclasses.is_dataclass(hints.get(key))
    }
    return below | above | sections


def _require_shape(shape: ShapeConfig, where: str) -> None:
    """Refuse numbers that make no model, or ids that no shard can hold."""
    for name, value in dataclasses.asdict(shape).items():
        if value < 1:
            raise PretrainConfigError(f"{where}.model.{name}: {value} is too few; raise it")
    if shape.vocabulary > _MOST_TOKENS:
        raise PretrainConfigError(
            f"{where}.model.vocabulary: {shape.vocabulary} tokens are too many; lower it to "
            f"{_MOST_TOKENS} or less"
        )
    for name, parts in (("width", "heads"), ("heads", "kv_heads")):
        whole, count = getattr(shape, name), getattr(shape, parts)
        if whole % count:
            raise PretrainConfigError(
                f"{where}.model.{name}: {whole} is no multiple of {parts} ({count}); change either"
            )


def _require_lengths(config: RunConfig, where: str) -> None:
    """Refuse rows that are longer than what the model reads at once."""
    for length in config.pack.lengths:
        if not isinstance(length, int) or not 0 < length <= config.model.context:
            raise PretrainConfigError(
                f"{where}.pack.lengths: {length!r} is no length of 1 to {config.model.context} "
                "tokens (model.context); change either"
            )


def _home() -> Path:
    return Path(str(resources.files("neuralforge_trainer.pretrain")))


def _section(kind: type[Section], values: Any, where: str) -> Section:
    if not isinstance(values, dict):
        raise PretrainConfigError(f"{where}: expected a mapping, found {values!r}; mend the file")
    hints = get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        known = ", ".join(hints)
        raise PretrainConfigError(f"{where}: unknown key {min(unknown)!r}; known are {known}")
    given = {key: _value(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise PretrainConfigError(f"{where}: {error}; add what is missing") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _section(hint, value, where)  # type: ignore[arg-type]
    plain = getattr(hint, "__origin__", hint)
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise PretrainConfigError(f"{where}: {value!r} is no {plain.__name__}; mend the file")
    return value
