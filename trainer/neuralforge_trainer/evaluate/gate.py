"""The gate: may a candidate take the current version's place?

Candidate, current version and bare base are measured by the engine that will serve them, in
evaluation mode, on the user's newest held-out lines and on general code. Promoted is a candidate
that finds the held-out lines likelier than both, completes them no worse, and has not lost more
general code than the stated margins: against the current version in one step, and against the base
in all steps together.

Invariant: the same files, items and threads give the same report. Differences come with 95 %
intervals of the paired bootstrap clustered by commit (of general code: by file). Knows no training
and no store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neuralforge_adapters.base import Base
from neuralforge_adapters.fim import Window
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest, ScoreRequest
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.metrics import (
    Difference,
    edit_similarity,
    exact_match,
    paired_bootstrap,
    perplexity,
)

_CONTEXT = 1536
"""Tokens: the served window and an answer."""
_LONGEST_ANSWER = 64


@dataclass(frozen=True)
class Margins:
    """How much worse a candidate may be."""

    general_perplexity: float = 0.03
    """Relative rise of the perplexity on general code over the current version's."""
    general_perplexity_in_all: float = 0.10
    """As before, over the bare base's: what many small steps may come to, and what a first version
    may take at once."""
    exact_match: float = 0.10
    """Absolute fall of EM, on held-out and on general code; one whose 95 % interval lies below
    zero is refused in any case."""


@dataclass(frozen=True)
class Answer:
    """What one system made of one item."""

    exact: bool
    similarity: float
    nll: float
    """Nats over the item's tokens."""
    tokens: int


@dataclass(frozen=True)
class Row:
    """One system on one set of items."""

    system: str
    items: str
    count: int
    em: float
    es: float
    perplexity: float


@dataclass(frozen=True)
class Comparison:
    """The candidate's measure minus another system's, with its 95 % interval."""

    against: str
    items: str
    measure: str
    """`em`, `es`, or `nats` a token, of which the perplexity is the exponential."""
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class GateReport:
    """The decision, why, and the measurements behind it."""

    promote: bool
    reason: str
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for manifests and JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Exam:
    """What candidates are asked."""

    heldout: Sequence[Item]
    general: Sequence[Item]


def judge(
    base: Base,
    exam: Exam,
    current: ResolvedStack,
    candidate: ResolvedStack,
    *,
    margins: Margins = Margins(),
    threads: int | None = None,
    pace: Callable[[float], None] = lambda share: None,
) -> GateReport:
    """Measure the bare base, `current` and `candidate`, and decide.

    `pace` is told the share done before every item, and may wait or raise.

    Raises:
        AdapterError: the candidate cannot be loaded; it is not to be published.
        EngineError: the engine failed.
    """
    items = [*exam.heldout, *exam.general]
    stacks = [candidate, current, *([ResolvedStack()] if current.adapters else [])]
    answers: list[list[Answer]] = []
    with EngineClient(base, context=_CONTEXT, threads=threads) as engine:
        for turn, stack in enumerate(stacks):
            engine.set_stack(stack)
            answers.append([])
            for number, item in enumerate(items):
                pace((turn + number / len(items)) / len(stacks))
                answers[-1].append(ask(engine, item))
    return decide(exam, answers[1], answers[0], margins, *answers[2:])


def ask(engine: EngineClient, item: Item) -> Answer:
    """One item, completed and scored."""
    prefix, suffix = Window().cut_text(item.prefix, item.suffix)
    request = CompleteRequest(prefix, suffix, max_tokens=_LONGEST_ANSWER, evaluation=True)
    text = engine.complete(request).text
    score = engine.score(ScoreRequest(prefix, suffix, item.expected))
    return Answer(
        exact_match(item.expected, text),
        edit_similarity(item.expected, text),
        score.nll,
        score.tokens,
    )


def decide(
    exam: Exam,
    current: Sequence[Answer],
    candidate: Sequence[Answer],
    margins: Margins,
    bare: Sequence[Answer] | None = None,
) -> GateReport:
    """The decision from the systems' answers to the held-out, then the general items.

    Args:
        bare: the base's without any adapter; None where that is the current system.
    """
    if bare is None:  # the first version takes its whole way from the base in one step
        others = [_Other("current", current, margins.general_perplexity_in_all)]
    else:
        others = [
            _Other("current", current, margins.general_perplexity),
            _Other("base", bare, margins.general_perplexity_in_all),
        ]
    finite = _not_finite(candidate)
    objection = finite or next(
        (why for other in others if (why := _objection(exam, other, candidate, margins))), ""
    )
    systems = [*((other.name, other.answers) for other in others), ("candidate", candidate)]
    rows = tuple(
        _row(name, part, found)
        for name, answers in systems
        for part, _, found in _parts(exam, answers)
    )
    comparisons = () if finite else tuple(_compare(exam, others, candidate))
    return GateReport(not objection, objection or _gain(rows), rows, comparisons)


@dataclass(frozen=True)
class _Other:
    """What the candidate is measured against."""

    name: str
    answers: Sequence[Answer]
    margin: float
    """See `Margins.general_perplexity`."""


def _parts(
    exam: Exam, answers: Sequence[Answer]
) -> Iterator[tuple[str, Sequence[Item], Sequence[Answer]]]:
    """(name, items, their answers) of each part of the exam that has any."""
    cut = len(exam.heldout)
    if exam.heldout:
        yield "held-out", exam.heldout, answers[:cut]
    if exam.general:
        yield "general", exam.general, answers[cut:]


def _objection(exam: Exam, other: _Other, candidate: Sequence[Answer], margins: Margins) -> str:
    cut = len(exam.heldout)
    words = "" if other.name == "current" else " against the base alone"
    why = _no_gain(exam.heldout, other.answers[:cut], candidate[:cut], margins) or _loss(
        exam.general, other.answers[cut:], candidate[cut:], other.margin, margins
    )
    return why and why + words


def _compare(
    exam: Exam, others: Sequence[_Other], candidate: Sequence[Answer]
) -> Iterator[Comparison]:
    for other in others:
        pairs = zip(_parts(exam, candidate), _parts(exam, other.answers), strict=True)
        for (part, items, own), (_, _, theirs) in pairs:
            commits = [item.commit for item in items]
            for measure, value in _MEASURES.items():
                weights = [answer.tokens for answer in own] if measure == "nats" else None
                found = paired_bootstrap(
                    [value(a) for a in own], [value(a) for a in theirs], commits, weights=weights
                )
                yield Comparison(other.name, part, measure, *found)


_MEASURES: dict[str, Callable[[Answer], float]] = {
    "em": lambda answer: float(answer.exact),
    "es": lambda answer: answer.similarity,
    "nats": lambda answer: answer.nll,
}


def _not_finite(candidate: Sequence[Answer]) -> str:
    bad = sum(not math.isfinite(answer.nll) for answer in candidate)
    return f"the candidate answers {bad} items with NaN or infinity" if bad else ""


def _no_gain(
    items: Sequence[Item], current: Sequence[Answer], candidate: Sequence[Answer], margins: Margins
) -> str:
    if not items:
        return "there is no held-out line to measure on"
    before, after = _perplexity(current), _perplexity(candidate)
    if after >= before:
        return f"held-out lines became no likelier: perplexity {before:.3f} to {after:.3f}"
    return _em_loss("held-out", items, current, candidate, margins)


def _loss(
    items: Sequence[Item],
    current: Sequence[Answer],
    candidate: Sequence[Answer],
    margin: float,
    margins: Margins,
) -> str:
    if not items:
        return ""
    before, after = _perplexity(current), _perplexity(candidate)
    if after > before * (1 + margin):
        return (
            f"general code became less likely: perplexity {before:.3f} to {after:.3f}, more than "
            f"the margin of {margin:.0%}"
        )
    return _em_loss("general", items, current, candidate, margins)


def _em_loss(
    name: str,
    items: Sequence[Item],
    current: Sequence[Answer],
    candidate: Sequence[Answer],
    margins: Margins,
) -> str:
    difference = _em_difference(items, current, candidate)
    if difference.mean < -margins.exact_match or difference.high < 0:
        return (
            f"exact match on {name} code fell by {-difference.mean:.1%} (95 % interval "
            f"{difference.low:+.1%} to {difference.high:+.1%})"
        )
    return ""


def _em_difference(
    items: Sequence[Item], current: Sequence[Answer], candidate: Sequence[Answer]
) -> Difference:
    return paired_bootstrap(
        [float(answer.exact) for answer in candidate],
        [float(answer.exact) for answer in current],
        [item.commit for item in items],
    )


def _gain(rows: Sequence[Row]) -> str:
    by_name = {(row.system, row.items): row for row in rows}
    before, after = by_name["current", "held-out"], by_name["candidate", "held-out"]
    return (
        f"held-out EM {before.em:.1%} to {after.em:.1%}, perplexity {before.perplexity:.2f} to "
        f"{after.perplexity:.2f}; general code within the margins"
    )


def _row(system: str, name: str, answers: Sequence[Answer]) -> Row:
    count = len(answers)
    return Row(
        system=system,
        items=name,
        count=count,
        em=sum(answer.exact for answer in answers) / count,
        es=sum(answer.similarity for answer in answers) / count,
        perplexity=_perplexity(answers),
    )


def _perplexity(answers: Sequence[Answer]) -> float:
    return perplexity(
        sum(answer.nll for answer in answers), sum(answer.tokens for answer in answers)
    )
