"""One repository's run: learn a window, ask about the next, and so on to the end.

After update k every learner is asked about window k + 1, which lies in its future, and about what
was held back of window k. After the last update it is asked about all that was held back of the
windows before, and about general code; `joint` learns all windows at once and is asked the same.

Invariant: what is kept is never measured again, and whatever is measured is kept at once; so an
ended run goes on, and learns no step that nothing needs. Knows no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neuralforge_adapters.base import Base
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_trainer.errors import CodeChangedError
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.history.exams import Candidate, plain_exam, window_exam
from neuralforge_trainer.evaluate.history.kept import Cell, Kept, Mark
from neuralforge_trainer.evaluate.history.learners import COST, Learners
from neuralforge_trainer.evaluate.history.periods import Plan
from neuralforge_trainer.evaluate.history.settings import JOINT, ProofSettings

COPIER, BASE = "copier", "base"
GENERAL = "general"
Report = Callable[[str], None]


def next_exam(window: int, *, aided: bool) -> str:
    """The exam on all questions of a window."""
    return f"next-{window}{'-aided' if aided else ''}"


def old_exam(window: int) -> str:
    """The exam on a window's keepsakes."""
    return f"old-{window}"


def typed_exam(window: int) -> str:
    """What typing a window's passages comes to, with all that users have."""
    return f"typed-{window}"


@dataclass
class Course:
    """A run under way. `learners` are those asked for; of them `main` is measured aided too."""

    base: Base
    plan: Plan
    settings: ProofSettings
    kept: Kept
    learners: Sequence[str]
    report: Report

    def __post_init__(self) -> None:
        windows = [period.samples for period in self.plan.periods]
        self._learning = Learners(self.base, self.kept, self.settings, windows)

    @property
    def rolling(self) -> list[str]:
        """The learners that go from window to window."""
        return [learner for learner in self.learners if learner != JOINT]

    @property
    def main(self) -> str:
        """The learner that users have, if it is among those asked for; else the first."""
        arm = self.settings.job.arm
        return arm if arm in self.learners else self.learners[0]

    def travel(self) -> None:
        """Measure everything that is not kept yet.

        Raises:
            CodeChangedError: the code was changed meanwhile.
            ProofError: an update failed.
            EngineError, AdapterError: the engine failed.
        """
        try:
            self._travel()
        except BaseException:
            self._settle()  # what was half edited fails, and what it measured must not stay
            raise

    def _travel(self) -> None:
        last = self.settings.updates
        for update in range(1, last + 1):
            self._after(update)
            self._settle()
            self.report(f"{self.plan.name}: {update} of {last} updates")
        if JOINT in self.learners:
            self._window(last, [JOINT], [])
            self._old(JOINT, last, range(last - 1))
        self._general([BASE, *self.learners])
        self._settle()

    def _settle(self) -> None:
        """Let what was measured count, unless the code under it was changed meanwhile."""
        if self.settings.digest() == self.kept.digest:
            self.kept.settle()
            return
        self.kept.drop_unsettled()
        self._learning.forget_all()
        raise CodeChangedError(
            f"the code that learns or asks was changed while {self.plan.name} was travelled "
            "through; what was measured since the last update is dropped. Run the command again "
            "from a copy of the code that nobody edits"
        )

    def _after(self, update: int) -> None:
        """Windows count from 0, updates from 1: after update k window k is the next."""
        last = self.settings.updates
        self._window(update, [COPIER, BASE, *self.rolling], [BASE, self.main])
        for learner in self.rolling:
            self._old(learner, update, range(last - 1) if update == last else [update - 1])
            self._cost(learner, update)
            if update > 1:
                self._learning.forget(learner, update - 1)

    def _window(self, number: int, systems: Sequence[str], typists: Sequence[str]) -> None:
        """The exam on window `number`, for who has learnt all before it."""
        aided = [name for name in systems if name in (BASE, self.main, JOINT)]
        wanted = [
            (cell, name, with_aid)
            for names, with_aid in ((systems, False), (aided, True))
            for name in names
            if (cell := self._cell(name, number, next_exam(number, aided=with_aid)))
            not in self.kept
        ]
        typing = [
            (cell, name)
            for name in dict.fromkeys(typists)
            if (cell := self._cell(name, number, typed_exam(number))) not in self.kept
        ]
        if not wanted and not typing:
            return
        marks, typed = window_exam(
            self.base,
            self.settings.cores,
            self.plan,
            number,
            [Candidate(name, self._stack(name, number), aid) for _, name, aid in wanted],
            [Candidate(name, self._stack(name, number), aided=True) for _, name in typing],
        )
        for (cell, _, _), own in zip(wanted, marks, strict=True):
            self.kept.put(cell, own)
        for (cell, _), typings in zip(typing, typed, strict=True):
            self.kept.put(cell, typings)

    def _old(self, learner: str, updates: int, windows: Sequence[int]) -> None:
        wanted = [(self._cell(learner, updates, old_exam(number)), number) for number in windows]
        wanted = [(cell, number) for cell, number in wanted if cell not in self.kept]
        asked = [item for _, number in wanted for item in self.plan.periods[number].keepsakes]
        if not wanted:
            return
        (marks,) = self._plain(asked, [(learner, updates)], scored=False) if asked else ([],)
        for cell, number in wanted:
            count = len(self.plan.periods[number].keepsakes)
            self.kept.put(cell, marks[:count])
            marks = marks[count:]

    def _general(self, systems: Sequence[str]) -> None:
        last, settings = self.settings.updates, self.settings
        cells = [(self._cell(name, last, GENERAL), name) for name in systems]
        wanted = [(cell, name) for cell, name in cells if cell not in self.kept]
        items = settings.general_items()
        if wanted and items:
            found = self._plain(items, [(name, last) for _, name in wanted], scored=True)
            for (cell, _), marks in zip(wanted, found, strict=True):
                self.kept.put(cell, marks)

    def _plain(
        self, items: Sequence[Item], who: Sequence[tuple[str, int]], *, scored: bool
    ) -> list[list[Mark]]:
        stacks = [self._stack(name, updates) or ResolvedStack() for name, updates in who]
        return plain_exam(self.base, self.settings.cores, items, stacks, scored=scored)

    def _cost(self, learner: str, updates: int) -> None:
        """Learn even where nothing is asked, so that the cost is known."""
        if self._cell(learner, updates, COST) not in self.kept:
            self._stack(learner, updates)

    def _cell(self, system: str, updates: int, exam: str) -> Cell:
        return Cell(system, 0 if system in (COPIER, BASE) else updates, exam)

    def _stack(self, system: str, updates: int) -> ResolvedStack | None:
        if system == COPIER:
            return None
        return ResolvedStack() if system == BASE else self._learning.stack(system, updates)
