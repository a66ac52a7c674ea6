"""What to do about what an analysis found.

Invariant: a finding that lowers what a dataset is worth comes with one thing to do about it, and
says what training does anyway; the others come with none. Knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuralforge_trainer.datasets.measure import Analysis

_FEW = 200
_UNEVEN = 10.0
"""So many times as many samples of one language as of another."""
_OFTEN = 0.05
"""More than this share of likely syntax errors is more than the judge's own mistakes."""


@dataclass(frozen=True)
class Finding:
    """Something found, how often, and what to do about it (empty: nothing)."""

    what: str
    count: int
    advice: str = ""


def findings(analysis: Analysis) -> list[Finding]:
    """Every finding of an analysis, whether there is something to do about it or not."""
    return [*_of_file(analysis), *_of_samples(analysis), *_of_content(analysis)]


def _finding(what: str, count: int, advice: str, bad: bool | None = None) -> Finding:
    """`advice` only where the finding is `bad`; by default where anything was found."""
    return Finding(what, count, advice if (bool(count) if bad is None else bad) else "")


def _of_file(found: Analysis) -> list[Finding]:
    unwhole = _finding(
        "cut off", int(found.truncated), "wait until it is written to its end, or make it again"
    )
    broken = _finding(
        "broken lines", len(found.broken), "mend or remove them; training uses the others"
    )
    return [unwhole, broken]


def _of_samples(found: Analysis) -> list[Finding]:
    repeated = "nothing needs to be done: training takes each once"
    counts = list(found.languages.values())
    uneven = len(counts) > 1 and counts[0] > _UNEVEN * counts[-1]
    untimed = found.samples - found.timed
    return [
        _finding(
            "samples",
            found.samples,
            "too few to be felt; add some, for example with `create-dataset --from-git`",
            found.samples < _FEW,
        ),
        _finding("duplicates", found.duplicates, repeated),
        _finding("near-duplicates", found.near_duplicates, repeated),
        _finding(
            "completions too long",
            found.too_long,
            "split them into blocks or lines; training leaves them out",
        ),
        _finding(
            "languages",
            len(counts),
            "to learn all alike train with --balance, or leave some out by --languages",
            uneven,
        ),
        _finding(
            "without a time",
            untimed,
            "give each its time (Unix seconds); without, the last ones of the file are held out",
        ),
    ]


def _of_content(found: Analysis) -> list[Finding]:
    return [
        _finding(
            "likely syntax errors",
            found.syntax_errors,
            "look at some: unfinished code teaches to write such",
            found.syntax_errors > _OFTEN * found.samples,
        ),
        _finding(
            "secrets",
            sum(found.secrets.values()),
            "remove them, and revoke what is real; training takes them out",
        ),
    ]
