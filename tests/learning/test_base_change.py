"""A new base: the personal adapter is retrained for it, and the old pair stays until it passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gguf_maker import make_base
from git_maker import isolate, varied_history
from neuralforge_adapters.base import Base, embedded_base, open_base
from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.errors import BaseFileError
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import StackFile, resolve
from neuralforge_adapters.store import PERSONAL, AdapterStore
from neuralforge_adapters.trainer_files import TrainerState, read_state, request
from neuralforge_server.base_change import change_base
from neuralforge_server.engine.tokens import tokenize
from neuralforge_server.learning.repositories import Attempts
from neuralforge_server.training_check import obstacle
from neuralforge_trainer.collect import collect
from neuralforge_trainer.errors import (
    BaseNotTrainableError,
    TrainingDivergedError,
    TrainingMemoryError,
    TrainingStoppedError,
)
from neuralforge_trainer.job import run_job
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.learn.vocabulary import PROBES, load_vocabulary
from neuralforge_trainer.settings import Job, JobSettings

SETTINGS = JobSettings(
    least_samples=5, least_items=3, heldout_items=10, general_items=5, fisher_samples=2,
    epochs=3, threads=1,
)  # fmt: skip


def tiny(path: Path, width: int) -> Path:
    return make_base(path, layers=1, width=width, heads=2, kv_heads=1, hidden=128,
                     vocabulary=12_288)  # fmt: skip


def served(home: Home, base: Base) -> list[str]:
    """The adapters that stand in the stack on that base."""
    stack = resolve(StackFile(home).read(), AdapterStore(home), base.digest)
    return [adapter.reference for adapter in stack.adapters]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    return varied_history(tmp_path / "repository").root


@pytest.fixture
def old(tmp_path: Path, home: Home, repository: Path) -> Base:
    """A base in use, with a personal adapter that learnt the repository."""
    path = tiny(tmp_path / "old.gguf", 64)
    assert change_base(path, home, now=False).result == "switched", "nothing to wait for yet"
    outcome = run_job(home, Job(repository=repository, settings=SETTINGS))
    assert outcome.result == "published", outcome.message
    return open_base(None, home)


@pytest.mark.slow
def test_a_new_base_is_used_once_the_retrained_adapter_has_passed_the_gate(
    tmp_path: Path, home: Home, old: Base
) -> None:
    path = tiny(tmp_path / "new.gguf", 32)
    change = change_base(path, home, now=False)
    new = change.base
    assert change.result == "awaited" and open_base(None, home) == old
    with ReplayBuffer(home.replay_buffer) as buffer:
        before = buffer.seen
    outcome = run_job(home, Job(again=True, base=path, settings=SETTINGS))
    assert outcome.result == "published", outcome.message
    assert open_base(None, home) == new and BaseChoice(home).read().awaited is None
    assert (served(home, new), served(home, old)) == (["personal@v0002"], ["personal@v0001"])
    with ReplayBuffer(home.replay_buffer) as buffer:
        assert buffer.seen == before, "what is learnt again is not counted again"
    back = change_base(old.path, home, now=False)
    assert (back.result, back.personal) == ("switched", "personal@v0001")
    current = AdapterStore(home).current(PERSONAL)
    assert current is not None and current.reference == "personal@v0001"


@pytest.mark.slow
def test_the_old_pair_stays_where_the_gate_refuses(tmp_path: Path, home: Home, old: Base) -> None:
    path = tiny(tmp_path / "new.gguf", 32)
    change_base(path, home, now=False)
    lazy = replace(SETTINGS, arm="replay", learning_rate=0.0)
    outcome = run_job(home, Job(again=True, base=path, settings=lazy))
    assert outcome.result == "refused"
    choice = BaseChoice(home).read()
    assert choice.awaited is not None and choice.awaited.refused == outcome.message
    assert open_base(None, home) == old and served(home, old) == ["personal@v0001"]
    assert change_base(path, home, now=True).result == "switched", "the user may insist"
    assert served(home, open_base(None, home)) == []


@pytest.mark.slow
def test_what_is_learnt_again_comes_from_history_and_replay_without_the_held_out_lines(
    home: Home, old: Base, repository: Path
) -> None:
    job = Job(again=True, settings=SETTINGS)
    whole = collect(home, job)
    assert whole.known and whole.data["repositories"] == [str(repository)]
    (repository / ".git").rename(repository / "gone")
    kept = collect(home, job)
    assert kept.data["repositories"] == [] and len(kept.samples) >= SETTINGS.least_samples
    for material in (whole, kept):
        shown = {
            line.strip()
            for s in material.samples
            for line in (s.prefix + s.middle + s.suffix).splitlines()
        }
        asked = {(i.prefix.rpartition("\n")[2] + i.expected).strip() for i in material.heldout}
        assert asked and not asked & shown


@pytest.fixture
def awaited(tmp_path: Path, home: Home, repository: Path) -> Job:
    """The training for a base that waits for its adapter, where the repository was learnt."""
    collect(home, Job(repository=repository, settings=SETTINGS)).remember()
    base = open_base(tiny(tmp_path / "new.gguf", 32), home)
    BaseChoice(home).wait_for(base.path, base.digest)
    return Job(again=True, base=base.path, settings=SETTINGS)


def due(home: Home) -> Path | None:
    """The base that a server would start a training for now."""
    return Attempts(home).awaited(read_state(home))


def refused(home: Home) -> str:
    choice = BaseChoice(home).read()
    return choice.awaited.refused if choice.awaited is not None else ""


@pytest.mark.parametrize("command", ["cancel", "skip"])
def test_a_retraining_that_was_cancelled_is_not_started_again(
    home: Home, awaited: Job, command: Any
) -> None:
    def stop(state: TrainerState) -> None:
        if state.message:  # it has collected
            request(home, command)

    assert due(home) == awaited.base
    outcome = run_job(home, awaited, stop)
    assert (outcome.result, refused(home)) == ("cancelled", f"stopped by `{command}`")
    assert due(home) is None


@pytest.mark.parametrize(
    "error",
    [
        TrainingMemoryError("no room"),
        TrainingDivergedError("not finite"),
        OSError(28, "disk full"),
        RuntimeError(),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_a_retraining_that_failed_is_not_started_again(
    home: Home, awaited: Job, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr("neuralforge_trainer.job.collect", _raising(error))
    with pytest.raises(type(error)):
        run_job(home, awaited)
    assert str(error) in refused(home) and refused(home)
    assert due(home) is None


def test_a_retraining_that_was_put_off_goes_on_later(
    home: Home, awaited: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = TrainingStoppedError("the hours are over", later=True)
    monkeypatch.setattr("neuralforge_trainer.job.collect", _raising(later))
    assert run_job(home, awaited).result == "interrupted"
    assert due(home) == awaited.base


def test_a_retraining_whose_base_is_gone_fails_as_such(home: Home, awaited: Job) -> None:
    assert awaited.base is not None
    awaited.base.unlink()
    with pytest.raises(BaseFileError, match=r"new\.gguf"):
        run_job(home, awaited)
    state = read_state(home)
    assert state is not None and state.error == "BaseFileError"


def _raising(error: BaseException) -> Callable[[Home, Job], NoReturn]:
    def collects(_home: Home, _job: Job) -> NoReturn:
        raise error

    return collects


def test_what_is_learnt_again_says_from_when_to_when_it_was_written(
    tmp_path: Path, home: Home, awaited: Job
) -> None:
    material = collect(home, awaited)
    times = [sample.time for sample in material.samples]
    assert (material.data["from"], material.data["to"]) == (min(times), max(times))
    timeless = Home(tmp_path / "timeless")
    with ReplayBuffer(timeless.replay_buffer) as buffer:
        buffer.add([replace(s, source="session", time=0.0) for s in material.samples])
    unasked = replace(awaited, settings=replace(SETTINGS, least_items=0))
    assert not {"from", "to"} & collect(timeless, unasked).data.keys()


def split_differently(path: Path) -> Path:
    """The embedded base, for which llama.cpp is told another pre-tokenizer."""
    content = bytearray(embedded_base().read_bytes())
    key = b"tokenizer.ggml.pre"
    at = content.index(b"qwen2", content.index(key))
    content[at : at + 5] = b"bloom"
    path.write_bytes(content)
    return path


def test_a_base_whose_tokenizer_is_read_differently_is_served_but_not_trained(
    tmp_path: Path, home: Home
) -> None:
    base = open_base(split_differently(tmp_path / "other.gguf"), home)
    assert tokenize(base.path, PROBES) != tokenize(embedded_base(), PROBES)
    with pytest.raises(BaseNotTrainableError, match="otherwise than llama"):
        load_vocabulary(base, home)
    assert "otherwise than llama.cpp" in obstacle(base.path, home)
    assert change_base(base.path, home, now=True).info.fim_order == "suffix-first"


def test_a_trainable_base_is_called_so(home: Home) -> None:
    assert obstacle(embedded_base(), home) == ""
    assert AdapterStore(home).current(PERSONAL) is None
