"""Asks systems about a history, through the engine that serves, in evaluation mode.

A system is a stack on the base; aided, it also has what users have: retrieval across files and
the fast memory, whose indexes hold what stood on disk before the commit that is asked about.

Invariant: every system gets the same questions and the same surroundings; an index is built anew
for every window and the editor's memory of edits for every commit and typist, so that a run that
goes on answers as one that was never ended. Knows no figure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from neuralforge_adapters.base import Base
from neuralforge_adapters.fim import Window
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest, ScoreRequest, Surroundings
from neuralforge_trainer.evaluate.copier import Copier
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.history.kept import Mark, Typed
from neuralforge_trainer.evaluate.history.periods import Passage, Plan
from neuralforge_trainer.evaluate.history.typist import type_out
from neuralforge_trainer.evaluate.metrics import edit_similarity, exact_match
from neuralforge_trainer.evaluate.moments import Moment
from neuralforge_trainer.evaluate.shown import suggest
from neuralforge_trainer.evaluate.workspace import Workspace

_LONGEST_ANSWER = 64
_CONTEXT = 1536
"""Tokens: surroundings, the served window and an answer."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """A system in an exam."""

    name: str
    stack: ResolvedStack | None
    """None for the copier."""
    aided: bool = False


class Examiner:
    """An engine to ask; a context manager."""

    def __init__(self, base: Base, threads: int, memory: str = "") -> None:
        self._base = base
        self.engine = EngineClient(base, context=_CONTEXT, threads=threads, memory=memory)

    def __enter__(self) -> Examiner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.engine.close()

    def admit(self, candidates: Sequence[Candidate]) -> None:
        """Load every candidate's stack once; requests then name it."""
        for candidate in candidates:
            if candidate.stack is not None:
                self.engine.set_stack(candidate.stack)

    def ask(
        self,
        stack: ResolvedStack,
        item: Item,
        around: Surroundings | None = None,
        *,
        scored: bool = True,
    ) -> Mark:
        """One line, completed and scored; with surroundings the fast memory helps too."""
        prefix, suffix = Window().cut_text(item.prefix, item.suffix)
        known, memory = around or Surroundings(), 0.0 if around is None else 1.0
        request = CompleteRequest(
            prefix,
            suffix,
            around=known,
            max_tokens=_LONGEST_ANSWER,
            memory=memory,
            stack=stack.digest,
            evaluation=True,
        )
        text = self.engine.complete(request).text
        if not scored:
            return _mark(item, text, 0.0, 0)
        score = self.engine.score(
            ScoreRequest(prefix, suffix, item.expected, known, memory, stack.digest)
        )
        return _mark(item, text, score.nll, score.tokens)


def plain_exam(
    base: Base,
    threads: int,
    items: Sequence[Item],
    stacks: Sequence[ResolvedStack],
    *,
    scored: bool,
) -> list[list[Mark]]:
    """Every stack's marks on lines that need no index; without scores it takes half the time."""
    candidates = [Candidate("", stack) for stack in stacks]
    with Examiner(base, threads) as examiner:
        examiner.admit(candidates)
        return [[examiner.ask(stack, i, scored=scored) for i in items] for stack in stacks]


def window_exam(
    base: Base,
    threads: int,
    plan: Plan,
    number: int,
    candidates: Sequence[Candidate],
    typists: Sequence[Candidate],
) -> tuple[list[list[Mark]], list[list[Typed]]]:
    """Every candidate's marks in one window, and what it saves every typist, in their order."""
    marks: list[list[Mark]] = [[] for _ in candidates]
    typed: list[list[Typed]] = [[] for _ in typists]
    passages = {passage.commit: passage for passage in plan.periods[number].passages}
    with tempfile.TemporaryDirectory(prefix="neuralforge-proof-") as folder:
        workspace = Workspace(Path(folder), base, plan.name.rpartition("/")[2])
        with Examiner(base, threads, workspace.memory_folder) as examiner:
            examiner.admit([*candidates, *typists])
            for moment in plan.moments(number):
                workspace.move(moment)
                workspace.restart(examiner.engine)
                for mine, more in zip(marks, _moment(examiner, workspace, moment, candidates),
                                      strict=True):  # fmt: skip
                    mine += more
                if moment.commit in passages:
                    for mine_too, typist in zip(typed, typists, strict=True):
                        passage = passages[moment.commit]
                        mine_too.append(_type(examiner, workspace, passage, typist))
        workspace.close()
    return marks, typed


def _moment(
    examiner: Examiner, workspace: Workspace, moment: Moment, candidates: Sequence[Candidate]
) -> Iterator[list[Mark]]:
    """Each candidate's marks on what is asked at one moment."""
    around = [workspace.around(item) for item in moment.items]
    copier = Copier(workspace.files.values()) if any(c.stack is None for c in candidates) else None
    for candidate in candidates:
        marks = []
        for item, surroundings in zip(moment.items, around, strict=True):
            if candidate.stack is None:
                assert copier is not None  # made for whom there is one
                marks.append(_mark(item, copier.complete(item.prefix), 0.0, 0))
            elif candidate.aided:
                workspace.open(examiner.engine, item)
                marks.append(examiner.ask(candidate.stack, item, surroundings))
            else:
                marks.append(examiner.ask(candidate.stack, item))
        yield marks


def _type(examiner: Examiner, workspace: Workspace, passage: Passage, typist: Candidate) -> Typed:
    stack = typist.stack or ResolvedStack()
    workspace.restart(examiner.engine)

    def on_screen(item: Item) -> str:
        around = Surroundings()
        if typist.aided:
            workspace.open(examiner.engine, item)
            around = workspace.around(item)
        memory = 1.0 if typist.aided else 0.0
        shaped = suggest(examiner.engine, item, around, memory, stack.digest)
        return shaped.text if shaped is not None else ""

    return type_out(passage, on_screen)


def _mark(item: Item, text: str, nll: float, tokens: int) -> Mark:
    return Mark(
        item.commit,
        exact_match(item.expected, text),
        round(edit_similarity(item.expected, text), 6),
        round(nll, 6),
        tokens,
    )
