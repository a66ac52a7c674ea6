"""Compares bases on repositories that none of them was trained on, as the engine serves them.

Invariant: every base answers the same questions, drawn from the newest state of each repository
with a seed; windows, token healing and FIM order are those of serving. Knows no adapter.

Figures: bits per byte of a few lines, and EM of the rest of a line from a random column and of a
whole next line; each with the text after the cursor and without.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.bases import locate
from neuralforge_adapters.command_line import run_command
from neuralforge_adapters.fim import Window, heal
from neuralforge_adapters.handwritten import is_handwritten, is_own_path
from neuralforge_adapters.home import Home, write_json
from neuralforge_adapters.language import language_of
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest, ScoreRequest
from neuralforge_trainer.errors import NothingToLearnError
from neuralforge_trainer.evaluate.metrics import bits_per_byte, exact_match
from neuralforge_trainer.samples.lines import line_spans, visible
from neuralforge_trainer.samples.middles import random_cut, text_span
from neuralforge_trainer.samples.repository import Repository, open_repository
from neuralforge_trainer.samples.written import LEAST_VISIBLE

Task = Literal["rest", "line", "block"]
TASKS: tuple[Task, ...] = ("rest", "line", "block")
LANGUAGES = {
    "python": "python",
    "typescript": "typescript",
    "typescriptreact": "typescript",
    "javascript": "javascript",
    "javascriptreact": "javascript",
    "go": "go",
    "rust": "rust",
    "java": "java",
    "c": "c",
}
_BLOCK_LINES = 5
_FEWEST_LINES = 20
_RESAMPLES = 2_000

Report = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """One place in a file; `expected` is what stands there, `file` is the cluster it belongs to."""

    task: Task
    language: str
    file: str
    prefix: str
    expected: str
    suffix: str


@dataclass(frozen=True)
class Answer:
    """What a base made of a question: a hit (EM) or the cost of the text, by task."""

    question: int
    with_suffix: bool
    hit: bool | None = None
    nll: float = 0.0
    bytes: int = 0


@dataclass(frozen=True)
class Figure:
    """One cell of the report: a mean and its 95 % bootstrap interval, clustered by file."""

    base: str
    """As `labelled` calls it."""
    language: str
    task: Task
    with_suffix: bool
    items: int
    value: float
    low: float
    high: float
    ratio: float | None
    """To the first base's value; None for infinite, where that is zero."""
    ratio_low: float | None
    ratio_high: float | None


def questions(clones: Sequence[Path], each: int, seed: int) -> list[Question]:
    """`each` questions of every task from each repository, spread over its files.

    Raises:
        NothingToLearnError: no repository has a file to ask about.
    """
    found: list[Question] = []
    for clone in clones:
        repository = open_repository(clone)
        draws = random.Random(f"{seed}:{clone.parent.name}/{clone.name}")
        files = sorted(_files(repository))
        draws.shuffle(files)
        for task in TASKS:
            found += _draw(repository, files, task, each, draws)
    if not found:
        known = ", ".join(sorted({*LANGUAGES.values()}))
        raise NothingToLearnError(
            f"the repositories have no file of their own in {known} to ask about; name others "
            "with --repository"
        )
    return found


def labelled(bases: Sequence[Base]) -> dict[str, Base]:
    """Each base once, by its name; where several files have one, with the digest's first digits."""
    distinct = {base.digest: base for base in bases}.values()
    names = Counter(base.name for base in distinct)
    return {
        base.name if names[base.name] == 1 else f"{base.name} ({base.digest[:8]})": base
        for base in distinct
    }


def ask(base: Base, asked: Sequence[Question], report: Report) -> list[Answer]:
    """All answers of one base, in order, from an engine of its own."""
    answers: list[Answer] = []
    with EngineClient(base) as engine:
        for number, question in enumerate(asked):
            answers += [_answer(engine, number, question, shown) for shown in (True, False)]
            if number % 100 == 99:
                report(f"{base.name}: {number + 1}/{len(asked)}")
    return answers


def figures(asked: Sequence[Question], answers: dict[str, list[Answer]], seed: int) -> list[Figure]:
    """The report's cells, for each base, language (and all), task, with and without suffix."""
    languages = ["all", *sorted({question.language for question in asked})]
    cells: list[Figure] = []
    for language, task, with_suffix in itertools.product(languages, TASKS, (True, False)):
        chosen = {
            base: [a for a in given if _belongs(asked, a, language, task, with_suffix)]
            for base, given in answers.items()
        }
        sums = {base: _sums(asked, some) for base, some in chosen.items()}
        reference = next(iter(sums.values()))
        cells += [
            _figure(base, language, task, with_suffix, own, reference, len(chosen[base]), seed)
            for base, own in sums.items()
            if len(own)
        ]
    return cells


def _belongs(
    asked: Sequence[Question], answer: Answer, language: str, task: Task, with_suffix: bool
) -> bool:
    question = asked[answer.question]
    return (
        answer.with_suffix is with_suffix
        and question.task == task
        and language in ("all", question.language)
    )


def markdown(cells: Sequence[Figure], origin: str) -> str:
    """The report: `origin` says where it is from; EM in per cent, bits per byte as they are."""
    lines = [
        origin,
        "",
        "| language | measure | suffix | items | base | value (95 %) | ratio (95 %) |",
        "|---|---|---|---|---|---|---|",
    ]
    names = {"rest": "EM rest of line", "line": "EM next line", "block": "bits per byte"}
    for cell in cells:
        scale, unit = (1.0, "") if cell.task == "block" else (100.0, " %")
        digits = 3 if cell.task == "block" else 1
        value, low, high = (round(n * scale, digits) for n in (cell.value, cell.low, cell.high))
        lines.append(
            f"| {cell.language} | {names[cell.task]} | {'yes' if cell.with_suffix else 'no'} | "
            f"{cell.items} | {cell.base} | {value}{unit} ({low}–{high}) | "
            f"{_times(cell.ratio)} ({_times(cell.ratio_low)}–{_times(cell.ratio_high)}) |"
        )
    return "\n".join(lines) + "\n"


def _origin(clones: Sequence[Path], items: int, asked: int, seed: int) -> str:
    """What was asked of which repositories, by which command."""
    names = ", ".join(f"{_name(clone)} at {open_repository(clone).head[:12]}" for clone in clones)
    return (
        f"By `neuralforge bases evaluate --items {items} --seed {seed}`: {asked} questions, at "
        f"most {items} of each kind from each of the repositories {names}."
    )


def _name(clone: Path) -> str:
    place = Path(os.path.abspath(clone))  # noqa: PTH100 - keeps links, drops ".."
    return f"{place.parent.name}/{place.name}"


def _files(repository: Repository) -> Iterator[tuple[str, str]]:
    """(path, blob) of the code files of the newest state."""
    for entry in repository.git.ls_tree("-r", "-z", repository.head).split("\0"):
        head, _, path = entry.partition("\t")
        fields = head.split()
        is_code = language_of(path) in LANGUAGES and not path.endswith(".d.ts")
        if len(fields) == 3 and fields[1] == "blob" and is_code and is_own_path(path):
            yield path, fields[2]


def _draw(
    repository: Repository,
    files: Sequence[tuple[str, str]],
    task: Task,
    count: int,
    draws: random.Random,
) -> Iterator[Question]:
    """Up to `count` questions, one file after the other, round and round."""
    texts: dict[str, str] = {}
    tries = 0
    while count > 0 and files and tries < 20 * len(files) + 20 * count:
        path, blob = files[tries % len(files)]
        tries += 1
        if blob not in texts:
            texts[blob] = repository.git.cat_file("blob", blob, strip_newline_in_stdout=False)
        question = _question(texts[blob], f"{repository.root}:{path}", path, task, draws)
        if question is not None:
            count -= 1
            yield question


def _question(text: str, file: str, path: str, task: Task, draws: random.Random) -> Question | None:
    lines = line_spans(text)
    if len(lines) < _FEWEST_LINES or not is_handwritten(text):
        return None
    number = draws.randrange(5, len(lines) - 1)
    start, end = lines[number]
    if visible(text[start:end]) < LEAST_VISIBLE:
        return None
    if task == "rest":
        own = text_span(text, lines[number])
        start, end = random_cut(text, own, draws), own[1]
    if task == "block":
        end = lines[min(len(lines) - 1, number + _BLOCK_LINES - 1)][1]
    language = LANGUAGES[language_of(path) or ""]
    return Question(task, language, file, text[:start], text[start:end], text[end:])


def _answer(engine: EngineClient, number: int, question: Question, with_suffix: bool) -> Answer:
    suffix = question.suffix if with_suffix else ""
    prefix, suffix = Window().cut_text(question.prefix, suffix)
    if question.task == "block":
        score = engine.score(ScoreRequest(prefix, suffix, question.expected))
        measured = heal(prefix)[1] + question.expected
        return Answer(number, with_suffix, None, score.nll, len(measured.encode("utf-8")))
    request = CompleteRequest(prefix, suffix, evaluation=True)
    got = engine.complete(request).text
    return Answer(number, with_suffix, exact_match(question.expected, got))


def _sums(asked: Sequence[Question], answers: Sequence[Answer]) -> np.ndarray:
    """Numerator and denominator of the figure for each file (files, 2), files in fixed order."""
    index: dict[str, int] = {}
    for answer in answers:
        index.setdefault(asked[answer.question].file, len(index))
    sums = np.zeros((len(index), 2))
    for answer in answers:
        row = sums[index[asked[answer.question].file]]
        row += (answer.nll, answer.bytes) if answer.hit is None else (float(answer.hit), 1.0)
    return sums


def _figure(
    base: str,
    language: str,
    task: Task,
    with_suffix: bool,
    own: np.ndarray,
    reference: np.ndarray,
    items: int,
    seed: int,
) -> Figure:
    """Mean, and ratio to the reference on the same resamples of files."""
    unit = bits_per_byte(1.0, 1) if task == "block" else 1.0
    drawn = np.random.default_rng(seed).integers(0, len(own), (_RESAMPLES, len(own)))
    numerators, denominators = own[:, 0][drawn].sum(1), own[:, 1][drawn].sum(1)
    others = reference[:, 0][drawn].sum(1)
    low, high = np.percentile(unit * numerators / denominators, (2.5, 97.5))
    ratios = [_ratio(a, b) for a, b in zip(numerators, others, strict=True)]
    ends = np.percentile(ratios, (2.5, 97.5), method="nearest")  # between infinities lies nothing
    value = unit * own[:, 0].sum() / own[:, 1].sum()
    return Figure(
        base, language, task, with_suffix, items,
        float(value), float(low), float(high),
        *map(_finite, (_ratio(own[:, 0].sum(), reference[:, 0].sum()), *ends)),
    )  # fmt: skip


def _ratio(numerator: float, reference: float) -> float:
    """Infinite where only the reference is zero, 1 where both are."""
    if reference:
        return numerator / reference
    return math.inf if numerator else 1.0


def _finite(ratio: float) -> float | None:
    return float(ratio) if math.isfinite(ratio) else None


def _times(ratio: float | None) -> str:
    return "∞" if ratio is None else f"{ratio:.2f}"


@click.command(
    name="bases evaluate",
    epilog="Example: neuralforge bases evaluate --base embedded --base new.gguf "
    "--repository ~/src/project",
)
@click.option(
    "--base",
    "named",
    multiple=True,
    help="A base, by its name or its file (repeatable; the first is what ratios refer to); "
    "otherwise the base in use.",
)
@click.option(
    "--repository",
    "clones",
    multiple=True,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="A git repository that no base was trained on (repeatable).",
)
@click.option("--items", type=click.IntRange(1), default=40, show_default=True,
              help="Questions of each kind from each repository.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
def command(
    named: tuple[str, ...], clones: tuple[Path, ...], items: int, seed: int, output: Path | None
) -> None:
    """Compare bases: bits per byte, and EM of lines, with and without suffix."""
    home = Home.find()
    asked = questions(clones, items, seed)
    bases = [open_base(locate(text, home), home) for text in named] or [open_base(None, home)]
    answers = {label: ask(base, asked, lambda line: click.echo(line, err=True))
               for label, base in labelled(bases).items()}  # fmt: skip
    cells = figures(asked, answers, seed)
    click.echo(markdown(cells, _origin(clones, items, len(asked), seed)), nl=False)
    if output is not None:
        write_json(output, [dataclasses.asdict(cell) for cell in cells])


def main() -> None:
    """Run the command."""
    run_command(command, "neuralforge bases evaluate")


if __name__ == "__main__":
    main()
