"""`neuralforge demo`: the main job from end to end, on a real history, before one's eyes.

Starts the server over stdio as an editor does, types at lines of commits that nobody has learnt
from, accepts one suggestion, trains on the older commits, sees the server swap the new version
in, and asks again. Works in a temporary home: nothing of the user's is changed. Invariant: every
figure is measured on lines of commits newer than all training data, which occur nowhere in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import HOME_VARIABLE, PROFILE_VARIABLE, Home
from neuralforge_adapters.stack import ResolvedStack, StackFile, resolve
from neuralforge_adapters.store import AdapterStore
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.lsp_client import LspClient
from neuralforge_server.session.log import SessionLog
from neuralforge_trainer.errors import EmptyRepositoryError, NoSuchAuthorError
from neuralforge_trainer.evaluate.copier import Copier
from neuralforge_trainer.evaluate.gate import ask
from neuralforge_trainer.evaluate.heldout import Item, heldout_items, split
from neuralforge_trainer.evaluate.metrics import edit_similarity, exact_match, perplexity
from neuralforge_trainer.house_style import make_repository
from neuralforge_trainer.samples.git import AuthorChoice, CommitChange, choose_author, user_commits
from neuralforge_trainer.samples.repository import open_repository

_SHOWN = 6
"""Positions whose suggestions are shown."""
_TYPED = 3
"""Characters typed before each of them."""
_ITEMS = 100
_LEAST_ITEMS, _LEAST_LINES, _LEAST_DAYS = 40, 400, 14
"""A history with less to ask, or less to learn from, is replaced by a generated one: nobody's
habits show in an afternoon's work."""


@dataclass(frozen=True)
class History:
    """What is learnt from, and what is asked."""

    root: Path
    choice: AuthorChoice
    train: Sequence[CommitChange]
    items: Sequence[Item]

    @property
    def lines(self) -> int:
        """Added lines that can be learnt from."""
        return sum(last - first + 1 for c in self.train for f in c.files for first, last in f.added)

    @property
    def days(self) -> float:
        """From the first to the last commit that is learnt from."""
        times = [change.time for change in self.train]
        return (max(times) - min(times)) / 86_400 if times else 0.0

    def lack(self) -> str:
        """Why this history cannot show anything; empty where it can."""
        if (
            len(self.items) >= _LEAST_ITEMS
            and self.lines >= _LEAST_LINES
            and self.days >= _LEAST_DAYS
        ):
            return ""
        return (
            f"the history of {self.root} is short: {self.lines} lines of {self.days:.0f} days to "
            f"learn from and {len(self.items)} new lines to ask for, where {_LEAST_LINES}, "
            f"{_LEAST_DAYS} and {_LEAST_ITEMS} are needed"
        )


@dataclass(frozen=True)
class Result:
    """One system's answers to all items."""

    system: str
    exact_match: float
    edit_similarity: float
    perplexity: float | None
    """None for the copier, which gives no probabilities."""


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="neuralforge demo", description=__doc__)
    parser.add_argument("--repo", type=Path, default=Path())
    parser.add_argument("--author")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    console = Console()
    try:
        with tempfile.TemporaryDirectory(prefix="neuralforge-demo-") as folder:
            figures = asyncio.run(_Demo(Path(folder), options.repo, options.author, console).run())
    except NeuralForgeError as error:
        console.print(f"[red]The demo cannot go on:[/red] {error}")
        return 1
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


class _Demo:
    def __init__(self, folder: Path, repo: Path, author: str | None, console: Console) -> None:
        self._folder = folder
        self._repo = repo
        self._author = author
        self._console = console
        self._home = Home(folder / "home")
        self._started = time.perf_counter()

    async def run(self) -> dict[str, Any]:
        """Everything in order; returns the figures."""
        history = self._choose()
        base = open_base(None, self._home)
        launched = time.perf_counter()
        async with LspClient(("serve",), home=self._home.root) as editor:
            await editor.initialize()
            await _suggest(editor, history, history.items[0])
            first = time.perf_counter() - launched
            self._say(f"Server started; first suggestion after {first:.2f} s.")
            before = await self._show(editor, history)
            await self._accept(editor, history, before)
            self._heading("Measure before learning")
            results = [_copy(history), self._measure(base, history, "base", ResolvedStack())]
            outcome = await self._train(editor, history)
            if outcome["result"] != "published":
                self._refused(outcome)
                return {"results": [asdict(r) for r in results], "outcome": outcome}
            stack = resolve(StackFile(self._home).read(), AdapterStore(self._home), base.digest)
            await self._wait_for(editor, stack)
            after = await self._show(editor, history)
        results.append(self._measure(base, history, "base + personal adapter", stack))
        self._compare(history, before, after, results)
        return {
            "repository": history.root.name,
            "first_suggestion_s": first,
            "items": len(history.items),
            "results": [asdict(result) for result in results],
            "outcome": outcome,
            "seconds": time.perf_counter() - self._started,
        }

    def _choose(self) -> History:
        """The repository asked for, or a generated one where its history is too short."""
        self._heading("A history to learn from")
        history, lack = _try(self._repo, self._author)
        if history is None:
            self._say(f"A generated house-style repository is used, since {lack}.")
            made = self._folder / "house"
            make_repository(made)
            history = _read(made, None)
        self._say(f"Repository {history.root}; {history.choice.reason}.")
        self._say(
            f"{len(history.train)} commits with {history.lines} added lines to learn from; "
            f"{len(history.items)} lines of newer commits, found nowhere in those, to ask for."
        )
        return history

    async def _show(self, editor: LspClient, history: History) -> list[dict[str, Any]]:
        """Type at some positions, and show each suggestion with its time."""
        self._heading("Type, and see what is suggested (▏ the cursor, ✓ what was written)")
        shown = []
        for item in _spread(history.items, _SHOWN):
            suggestion, milliseconds = await _suggest(editor, history, item)
            text = suggestion["insertText"] if suggestion else ""
            self._line(f"{_place(item):19.19} {milliseconds:4.0f} ms", item, text)
            shown.append({"text": text, "item": suggestion, "milliseconds": milliseconds})
        return shown

    async def _accept(
        self, editor: LspClient, history: History, shown: list[dict[str, Any]]
    ) -> None:
        self._heading("Accept one, and see what is remembered")
        chosen = next((entry["item"] for entry in shown if entry["item"]), None)
        if chosen is None:
            self._say("Nothing was suggested, so there is nothing to accept.")
            return
        await editor.accept(chosen)
        with SessionLog.open(self._home.session_log) as log:
            row = log.show(1, outcome="accepted")[0]
        fields = ("text", "outcome", "latency_ms", "language", "stack")
        self._say("  ".join(f"[dim]{name}[/dim] {getattr(row, name)!r}" for name in fields))

    async def _train(self, editor: LspClient, history: History) -> dict[str, Any]:
        """Run the trainer as `neuralforge train` does, with its progress as a bar."""
        self._heading("Learn from the older commits")
        job = {
            "repository": str(history.root),
            "author": history.choice.author.emails[0],
            "until": max(change.time for change in history.train),
            "foreground": True,
        }
        path = self._folder / "job.json"
        path.write_text(json.dumps(job), "utf-8")
        environment = os.environ | {
            HOME_VARIABLE: str(self._home.root),
            PROFILE_VARIABLE: self._home.profile,
        }
        trainer = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "neuralforge_trainer", str(path), "--json",
            stdout=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip
        outcome: dict[str, Any] = {"result": "failed", "message": "the trainer ended early"}
        columns = (TextColumn("{task.description:11}"), BarColumn(40), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            bar = progress.add_task("starting", total=100)
            assert trainer.stdout is not None
            async for line in trainer.stdout:
                message = json.loads(line)
                outcome = message.get("outcome", outcome)
                if state := message.get("state"):
                    progress.update(bar, description=state["state"], completed=state["percent"])
        await trainer.wait()
        self._say(f"{outcome['result'].capitalize()}: {outcome['message']}.")
        return outcome

    async def _wait_for(self, editor: LspClient, stack: ResolvedStack) -> None:
        """Until the server serves the new version, which nobody has told it about."""
        status = await editor.execute("neuralforge.status")
        while status["digest"] != stack.digest:
            await asyncio.sleep(0.05)
            status = await editor.execute("neuralforge.status")
        names = ", ".join(entry["adapter"] for entry in status["stack"])
        self._say(f"The running server has swapped in {names}, without a restart.")

    def _measure(self, base: Base, history: History, system: str, stack: ResolvedStack) -> Result:
        """All items through the serving engine, in evaluation mode."""
        columns = (TextColumn("{task.description:11}"), BarColumn(40), TimeElapsedColumn())
        with (
            EngineClient(base, context=1536) as engine,
            Progress(*columns, console=self._console) as progress,
        ):
            engine.set_stack(stack)
            items = progress.track(history.items, description=system[:11])
            answers = [ask(engine, item) for item in items]
        count = len(answers)
        return Result(
            system,
            sum(a.exact for a in answers) / count,
            sum(a.similarity for a in answers) / count,
            perplexity(sum(a.nll for a in answers), sum(a.tokens for a in answers)),
        )

    def _compare(
        self,
        history: History,
        before: list[dict[str, Any]],
        after: list[dict[str, Any]],
        results: Sequence[Result],
    ) -> None:
        self._heading("Before and after")
        for item, old, new in zip(_spread(history.items, _SHOWN), before, after, strict=True):
            self._line(_place(item), item, item.expected, judged=False)
            self._line("  before", item, old["text"])
            self._line("  after", item, new["text"])
        figures = _table("system", "EM", "ES", "perplexity")
        for result in results:
            figures.add_row(
                result.system,
                f"{result.exact_match:.1%}",
                f"{result.edit_similarity:.1%}",
                "–" if result.perplexity is None else f"{result.perplexity:.2f}",
            )
        self._console.print(figures)
        self._say(
            f"Measured on {len(history.items)} lines of commits newer than the training data and "
            f"absent from it. {time.perf_counter() - self._started:.0f} s in all."
        )

    def _refused(self, outcome: dict[str, Any]) -> None:
        """A candidate that was not good enough, with the gate's figures."""
        self._say("The gate refused the candidate, so the base stays in force.")
        rows = (outcome.get("gate") or {}).get("rows", [])
        table = _table("system", "lines", "n", "EM", "ES", "perplexity")
        for row in rows:
            table.add_row(
                row["system"], row["items"], str(row["count"]),
                f"{row['em']:.1%}", f"{row['es']:.1%}", f"{row['perplexity']:.2f}",
            )  # fmt: skip
        self._console.print(table)

    def _line(self, label: str, item: Item, text: str, *, judged: bool = True) -> None:
        """One line of code with what was suggested at the cursor."""
        exact = judged and exact_match(item.expected, text)
        line = Text(f"  {label:27.27} {'✓' if exact else ' '} ", style="dim")
        line.append(_tail(item.prefix))
        line.append("▏", style="cyan")
        style = "bold green" if exact else "bold"
        line.append(text.replace("\n", "⏎") or "(nothing)", style=style)
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def _heading(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/bold]")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


def _try(repo: Path, author: str | None) -> tuple[History | None, str]:
    """The history of `repo`, or why it cannot show anything."""
    try:
        history = _read(repo, author)
    except (EmptyRepositoryError, NoSuchAuthorError) as error:
        return None, str(error)
    lack = history.lack()
    return (None if lack else history), lack


def _read(repo: Path, author: str | None) -> History:
    repository = open_repository(repo)
    choice = choose_author(repository, author)
    train, newest = split(list(user_commits(repository, choice.author)))
    items = heldout_items(newest, train, _ITEMS)
    return History(repository.root, choice, train, items)


def _copy(history: History) -> Result:
    copier = Copier.of_changes(history.train)
    pairs = [(item.expected, copier.complete(item.prefix)) for item in history.items]
    count = len(pairs)
    return Result(
        "copier",
        sum(exact_match(*pair) for pair in pairs) / count,
        sum(edit_similarity(*pair) for pair in pairs) / count,
        None,
    )


async def _suggest(
    editor: LspClient, history: History, item: Item
) -> tuple[dict[str, Any] | None, float]:
    """Open the file, type the last characters before the cursor; (suggestion, milliseconds)."""
    uri = (history.root / item.path).as_uri()
    typed = item.prefix[-_TYPED:].rpartition("\n")[2]
    start = item.prefix[: len(item.prefix) - len(typed)]
    editor.open(uri, start + item.suffix, item.language)
    line, column = start.count("\n"), _units(start.rpartition("\n")[2])
    answer: list[dict[str, Any]] = await editor.complete(uri, (line, column))
    milliseconds = 0.0
    for character in typed:
        editor.change(uri, character, (line, column))
        column += _units(character)
        asked = time.perf_counter()
        answer = await editor.complete(uri, (line, column))
        milliseconds = (time.perf_counter() - asked) * 1000
    editor.close(uri)
    return (answer[0] if answer else None), milliseconds


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of `items`, evenly over all of them."""
    step = max(1, len(items) // count)
    return list(items[step // 2 :: step][:count])


def _tail(prefix: str) -> str:
    return prefix.rpartition("\n")[2].lstrip()[-32:]


def _place(item: Item) -> str:
    return f"{Path(item.path).stem[:14]}:{item.prefix.count(chr(10)) + 1}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    return table


if __name__ == "__main__":
    sys.exit(main())
