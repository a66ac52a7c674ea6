"""`neuralforge replay`: the terminal's side of the proof.

Invariant: the table goes to stdout, everything else to stderr; a repository that cannot be
travelled through is named in the table, and the others are not held up. Knows no figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.command_line import run_command
from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import Home, locked, write_atomic, write_json
from neuralforge_trainer.errors import CodeChangedError, NothingToLearnError, ProofError
from neuralforge_trainer.evaluate.history.course import Course
from neuralforge_trainer.evaluate.history.figures import Answers, collect_answers
from neuralforge_trainer.evaluate.history.kept import keep
from neuralforge_trainer.evaluate.history.page import page
from neuralforge_trainer.evaluate.history.periods import Plan, make_plan
from neuralforge_trainer.evaluate.history.plots import file_name, plots
from neuralforge_trainer.evaluate.history.report import About, Report, make_report, markdown
from neuralforge_trainer.evaluate.history.sets import History, find_clone, named, read_set
from neuralforge_trainer.evaluate.history.settings import LEARNERS, ProofSettings
from neuralforge_trainer.samples.fim import spots_of
from neuralforge_trainer.samples.git import choose_author, user_commits
from neuralforge_trainer.samples.repository import Repository, open_repository

DEFAULTS = ProofSettings()


@dataclass(frozen=True)
class Travel:
    """What one call of the command does."""

    home: Home
    base: Base
    settings: ProofSettings
    learners: Sequence[str]
    clones: Path | None

    def all(
        self, histories: Sequence[History], on_report: Callable[[Report], None] = lambda _: None
    ) -> Report:
        """Travel through every history, and report; `on_report` sees the report grow.

        Raises:
            CodeChangedError: what runs is no longer what lies on the disk.
            NeuralForgeError: none of them could be travelled through.
        """
        found: list[tuple[About, Answers]] = []
        missing: dict[str, str] = {}
        for history in histories:
            try:
                found.append(self.one(history))
            except CodeChangedError:
                raise
            except NeuralForgeError as error:
                if len(histories) == 1:
                    raise
                missing[history.name] = str(error)
                _say(f"{history.name}: {error}")
            else:
                on_report(self._report(found, missing))
        if not found:
            raise NothingToLearnError("; ".join(f"{k}: {why}" for k, why in missing.items()))
        return self._report(found, missing)

    def _report(self, found: Sequence[tuple[About, Answers]], missing: dict[str, str]) -> Report:
        return make_report(self.base.digest, self.settings, self.main, found, dict(missing))

    @property
    def main(self) -> str:
        """The learner that users have, if it is among those asked for."""
        arm = self.settings.job.arm
        return arm if arm in self.learners else self.learners[0]

    def one(self, history: History) -> tuple[About, Answers]:
        """Measure what is not kept yet of one history."""
        repository = self._open(history)
        plan = make_plan(repository, history.name, history.author or None, self.settings)
        kept = keep(self.home, self.base, plan.name, plan.head, self.settings)
        learners = [name for name in self.learners if name in (history.learners or self.learners)]
        if not learners:
            raise ProofError(f"{history.name} is listed for none of {', '.join(self.learners)}")
        with locked(kept.folder / ".lock", timeout=1):
            course = Course(self.base, plan, self.settings, kept, learners, _say)
            course.travel()
        answers = collect_answers(plan.name, kept, self.settings.updates, learners, course.main)
        return _about(plan), answers

    def count(self, history: History) -> str:
        """An entry for a list of histories, counted and not evaluated."""
        repository = self._open(history)
        author = choose_author(repository, history.author or None).author
        changes = list(user_commits(repository, author))
        spots = [spot for change in changes for spot in spots_of(change, 0)]
        languages = [name for name, _ in Counter(s.file.language for s in spots).most_common(2)]
        return (
            f"- name: {history.name}\n  url: {history.url}\n  commit: {repository.head}\n"
            f"  author: {author}\n  languages: [{', '.join(languages)}]\n"
            f"  commits: {len(changes)}\n  samples: {len(spots)}"
        )

    def _open(self, history: History) -> Repository:
        return open_repository(find_clone(history, self.clones, self.home), history.commit)


def _about(plan: Plan) -> About:
    windows = [
        {
            "commits": period.commits,
            "begins": period.begins,
            "ends": period.ends,
            "samples": len(period.samples),
            "questions": len(period.questions),
            "keepsakes": len(period.keepsakes),
            "passages": len(period.passages),
        }
        for period in plan.periods
    ]
    return About(plan.name, plan.head, plan.author, windows)


def write_report(report: Report, folder: Path) -> None:
    """The report as JSON, HTML, and Markdown with its plots beside it.

    Raises:
        HomeError: the disk refuses.
    """
    write_json(folder / "replay.json", report.as_dict())
    drawn = plots(report)
    pictures = {title: f"{file_name(title)}.svg" for title in drawn}
    for title, svg in drawn.items():
        write_atomic(folder / pictures[title], svg)
    write_atomic(folder / "replay.md", markdown(report, pictures))
    write_atomic(folder / "replay.html", page(report))


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command(
    name="replay",
    epilog="Example: neuralforge replay ~/src/project --updates 4 --output proof",
)
@click.argument("repositories", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--set", "list_file", type=click.Path(exists=True, path_type=Path),
              help="A list of histories in YAML.")  # fmt: skip
@click.option("--clones", type=click.Path(exists=True, path_type=Path),
              help="Where the list's clones lie; otherwise git clones them.")  # fmt: skip
@click.option("--base", "path", type=click.Path(path_type=Path),
              help="A GGUF; otherwise the base in use.")  # fmt: skip
@click.option("--author", help="Name or address; otherwise you, or the main author.")
@click.option("--updates", type=click.IntRange(1), default=DEFAULTS.updates, show_default=True,
              help="Windows to learn; one more is asked about.")  # fmt: skip
@click.option("--samples", type=click.IntRange(1), default=DEFAULTS.samples, show_default=True,
              help="New samples in an update.")  # fmt: skip
@click.option("--items", type=click.IntRange(1), default=DEFAULTS.items, show_default=True,
              help="Lines asked about in each window.")  # fmt: skip
@click.option("--lines", type=click.IntRange(0), default=DEFAULTS.lines, show_default=True,
              help="Lines typed out in each window.")  # fmt: skip
@click.option("--general", type=click.IntRange(0), default=DEFAULTS.general, show_default=True,
              help="Lines of general code asked about.")  # fmt: skip
@click.option("--learner", "learners", multiple=True, type=click.Choice(LEARNERS),
              default=LEARNERS, help="Repeatable; all by default.")  # fmt: skip
@click.option("--threads", type=click.IntRange(0), default=DEFAULTS.threads, show_default=True,
              help="Of engine and trainer; 0 for every core.")  # fmt: skip
@click.option("--seed", type=int, default=DEFAULTS.seed, show_default=True)
@click.option("--output", type=click.Path(path_type=Path),
              help="A folder for replay.json, replay.md, replay.html and plots.")  # fmt: skip
@click.option("--count", is_flag=True, help="Only count commits and samples.")
def command(
    repositories: tuple[Path, ...],
    list_file: Path | None,
    clones: Path | None,
    path: Path | None,
    author: str | None,
    learners: tuple[str, ...],
    output: Path | None,
    count: bool,
    **numbers: Any,
) -> None:
    """Travel through a history: learn a window, be asked about the next, window by window.

    What was measured is kept, so that the same command goes on where it was ended.
    """
    histories = named(repositories, author)
    histories += read_set(list_file) if list_file is not None else []
    if not histories:
        raise click.UsageError("name a repository, or a list of histories with --set")
    home = Home.find()
    settings = ProofSettings(**numbers)
    travel = Travel(home, open_base(path, home), settings, learners, clones)
    if count:
        for history in histories:
            click.echo(travel.count(history))
        return

    def write(report: Report) -> None:
        if output is not None:
            write_report(report, output)

    report = travel.all(histories, write)
    click.echo(markdown(report), nl=False)
    write(report)


def main() -> None:
    """Run the command."""
    run_command(command, "neuralforge replay")


if __name__ == "__main__":
    main()
