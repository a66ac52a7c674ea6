"""Cuts what a commit added into fill-in-the-middle samples, as text.

Invariant: the first line of a middle is an added line, and so are the others; prefix and suffix
are the rest of the same file state, whole; the same change and seed give the same samples.
Knows no tokenizer: special tokens, their order and the window come where samples are tokenised.
"""

from __future__ import annotations

import random

from neuralforge_trainer.samples.git import CommitChange, FileChange
from neuralforge_trainer.samples.lines import line_spans, visible
from neuralforge_trainer.samples.sample import Sample

LEAST_VISIBLE = 3  # characters; a shorter middle teaches punctuation
_BLOCK_LINES = 3  # added lines in one middle at most (Giagnorio et al., TOSEM 2025)
_SHARES = {"rest": 0.6, "line": 0.2, "block": 0.2}

Span = tuple[int, int]


def samples_of(
    change: CommitChange, repository: str, seed: int, per_file: int = 24, per_commit: int = 96
) -> list[Sample]:
    """Samples of one commit, at most `per_file` and `per_commit`, drawn evenly from its lines.

    Each added line starts at most one middle: its rest from a random column (60 %), the whole
    line (20 %), or the line and up to two added lines below it (20 %).
    """
    drawn = [
        _sample(change, file, span, repository)
        for file in change.files
        for span in _draw(file, random.Random(f"{seed}:{change.commit}:{file.path}"), per_file)
    ]
    if len(drawn) <= per_commit:
        return drawn
    kept = random.Random(f"{seed}:{change.commit}").sample(range(len(drawn)), per_commit)
    return [drawn[index] for index in sorted(kept)]


def text_span(text: str, line: Span) -> Span:
    """`line` without its indentation and trailing white space."""
    content = text[line[0] : line[1]]
    stripped = content.strip()
    start = line[0] + len(content) - len(content.lstrip()) if stripped else line[0]
    return start, start + len(stripped)


def random_cut(text: str, span: Span, random_source: random.Random) -> int:
    """A random position in `span` after which at least `LEAST_VISIBLE` visible characters stand.

    `span` must hold that many; its first position counts, its last is never drawn.
    """
    last = span[1]
    needed = LEAST_VISIBLE
    while needed:
        last -= 1
        needed -= not text[last].isspace()
    return random_source.randint(span[0], last)


def _sample(change: CommitChange, file: FileChange, span: Span, repository: str) -> Sample:
    start, end = span
    return Sample(
        prefix=file.text[:start],
        middle=file.text[start:end],
        suffix=file.text[end:],
        language=file.language,
        path=file.path,
        repository=repository,
        time=change.time,
        source="git",
        commit=change.commit,
    )


def _draw(file: FileChange, random_source: random.Random, most: int) -> list[Span]:
    lines = line_spans(file.text)
    starts = [
        (number, last)
        for first, last in file.added
        for number in range(first, last + 1)
        if visible(file.text[slice(*lines[number])]) >= LEAST_VISIBLE
    ]
    if len(starts) > most:
        starts = sorted(random_source.sample(starts, most))
    return [_middle(file.text, lines, number, last, random_source) for number, last in starts]


def _middle(
    text: str, lines: list[Span], number: int, last: int, random_source: random.Random
) -> Span:
    """The middle that starts on line `number` of an added range that ends on line `last`."""
    (kind,) = random_source.choices(list(_SHARES), list(_SHARES.values()))
    start, end = text_span(text, lines[number])
    if kind == "rest":
        return random_cut(text, (start, end), random_source), end
    if kind == "block":
        final = min(last, number + random_source.randint(1, _BLOCK_LINES - 1))
        end = start + len(text[start : lines[final][1]].rstrip())
    # the cursor stands after the indentation or, where the editor does not indent, before it
    return random_source.choice((start, lines[number][0])), end
