"""How a cursor becomes a prompt: window, token healing, FIM layout. Used by serving and training.

Invariant: for the same document and cursor, the token sequence that the trainer learns from is
the one that the engine serves. Pure functions; knows no tokenizer, model or document class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

FimOrder = Literal["suffix-first", "prefix-first", "left-to-right"]
"""Where the suffix stands in the prompt; the words of the metadata key `neuralforge.fim.orders`."""

_MAX_HEALED = 32
"""Characters: a longer last pre-token (a ruler of dashes, a deep indentation) is not healed."""

# The Qwen2 pre-tokenizer's pattern with Python's classes: [^\W\d_] for \p{L}, \d for \p{N}.
_PRE_TOKEN = re.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|(?:[^\r\n\w]|_)?[^\W\d_]+|\d"
    r"| ?(?:[^\s\w]|_)+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class FimTokens:
    """A base's own special tokens, by id; None where the vocabulary has none."""

    prefix: int | None
    suffix: int | None
    middle: int | None

    @property
    def complete(self) -> bool:
        """Whether the base can fill in the middle at all."""
        return None not in (self.prefix, self.suffix, self.middle)


def choose_order(tokens: FimTokens, card: str | None) -> FimOrder:
    """The FIM order to use for a base whose card names the orders it knows, best first.

    A base without FIM tokens goes left to right. One whose card says nothing was, as far as
    published bases go, trained prefix first (Bavarian et al. 2022, «PSM»).
    """
    if not tokens.complete:
        return "left-to-right"
    for name in (card or "").split(","):
        if name.strip() in get_args(FimOrder):
            return name.strip()  # type: ignore[return-value]
    return "prefix-first"


def layout(
    order: FimOrder,
    tokens: FimTokens,
    prefix: Sequence[int],
    suffix: Sequence[int],
    front: Sequence[int] = (),
) -> list[int]:
    """Token ids after which the base goes on with the text at the cursor.

    `front` is what comes before everything else: other files, the current one's path.

    Suffix first is `<prefix><suffix>S<middle>P` (Bavarian et al. 2022, «SPM variant 2»): a
    keystroke then only appends to it, so everything before stays in the KV cache.
    """
    if order == "left-to-right" or None in (tokens.prefix, tokens.suffix, tokens.middle):
        return [*front, *prefix]
    start, after, middle = tokens.prefix, tokens.suffix, tokens.middle
    assert start is not None and after is not None and middle is not None
    if order == "suffix-first":
        return [*front, start, after, *suffix, middle, *prefix]
    return [*front, start, *prefix, after, *suffix, middle]


def heal(prefix: str) -> tuple[str, str]:
    """Split `prefix` where its last pre-token begins: what to evaluate, and what to say again.

    A cursor stands in the middle of a token more often than not, and a model that is shown
    half a token has hardly ever seen what follows. So the last pre-token is taken back and the
    generation constrained to begin with it (token healing; Lundberg 2023, «guidance»).
    """
    start = prefix.rfind("\n", 0, len(prefix.rstrip("\r\n"))) + 1
    cut = len(prefix)
    for match in _PRE_TOKEN.finditer(prefix, start):
        cut = match.start()
    if len(prefix) - cut > _MAX_HEALED:
        return prefix, ""
    return prefix[:cut], prefix[cut:]


@dataclass(frozen=True)
class Window:
    """How much of a document around the cursor goes into a prompt, in characters.

    The window's beginning moves in steps of `step_lines`, so that the head of the prompt stays
    byte-identical, and therefore cached, while the user types.
    """

    prefix_chars: int = 1800
    suffix_chars: int = 400
    step_lines: int = 16

    def cut(self, lines: Sequence[str], line: int, character: int) -> tuple[str, str]:
        """The text before and after (`line`, `character`, in code points) of `lines`.

        `lines` keep their line ends. A position past the end is taken as the end.
        """
        if line >= len(lines):
            line, character = len(lines), 0
        here = lines[line] if line < len(lines) else ""
        character = min(character, len(here.rstrip("\r\n")))
        return self._before(lines, line, here[:character]), self._after(
            lines, line, here[character:]
        )

    def cut_text(self, prefix: str, suffix: str) -> tuple[str, str]:
        """`cut` for a document given as the whole text on both sides of the cursor."""
        before = split_lines(prefix)
        left = before.pop() if before and not before[-1].endswith(("\n", "\r")) else ""
        after = split_lines(suffix)
        lines = [*before, left + (after[0] if after else ""), *after[1:]]
        return self.cut(lines, len(before), len(left))

    def _before(self, lines: Sequence[str], line: int, left: str) -> str:
        left = left[-self.prefix_chars :]
        start, room = line, self.prefix_chars - len(left)
        while start > 0 and (room := room - len(lines[start - 1])) >= 0:
            start -= 1
        if start > 0:
            start = min(line, -(-start // self.step_lines) * self.step_lines)
        return "".join(lines[start:line]) + left

    def _after(self, lines: Sequence[str], line: int, right: str) -> str:
        parts, room = [right[: self.suffix_chars]], self.suffix_chars - len(right)
        for following in range(line + 1, len(lines)):
            if (room := room - len(lines[following])) < 0:
                break
            parts.append(lines[following])
        return "".join(parts)


_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")


def split_lines(text: str) -> list[str]:
    r"""Lines with their ends as LSP counts them: \n, \r\n and \r end a line, nothing else does."""
    return _LINE.findall(text)
