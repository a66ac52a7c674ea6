"""The reference pages are made from the code, and say what it says today."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from neuralforge_server.commands import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (
    "bases.md",
    "commands.md",
    "lsp-commands.md",
    "settings.md",
    "schema.md",
    "../editor-clients/vscode/package.json",
)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_stale(generator: ModuleType, page: str) -> None:
    assert (DOCS / page).read_text("utf-8") == generator.PAGES[page](), "run `make docs`"


def test_every_page_is_listed(generator: ModuleType) -> None:
    assert set(generator.PAGES) == set(PAGES)


def test_every_command_of_the_server_says_its_arguments_and_its_result() -> None:
    assert all("→" in (handler.__doc__ or "") for handler in COMMANDS.values())


def test_links_between_the_pages_lead_somewhere() -> None:
    root = DOCS.parent
    for page in [root / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} → {target}"
