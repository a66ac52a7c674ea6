"""From what is kept to figures: of one repository, or of several together.

Differences are paired by line and bootstrapped by commit. Invariant: a pure function of what is
kept; times stand in `Spent` and nowhere else. Knows no file and no page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import mean
from typing import TypeVar

from neuralforge_trainer.evaluate.history.course import (
    BASE,
    COPIER,
    GENERAL,
    next_exam,
    old_exam,
    typed_exam,
)
from neuralforge_trainer.evaluate.history.kept import Cell, Cost, Kept, Mark, Typed
from neuralforge_trainer.evaluate.history.learners import COST
from neuralforge_trainer.evaluate.history.settings import JOINT
from neuralforge_trainer.evaluate.history.significance import bootstrap_p
from neuralforge_trainer.evaluate.metrics import Difference, paired_bootstrap, perplexity

K = TypeVar("K")
P = TypeVar("P")
T = TypeVar("T")
V = TypeVar("V")

System = tuple[str, bool]
"""A name, and whether it has retrieval and the fast memory."""
Place = tuple[str, int]
"""A repository's name and the number of one of its windows."""


LEAST_LINES = 10
"""Of an old window, from which its own drop says something."""


@dataclass
class Answers:
    """What was measured of one repository, or of several, which may not have the same systems."""

    next: dict[System, dict[Place, list[Mark]]] = field(default_factory=dict)
    old: dict[str, dict[Place, tuple[list[Mark], list[Mark]]]] = field(default_factory=dict)
    """By learner and window: just after the window was learnt, and at the end."""
    general: dict[str, dict[str, list[Mark]]] = field(default_factory=dict)
    """By system and repository."""
    typed: dict[str, dict[Place, list[Typed]]] = field(default_factory=dict)
    costs: dict[str, dict[Place, list[Cost]]] = field(default_factory=dict)
    """By learner and update, which count from 1; that of `joint` has the number of the last."""


@dataclass(frozen=True)
class Window:
    """One system on one window; of several repositories, on all their windows of one number."""

    items: int
    em: float
    es: float
    perplexity: float | None


@dataclass(frozen=True)
class SystemRow:
    """One system on all windows that it was asked about; gains are over the base, alike aided."""

    system: str
    aided: bool
    items: int
    em: float
    es: float
    perplexity: float | None
    em_gain: Difference
    es_gain: Difference
    em_p: float
    es_p: float
    windows: dict[int, Window]

    @property
    def ratio(self) -> float | None:
        """EM over the base's; None where that has none."""
        base = self.em - self.em_gain.mean
        return self.em / base if base > 1e-9 else None


@dataclass(frozen=True)
class OldWindow:
    """EM on what was held back of one window; of several repositories, as for `Window`."""

    items: int
    then: float | None
    """Just after it was learnt; None for `joint`, which meets no window before another."""
    end: float


@dataclass(frozen=True)
class Forgetting:
    """How a learner does on old windows at the end, against just after each."""

    learner: str
    items: int
    em: float
    """At the end."""
    bwt: Difference | None
    """EM at the end minus EM then (Lopez-Paz and Ranzato 2017), mean over lines: windows differ in
    size, and one line of a window of two is no half of it forgotten."""
    largest_drop: float | None
    """Of one window of at least `LEAST_LINES`; negative is a loss."""
    windows: dict[int, OldWindow]


@dataclass(frozen=True)
class GeneralRow:
    """A system on general code after its last update; the change is against the base."""

    system: str
    items: int
    em: float
    perplexity: float
    em_change: Difference


@dataclass(frozen=True)
class TypingRow:
    """Ratio of completed code: characters accepted ÷ characters written."""

    system: str
    passages: int
    written: int
    accepted: int
    rocc: float
    gain: Difference
    """Over the base, by passage."""
    windows: dict[int, float]
    """RoCC by window."""


@dataclass(frozen=True)
class Costs:
    """What some updates cost; means, and the most memory of any."""

    updates: int
    examples: float
    seconds: float
    fisher_seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Spent(Costs):
    """What a learner's updates cost together, and each of them."""

    learner: str
    each: dict[int, Costs]
    """By number of the update, from 1; of several repositories, over theirs of one number."""


@dataclass(frozen=True)
class Figures:
    """Everything that is reported of one repository, or of all."""

    name: str
    systems: list[SystemRow]
    forgetting: list[Forgetting]
    general: list[GeneralRow]
    typing: list[TypingRow]
    spent: list[Spent]

    def system(self, name: str, *, aided: bool) -> SystemRow | None:
        """The row of a system, if it was measured."""
        found = (row for row in self.systems if (row.system, row.aided) == (name, aided))
        return next(found, None)


def collect_answers(
    name: str, kept: Kept, updates: int, learners: Sequence[str], main: str
) -> Answers:
    """Everything kept of a run, with commits that name their repository."""
    answers = Answers()
    plain = [(system, False) for system in (COPIER, BASE, *learners)]
    aided = [(system, True) for system in dict.fromkeys((BASE, main, JOINT))]
    for system, aid in (*plain, *aided):
        cells = {k: _cell(system, k, next_exam(k, aided=aid)) for k in range(1, updates + 1)}
        found = {(name, k): _named(name, kept.marks(c)) for k, c in cells.items() if c in kept}
        if any(found.values()):
            answers.next[system, aid] = found
    for learner in learners:
        ends = {k: kept.marks(_cell(learner, updates, old_exam(k))) for k in range(updates - 1)}
        then = {k: kept.marks(_cell(learner, k + 1, old_exam(k))) for k in ends}
        answers.old[learner] = {
            (name, k): (_named(name, then[k]), _named(name, ends[k])) for k in ends if ends[k]
        }
        costs = {(name, k): kept.costs(_cell(learner, k, COST)) for k in range(1, updates + 1)}
        answers.costs[learner] = {place: some for place, some in costs.items() if some}
    for system in (BASE, *learners):
        if marks := kept.marks(_cell(system, updates, GENERAL)):
            answers.general[system] = {name: marks}
    for system in dict.fromkeys((BASE, main)):
        cells = {k: _cell(system, k, typed_exam(k)) for k in range(1, updates + 1)}
        typed = {(name, k): kept.typed(cell) for k, cell in cells.items() if cell in kept}
        if any(typed.values()):
            answers.typed[system] = typed
    return answers


def pooled(several: Iterable[Answers]) -> Answers:
    """All answers together."""
    total = Answers()
    for answers in several:
        _merge(total.next, answers.next)
        _merge(total.old, answers.old)
        _merge(total.general, answers.general)
        _merge(total.typed, answers.typed)
        _merge(total.costs, answers.costs)
    return total


def _merge(into: dict[K, dict[P, V]], more: dict[K, dict[P, V]]) -> None:
    for key, found in more.items():
        into[key] = into.get(key, {}) | found


def figures(name: str, answers: Answers) -> Figures:
    """The figures of one repository's answers, or of pooled ones."""
    return Figures(
        name,
        [_system_row(answers, system) for system in answers.next],
        [_forgetting(learner, pairs) for learner, pairs in answers.old.items() if pairs],
        [_general_row(answers, system) for system in answers.general],
        [_typing_row(answers, system) for system in answers.typed],
        [_spent(learner, costs) for learner, costs in answers.costs.items() if costs],
    )


def em(marks: Sequence[Mark]) -> float:
    """The share of exact matches."""
    return mean(float(mark.exact) for mark in marks)


def _system_row(answers: Answers, system: System) -> SystemRow:
    windows, reference = answers.next[system], answers.next[BASE, system[1]]
    own = [mark for place in windows for mark in windows[place]]
    base = [mark for place in windows for mark in reference[place]]
    clusters = [mark.commit for mark in own]
    exact = [float(a.exact) - b.exact for a, b in zip(own, base, strict=True)]
    similar = [a.similarity - b.similarity for a, b in zip(own, base, strict=True)]
    nothing = [0.0] * len(own)
    return SystemRow(
        *system,
        items=len(own),
        em=em(own),
        es=mean(mark.similarity for mark in own),
        perplexity=_perplexity(own),
        em_gain=paired_bootstrap(exact, nothing, clusters),
        es_gain=paired_bootstrap(similar, nothing, clusters),
        em_p=bootstrap_p(exact, clusters),
        es_p=bootstrap_p(similar, clusters),
        windows={number: _window(marks) for number, marks in _numbered(windows).items()},
    )


def _numbered(places: Mapping[Place, Sequence[T]]) -> dict[int, list[T]]:
    """What there is of each number, over all repositories."""
    by_number: dict[int, list[T]] = {}
    for (_, number), some in places.items():
        by_number.setdefault(number, []).extend(some)
    return {number: some for number, some in sorted(by_number.items()) if some}


def _window(marks: Sequence[Mark]) -> Window:
    similarity = mean(mark.similarity for mark in marks)
    return Window(len(marks), em(marks), similarity, _perplexity(marks))


def _old_windows(pairs: dict[Place, tuple[list[Mark], list[Mark]]]) -> dict[int, OldWindow]:
    thens = _numbered({place: then for place, (then, _) in pairs.items()})
    ends = _numbered({place: end for place, (_, end) in pairs.items()})
    return {
        number: OldWindow(len(end), em(thens[number]) if number in thens else None, em(end))
        for number, end in ends.items()
    }


def _forgetting(learner: str, pairs: dict[Place, tuple[list[Mark], list[Mark]]]) -> Forgetting:
    """Of `joint`, which meets no window before another, only how it does at the end."""
    ends = [mark for _, end in pairs.values() for mark in end]
    windows = _old_windows(pairs)
    if learner == JOINT:
        return Forgetting(learner, len(ends), em(ends), None, None, windows)
    large = [(then, end) for then, end in pairs.values() if len(end) >= LEAST_LINES]
    drop = min((em(end) - em(then) for then, end in large), default=None)
    thens = [mark for then, _ in pairs.values() for mark in then]
    bwt = paired_bootstrap(
        [m.exact for m in ends], [m.exact for m in thens], [m.commit for m in ends]
    )
    return Forgetting(learner, len(ends), em(ends), bwt, drop, windows)


def _general_row(answers: Answers, system: str) -> GeneralRow:
    """Clusters are files, which are the same in every repository's run."""
    found, reference = answers.general[system], answers.general[BASE]
    own = [mark for name in found for mark in found[name]]
    base = [mark for name in found for mark in reference[name]]
    change = paired_bootstrap(
        [m.exact for m in own], [m.exact for m in base], [m.commit for m in own]
    )
    return GeneralRow(system, len(own), em(own), _perplexity(own) or 0.0, change)


def _typing_row(answers: Answers, system: str) -> TypingRow:
    found, reference = answers.typed[system], answers.typed[BASE]
    own = [one for place in found for one in found[place]]
    base = [one for place in found for one in reference[place]]
    windows = {number: _rocc(some) for number, some in _numbered(found).items()}
    written, accepted = sum(t.written for t in own), sum(t.accepted for t in own)
    gain = paired_bootstrap(
        [t.accepted / t.written for t in own],
        [t.accepted / t.written for t in base],
        [t.commit for t in own],
    )
    return TypingRow(system, len(own), written, accepted, _rocc(own), gain, windows)


def _rocc(typed: Sequence[Typed]) -> float:
    return sum(one.accepted for one in typed) / sum(one.written for one in typed)


def _spent(learner: str, costs: dict[Place, list[Cost]]) -> Spent:
    each = _numbered(costs)
    together = _costs([cost for some in each.values() for cost in some])
    by_number = {number: _costs(some) for number, some in each.items()}
    return Spent(**asdict(together), learner=learner, each=by_number)


def _costs(costs: Sequence[Cost]) -> Costs:
    return Costs(
        len(costs),
        mean(cost.examples for cost in costs),
        mean(cost.seconds for cost in costs),
        mean(cost.fisher_seconds for cost in costs),
        mean(cost.cpu_seconds for cost in costs),
        max(cost.peak_bytes for cost in costs),
    )


def _perplexity(marks: Sequence[Mark]) -> float | None:
    """None for the copier, which gives no probabilities."""
    tokens = sum(mark.tokens for mark in marks)
    return perplexity(sum(mark.nll for mark in marks), tokens) if tokens else None


def _cell(system: str, updates: int, exam: str) -> Cell:
    return Cell(system, 0 if system in (COPIER, BASE) else updates, exam)


def _named(name: str, marks: list[Mark]) -> list[Mark]:
    return [replace(mark, commit=f"{name}:{mark.commit}") for mark in marks]
