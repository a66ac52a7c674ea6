"""`python -P -m neuralforge_trainer.datasets`: create, extract and analyze files of samples.

Invariant: nothing is trained and no file is replaced; the exit status is 1 for a failure that has
a message. The home and the profile come from the environment.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from neuralforge_adapters.command_line import run_command
from neuralforge_adapters.home import Home
from neuralforge_trainer.samples.choice import Candidate
from neuralforge_trainer.samples.selection import Selection, parse_languages, parse_since

Function = TypeVar("Function", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)
_out = click.argument("out", type=_PATH)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_home = click.option(
    "--profile", "home", callback=lambda _context, _parameter, name: Home.find(name),
    help="Whose log, buffer and adapters: one of your profiles.",
)  # fmt: skip


def _since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else parse_since(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _choice_options(function: Function) -> Function:
    """What to take, and how much; the same for every source."""
    for option in reversed(
        (
            click.option("--since", callback=_since, metavar="DATE|DAYSd",
                         help="Nothing older: 2026-01-31, or 90d."),
            click.option("--languages", default="", metavar="A,B",
                         help="Only these, by their LSP names."),
            click.option("--pattern", multiple=True, help="Only files that match, as in "
                         ".gitignore; !PATTERN leaves out (repeatable)."),
            click.option("--balance", is_flag=True,
                         help="Equally many of each language; without --limit as many as of the "
                         "rarest."),
            click.option("--limit", type=click.IntRange(1), help="At most so many samples."),
            click.option("--held-out", type=click.FloatRange(0, 0.9), default=0.0, metavar="SHARE",
                         help="Keep the newest share apart, in OUT.heldout.jsonl."),
            click.option("--seed", type=int, default=0, show_default=True),
        )
    ):  # fmt: skip
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Create, extract and analyze files of samples (JSONL)."""


@group.command(
    name="create-dataset",
    epilog="Example: neuralforge create-dataset own.jsonl --from-git ~/src/project --since 365d",
)
@_out
@click.option("--from-git", type=_PATH, multiple=True, metavar="PATH",
              help="Your added lines in a repository's history (repeatable).")  # fmt: skip
@click.option("--author", help="Whose commits, by name or e-mail; otherwise your git identity.")
@click.option("--session", is_flag=True, help="What you kept and wrote, from the session log.")
@click.option("--from-files", type=_PATH, multiple=True, metavar="FOLDER",
              help="The files of code in a folder, as they are (repeatable).")  # fmt: skip
@_choice_options
@_home
@_json
def create(
    out: Path,
    from_git: tuple[Path, ...],
    author: str | None,
    session: bool,
    from_files: tuple[Path, ...],
    home: Home,
    as_json: bool,
    **choice: Any,
) -> None:
    """Make a dataset of a history, of your sessions, or of files: OUT, without duplicates and
    secrets."""
    from neuralforge_trainer.datasets import sources

    if not (from_git or session or from_files):
        raise click.UsageError("say of what: --from-git PATH, --session or --from-files FOLDER")
    wanted, seed = _selection(choice), choice["seed"]
    found = [c for path in from_git for c in sources.of_git(path, author, wanted, seed)]
    found += [c for path in from_files for c in sources.of_folder(path, wanted, seed)]
    found += sources.of_session(home, wanted) if session else []
    _write(out, found, choice, as_json)


@group.command(
    name="extract-dataset",
    epilog="Example: neuralforge extract-dataset learnt.jsonl --adapter personal",
)
@_out
@click.option("--replay", is_flag=True, help="What the replay buffer holds.")
@click.option("--log", is_flag=True, help="Everything in the session log that can be learnt.")
@click.option("--adapter", metavar="NAME[@VERSION]",
              help="What lies in a version's window of data, from its source.")  # fmt: skip
@_choice_options
@_home
@_json
def extract(
    out: Path,
    replay: bool,
    log: bool,
    adapter: str | None,
    home: Home,
    as_json: bool,
    **choice: Any,
) -> None:
    """Write down what was learnt, or is there to be learnt, as a dataset: OUT."""
    from neuralforge_trainer.datasets import sources

    if not (replay or log or adapter):
        raise click.UsageError("say from what: --replay, --log or --adapter NAME")
    wanted = _selection(choice)
    found = sources.of_replay(home, wanted) if replay else []
    found += sources.of_session(home, wanted) if log else []
    found += sources.of_adapter(home, adapter, wanted, choice["seed"]) if adapter else []
    _write(out, found, choice, as_json)


@group.command(
    name="analyze-dataset", epilog="Example: neuralforge analyze-dataset own.jsonl --json"
)
@click.argument("files", nargs=-1, required=True, type=_PATH)
@click.option("--base", type=_PATH, help="Count the tokens of this base instead of the one in use.")
@_home
@_json
def analyze(files: tuple[Path, ...], base: Path | None, home: Home, as_json: bool) -> None:
    """Tell what datasets are worth, and what to do about what lowers it."""
    from neuralforge_trainer.datasets.report import analyze_files, as_record, print_analysis

    analyses = analyze_files(files, base, home)
    if as_json:
        click.echo(json.dumps([as_record(analysis) for analysis in analyses], indent=2))
        return
    for analysis in analyses:
        print_analysis(analysis)


def _selection(choice: dict[str, Any]) -> Selection:
    return Selection(choice["since"], parse_languages(choice["languages"]), choice["pattern"])


def _write(out: Path, found: list[Candidate], choice: dict[str, Any], as_json: bool) -> None:
    from neuralforge_trainer.datasets.write import Drawing, write_dataset

    drawing = Drawing(choice["limit"], choice["balance"], choice["held_out"], choice["seed"])
    written = write_dataset(out, found, drawing)
    if as_json:
        click.echo(json.dumps(asdict(written), indent=2))
        return
    languages = ", ".join(f"{name} {count}" for name, count in written.languages.items())
    click.echo(f"{written.samples} samples in {written.path} ({languages})")
    if written.heldout_path is not None:
        click.echo(f"{written.heldout} newer ones held out in {written.heldout_path}")
    left_out = f"{written.duplicates} duplicates and {written.near_duplicates} near-duplicates"
    click.echo(f"left out: {left_out}")


def main() -> None:
    """Run the command."""
    run_command(group, "neuralforge")


if __name__ == "__main__":
    main()
