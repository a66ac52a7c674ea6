"""Fixtures that every part shares: a temporary home and the embedded base."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.home import HOME_VARIABLE, PROFILE_VARIABLE, Home

_AT_START = frozenset(os.environ)


@pytest.fixture(autouse=True)
def _trainer_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer takes its process off the hub; a server that a test starts must not inherit it.

    Libraries read these names when they are imported, so the trainer's own tests lose nothing.
    """
    for name in set(os.environ) - _AT_START:
        if name.startswith(("HF_", "TQDM_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_real_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test ever touches the home of whoever runs it."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv(PROFILE_VARIABLE, raising=False)


@pytest.fixture
def home() -> Home:
    return Home.find()


@pytest.fixture
def base(home: Home) -> Base:
    return open_base(None, home)
