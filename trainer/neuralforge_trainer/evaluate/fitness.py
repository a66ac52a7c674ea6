"""How fit completions are on a repository's newest lines: with context, with memory, with both.

Steps through the newest commits (`moments`). At each, the indexes of context and memory hold what
stood on disk, the file being edited is open, and every arm is asked for the same new lines, by
the engine that serves, in evaluation mode. The copier sees the same files.

Invariant: no index holds a line before it is asked for; re-running gives the same answers.
Knows no training.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.command_line import run_command
from neuralforge_adapters.fim import Window
from neuralforge_adapters.home import Home, write_json
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest, Surroundings
from neuralforge_trainer.evaluate.copier import Copier
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.metrics import (
    Difference,
    edit_similarity,
    exact_match,
    paired_bootstrap,
)
from neuralforge_trainer.evaluate.moments import Moment, moments
from neuralforge_trainer.evaluate.shown import Shown, show
from neuralforge_trainer.evaluate.shown import markdown as shown_markdown
from neuralforge_trainer.evaluate.workspace import Workspace
from neuralforge_trainer.samples.repository import open_repository

COPIER, PLAIN, CONTEXT, MEMORY, BOTH = "copier", "base", "+ context", "+ memory", "+ both"
ARMS = (COPIER, PLAIN, CONTEXT, MEMORY, BOTH)
_CONTEXT_TOKENS = 1024
_LONGEST_ANSWER = 64

Report = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    """What one arm made of one item."""

    repository: str
    commit: str
    arm: str
    exact: bool
    similarity: float
    milliseconds: float


@dataclass(frozen=True)
class Row:
    """One arm on one repository, or on all: EM and ES, and their difference to the bare base.

    Differences are paired by item; intervals are 95 % bootstraps clustered by commit.
    """

    repository: str
    arm: str
    items: int
    em: float
    es: float
    em_gain: Difference
    es_gain: Difference
    over_copier: float
    """Ratio of EM to the copier's; infinite where the copier finds nothing."""


@dataclass
class Measured:
    """Every arm's answers, and what would be on screen."""

    answers: list[Answer] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)


def measure(
    base: Base, name: str, steps: Sequence[Moment], measured: Measured, report: Report
) -> None:
    """Add every arm's answer to every item of one repository, in order."""
    with tempfile.TemporaryDirectory(prefix="neuralforge-fitness-") as folder:
        workspace = Workspace(Path(folder), base, name)
        with EngineClient(base, context=_CONTEXT_TOKENS, memory=workspace.memory_folder) as engine:
            for number, moment in enumerate(steps):
                workspace.move(moment)
                copier = Copier(workspace.files.values())
                for item in moment.items:
                    measured.answers += _ask(engine, workspace, copier, name, item)
                    measured.shown.append(show(engine, item, workspace.around(item)))
                report(f"{name}: {number + 1} of {len(steps)} commits")
        workspace.close()


def rows(given: Sequence[Answer]) -> list[Row]:
    """The table: every arm on each repository, then on all of them."""
    names = list(dict.fromkeys(answer.repository for answer in given))
    parts = [(name, [a for a in given if a.repository == name]) for name in names]
    if len(names) > 1:
        parts.append(("all", list(given)))
    return [row for name, part in parts for row in _rows(name, part)]


def markdown(table: Sequence[Row]) -> str:
    """One line a repository: EM / ES of every arm in per cent, and what memory and both bring."""
    names = dict.fromkeys(row.repository for row in table)
    lines = [
        f"| repository | items | {' | '.join(ARMS)} | memory − base, EM (95 %) | memory ÷ copier |",
        "|---" * (4 + len(ARMS)) + "|",
    ]
    for name in names:
        rows = {row.arm: row for row in table if row.repository == name}
        cells = [f"{rows[arm].em * 100:.1f} / {rows[arm].es * 100:.1f}" for arm in ARMS]
        memory = rows[MEMORY]
        lines.append(
            f"| {name} | {memory.items} | {' | '.join(cells)} | {_shown(memory.em_gain)} | "
            f"{memory.over_copier:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _ask(
    engine: EngineClient, workspace: Workspace, copier: Copier, name: str, item: Item
) -> Iterator[Answer]:
    def answer(arm: str, text: str, milliseconds: float) -> Answer:
        return Answer(
            name,
            item.commit,
            arm,
            exact_match(item.expected, text),
            edit_similarity(item.expected, text),
            milliseconds,
        )

    yield answer(COPIER, copier.complete(item.prefix), 0.0)
    prefix, suffix = Window().cut_text(item.prefix, item.suffix)
    around = workspace.around(item)
    workspace.open(engine, item)
    for arm in ARMS[1:]:
        request = CompleteRequest(
            prefix,
            suffix,
            around=around if arm in (CONTEXT, BOTH) else Surroundings(),
            max_tokens=_LONGEST_ANSWER,
            memory=1.0 if arm in (MEMORY, BOTH) else 0.0,
            evaluation=True,
        )
        completion = engine.complete(request)
        yield answer(arm, completion.text, completion.milliseconds)


def _rows(name: str, part: Sequence[Answer]) -> Iterator[Row]:
    by_arm = {arm: [a for a in part if a.arm == arm] for arm in ARMS}
    plain, copied = by_arm[PLAIN], sum(a.exact for a in by_arm[COPIER])
    clusters = [f"{a.repository}:{a.commit}" for a in plain]
    for arm, own in by_arm.items():
        hits = sum(a.exact for a in own)
        yield Row(
            name,
            arm,
            len(own),
            hits / len(own),
            sum(a.similarity for a in own) / len(own),
            paired_bootstrap([a.exact for a in own], [a.exact for a in plain], clusters),
            paired_bootstrap([a.similarity for a in own], [a.similarity for a in plain], clusters),
            hits / copied if copied else float("inf"),
        )


def _shown(difference: Difference) -> str:
    low, high = difference.low * 100, difference.high * 100
    return f"{difference.mean * 100:+.1f} ({low:+.1f} … {high:+.1f})"


@click.command(
    name="evaluate",
    epilog="Example: neuralforge evaluate --repository ~/src/project --items 200",
)
@click.option(
    "--repository",
    "clones",
    multiple=True,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="A git repository that the base was not trained on (repeatable).",
)
@click.option("--base", "path", type=click.Path(path_type=Path),
              help="A GGUF; otherwise the base in use.")  # fmt: skip
@click.option("--commits", type=click.IntRange(1), default=60, show_default=True,
              help="Newest commits of the main author to ask about.")  # fmt: skip
@click.option("--items", type=click.IntRange(1), default=200, show_default=True,
              help="New lines asked for in each repository.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Also write the rows as JSON.")
def command(
    clones: tuple[Path, ...],
    path: Path | None,
    commits: int,
    items: int,
    seed: int,
    output: Path | None,
) -> None:
    """Measure completions on a history's newest lines, with and without context and memory."""
    base = open_base(path, Home.find())
    measured = Measured()
    for clone in clones:
        steps = moments(open_repository(clone), commits, items, seed)
        name = clone.name if clone.name != "repo" else clone.parent.name
        measure(base, name, steps, measured, lambda line: click.echo(line, err=True))
    table = rows(measured.answers)
    click.echo(f"{markdown(table)}\n{shown_markdown(measured.shown)}", nl=False)
    if output is not None:
        content = {
            "base": base.digest,
            "rows": [dataclasses.asdict(row) for row in table],
            "shown": [dataclasses.asdict(one) for one in measured.shown],
        }
        write_json(output, content)


def main() -> None:
    """Run the command."""
    run_command(command, "neuralforge evaluate")


if __name__ == "__main__":
    main()
