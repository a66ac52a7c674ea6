"""Fixtures that every part shares: a temporary home and the embedded base."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.home import HOME_VARIABLE, PROFILE_VARIABLE, Home


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
