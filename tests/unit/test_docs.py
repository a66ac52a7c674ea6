"""The reference pages are made from the code, and say what it says today."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from neuralforge_server.commands import COMMANDS
from neuralforge_trainer.settings import JobSettings

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (
    "bases.md",
    "commands.md",
    "learning.md",
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


def test_the_page_on_learning_shows_what_was_found_over_all_histories(
    generator: ModuleType, tmp_path: Path
) -> None:
    report = tmp_path / "replay" / "replay.md"
    assert "Not made yet" in generator.proof(report)
    report.parent.mkdir()
    report.write_text(
        "| goals |\n\n![EM](em.svg)\n\n### all\n\n| a |\n\n### one\n\n| b |\n", "utf-8"
    )
    shown = generator.proof(report)
    assert "![EM](replay/em.svg)" in shown and "| a |" in shown and "| b |" not in shown
    assert "(replay/replay.md)" in shown


def test_every_page_is_listed(generator: ModuleType) -> None:
    assert set(generator.PAGES) == set(PAGES)


def test_commands_that_pass_their_arguments_on_show_what_the_trainer_takes(
    generator: ModuleType,
) -> None:
    page = generator.commands()
    assert "[ARGUMENTS]" not in page
    for words in ("--updates INTEGER", "--from-files FOLDER", "`neuralforge pretrain fetch`"):
        assert words in page


def test_every_setting_of_a_training_is_told(generator: ModuleType) -> None:
    page = generator.settings_page()
    assert all(f"| `{field.name}` |" in page for field in fields(JobSettings))


def test_every_command_of_the_server_says_its_arguments_and_its_result() -> None:
    assert all("→" in (handler.__doc__ or "") for handler in COMMANDS.values())


def test_links_between_the_pages_lead_somewhere() -> None:
    root = DOCS.parent
    for page in [root / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} → {target}"
