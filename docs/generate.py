"""Writes the reference pages that can be derived from the code; a test fails when they are stale.

Run it as `make docs`.
"""

from __future__ import annotations

import ast
import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from sqlite_utils import Database

from neuralforge_server import commands as lsp_commands
from neuralforge_server import settings, settings_schema
from neuralforge_server.base_report import preset_table
from neuralforge_server.cli import group
from neuralforge_server.session.log import SessionLog
from neuralforge_trainer.datasets.__main__ import group as datasets_group
from neuralforge_trainer.evaluate.bases import command as bases_command
from neuralforge_trainer.evaluate.fitness import command as evaluate_command
from neuralforge_trainer.evaluate.history.__main__ import command as replay_command
from neuralforge_trainer.pretrain.__main__ import group as pretrain_group
from neuralforge_trainer.settings import JobSettings

_TABLE_BEGINS, _TABLE_ENDS = "<!-- presets, by `make docs` -->", "<!-- end of presets -->"
_PROOF_BEGINS = "<!-- The table, by `make docs` from docs/replay/replay.md -->"
_PROOF_ENDS = "<!-- End of the table -->"
_PROOF = Path(__file__).parent / "replay" / "replay.md"
_NO_PROOF = "Not made yet: it is made once, with the shipped base, when that is final.\n"
_VSCODE = Path(__file__).parents[1] / "editor-clients" / "vscode"
_CLIENTS = "Server and Installation"
"""The section of VS Code's settings that is the extension's own."""
_MACHINE = {"neuralforge.engine.endpoint", "neuralforge.engine.remote_model"}
"""Settings that no workspace may set: they decide where code is sent."""
_TRAINERS: dict[str, click.Command] = {
    "neuralforge replay": replay_command,
    "neuralforge evaluate": evaluate_command,
    "neuralforge bases evaluate": bases_command,
    "neuralforge pretrain": pretrain_group,
    **{f"neuralforge {name}": one for name, one in datasets_group.commands.items()},
}
"""Commands that pass their arguments on to the trainer: its help is shown in their place."""
_NOTE = "Made from the code by `make docs`; a test fails when it is stale.\n\n"


def commands() -> str:
    """Every command's help, as the terminal prints it but for what depends on the machine."""
    pack = pretrain_group.commands["pack"]
    (workers,) = (p for p in pack.params if isinstance(p, click.Option) and p.name == "workers")
    workers.show_default = "every core"
    blocks = [
        f"## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
        for context, command in _walk(
            group, click.Context(group, info_name="neuralforge", **group.context_settings)
        )
    ]
    return f"# Commands\n\n{_NOTE}" + "\n".join(blocks)


def settings_page() -> str:
    """The server's settings, then those of one training."""
    meanings = _attribute_docstrings(JobSettings)
    rows = "\n".join(
        f"| `{f.name}` | `{json.dumps(f.default)}` | {meanings[f.name]} |"
        for f in fields(JobSettings)
    )
    return (
        f"{settings.docs_table()}\n## Of one training\n\n"
        "What `neuralforge train --set NAME=VALUE` takes, for that training alone. Shares lie "
        "between 0 and 1.\n\n"
        f"| name | default | meaning |\n|---|---|---|\n{rows}\n"
    )


def _attribute_docstrings(kind: type) -> dict[str, str]:
    """The first paragraph of what stands below each field of a class, in one line."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.partition("\n\n")[0].split())
    return found


def schema() -> str:
    """The session log's tables, from a fresh one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.db"
        SessionLog.open(path).close()
        statements = Database(path).schema
    return f"# Schema of the session log\n\n{_NOTE}```sql\n{statements}\n```\n"


def bases() -> str:
    """The page on bases, as it is, with the table of presets made anew."""
    return _filled("bases.md", _TABLE_BEGINS, preset_table(), _TABLE_ENDS)


def learning() -> str:
    """The page on learning, as it is, with what the proof found over all histories."""
    return _filled("learning.md", _PROOF_BEGINS, proof(_PROOF), _PROOF_ENDS)


def proof(report: Path) -> str:
    """The first part of the proof's Markdown, as it is shown from the folder above it."""
    if not report.is_file():
        return _NO_PROOF
    overall = "\n### ".join(report.read_text("utf-8").split("\n### ")[:2]).rstrip()
    folder = report.parent.name
    more = f"[Every history by itself]({folder}/{report.name}), and all of it as [data]"
    return f"{overall.replace('](', f']({folder}/')}\n\n{more}({folder}/replay.json).\n"


def _filled(name: str, begins: str, content: str, ends: str) -> str:
    """A page with `content` between two marks."""
    page = (Path(__file__).parent / name).read_text("utf-8")
    before, _, rest = page.partition(begins)
    _, _, after = rest.partition(ends)
    return f"{before}{begins}\n{content}{ends}{after}"


def vscode_package() -> str:
    """VS Code's manifest, as it is, with the server's settings made anew."""
    manifest = json.loads((_VSCODE / "package.json").read_text("utf-8"))
    own = [part for part in manifest["contributes"]["configuration"] if part["title"] == _CLIENTS]
    manifest["contributes"]["configuration"] = own + _vscode_sections()
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def _vscode_sections() -> list[dict[str, Any]]:
    """One section of VS Code's settings for each branch of the tree."""
    sections: dict[str, dict[str, Any]] = {}
    for order, (name, schema) in enumerate(settings_schema.properties().items()):
        description = schema.pop("description")
        scope = "machine" if name in _MACHINE else "window"
        branch = name.split(".")[1] if name.count(".") > 1 else "more"
        sections.setdefault(branch.capitalize(), {})[name] = schema | {
            "scope": scope,
            "order": order,
            "markdownDescription": description,
        }
    return [{"title": title, "properties": found} for title, found in sections.items()]


PAGES: dict[str, Callable[[], str]] = {
    "bases.md": bases,
    "learning.md": learning,
    "commands.md": commands,
    "lsp-commands.md": lsp_commands.docs_table,
    "settings.md": settings_page,
    "schema.md": schema,
    "../editor-clients/vscode/package.json": vscode_package,
}


def main() -> None:
    """Write all pages beside this file."""
    for name, render in PAGES.items():
        (Path(__file__).parent / name).write_text(render(), "utf-8")


def _walk(
    command: click.Command, context: click.Context
) -> Iterator[tuple[click.Context, click.Command]]:
    context.terminal_width = 100
    context.command = command = _TRAINERS.get(context.command_path, command)
    yield context, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _walk(child, click.Context(child, info_name=name, parent=context))


if __name__ == "__main__":
    main()
