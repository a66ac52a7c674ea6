"""Which adapters serve which file: by language, by pattern, and what of the setting is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from gguf_maker import make_adapter
from neuralforge_adapters.base import Base
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import GGUF_FILE, AdapterStore, Manifest
from neuralforge_server.document_stacks import MOST, DocumentStacks


@pytest.fixture
def store(home: Home, base: Base) -> AdapterStore:
    """Adapters `a` to `e`."""
    made = AdapterStore(home)
    for seed, name in enumerate("abcde"):
        with made.staging(name) as folder:
            make_adapter(folder / GGUF_FILE, seed=seed, rank=2, base_digest=base.digest)
            made.publish(folder, Manifest(name, base.digest, rank=2, alpha=2.0))
    return made


def names(
    stacks: DocumentStacks, language: str, path: str | None
) -> list[tuple[str, float]] | None:
    stack = stacks.of(language, path)
    return None if stack is None else [(a.reference, a.scale) for a in stack.adapters]


def test_the_first_key_that_fits_counts(store: AdapterStore, base: Base, tmp_path: Path) -> None:
    work = tmp_path / "work"
    stacks = DocumentStacks(
        {f"{work.as_posix()}/**": ["a*0.5", "b"], "python": ["c@v0001"], "*.sql": []}
    )
    assert stacks.resolve(store, base.digest) == []
    assert names(stacks, "python", str(work / "x.py")) == [("a@v0001", 0.5), ("b@v0001", 1.0)]
    assert names(stacks, "python", str(tmp_path / "x.py")) == [("c@v0001", 1.0)]
    assert names(stacks, "python", None) == [("c@v0001", 1.0)]
    assert names(stacks, "sql", str(tmp_path / "x.sql")) == []
    assert names(stacks, "go", str(tmp_path / "x.go")) is None


@pytest.mark.parametrize("names_", [["nobody"], ["a*much"], ["a", "a"]])
def test_a_stack_that_cannot_be_served_is_named_and_left_out(
    store: AdapterStore, base: Base, names_: list[str]
) -> None:
    stacks = DocumentStacks({"python": names_, "go": ["b"]})
    (problem,) = stacks.resolve(store, base.digest)
    assert "neuralforge.stacks has 'python'" in problem
    assert names(stacks, "python", None) is None
    assert names(stacks, "go", None) == [("b@v0001", 1.0)]


def test_no_more_stacks_than_an_engine_keeps(store: AdapterStore, base: Base) -> None:
    stacks = DocumentStacks({name: [name] for name in "abcde"})
    assert len(stacks.resolve(store, base.digest)) == 5 - MOST
    assert len(stacks.resolved) == MOST


def test_a_new_version_is_another_stack(store: AdapterStore, base: Base) -> None:
    stacks = DocumentStacks({"python": ["a"]})
    stacks.resolve(store, base.digest)
    before = stacks.of("python", None)
    with store.staging("a") as folder:
        make_adapter(folder / GGUF_FILE, seed=9, rank=2, base_digest=base.digest)
        store.publish(folder, Manifest("a", base.digest, rank=2, alpha=2.0))
    stacks.resolve(store, base.digest)
    after = stacks.of("python", None)
    assert before is not None and after is not None and before.digest != after.digest
