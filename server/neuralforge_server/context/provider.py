"""What other files say at a cursor: the service's one way to the context of a workspace.

Invariant: an open document counts as it is in the editor, never as it is on disk; `edited` and
`closed` return at once, whatever `around` is doing in another thread. Where there is no index, or
it fails, open documents alone answer. A small move keeps the snippets as they are, so that the
prompt's head stays cached. Knows no engine and no prompt.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from neuralforge_adapters.fim import split_lines
from neuralforge_adapters.handwritten import is_handwritten
from neuralforge_adapters.home import Home
from neuralforge_adapters.language import language_of
from neuralforge_server.context.chunks import cut
from neuralforge_server.context.definitions import Definition, definitions
from neuralforge_server.context.eligible import MOST_BYTES, has_secret, is_own_path
from neuralforge_server.context.index import identity, is_corruption
from neuralforge_server.context.places import context_file, damage_mark
from neuralforge_server.context.rank import Focus, Ranker, choose
from neuralforge_server.context.related import signatures
from neuralforge_server.context.search import IndexReader, Piece
from neuralforge_server.engine.protocol import Snippet, Surroundings
from neuralforge_server.errors import ContextIndexError
from neuralforge_server.session.exclude import Exclusions

logger = logging.getLogger(__name__)

_MOST_OPEN = 12
"""Documents besides the current one that are looked into, those edited or opened last first."""
_RECENT_EDITS = 32
_RECENT_LINES = 8
_FOUND = 64
"""Chunks that the index is asked for, before they are ranked again."""
_OWN_LINES, _OWN_STEP = 640, 64
"""Lines around the cursor that the current file's own chunks come from, in steps."""
_CHECKED = 4_096
"""Snippets whose check for secrets is remembered."""
_SMALL_MOVE = 12
_WORTH_A_CHANGE = 1.3
"""How much better than those in use snippets must be, to be put in their place."""


@dataclass(frozen=True)
class OpenFile:
    """A document as the editor has it."""

    path: str
    text: str

    @cached_property
    def pieces(self) -> list[Piece]:
        """Its chunks; none of a file that no index would take."""
        if len(self.text) > MOST_BYTES or not is_handwritten(self.text):
            return []
        return _pieces(self.path, split_lines(self.text), 0)

    @cached_property
    def definitions(self) -> list[Definition]:
        """What it defines."""
        return definitions(self.text, language_of(self.path) or "") if self.pieces else []


_has_secret = lru_cache(_CHECKED)(has_secret)


@dataclass
class _Settled:
    """The snippets in use at a place of a file."""

    line: int
    budget: int
    pieces: list[Piece]


@dataclass(frozen=True)
class _Situation:
    """A cursor, and what the editor has open around it."""

    path: str
    lines: Sequence[str]
    line: int
    files: dict[str, OpenFile]
    """Those looked into, without the current one."""
    open_paths: frozenset[str]
    """All of them: what the index says of these no longer counts."""
    edits: list[tuple[str, int]]


@dataclass
class _Overlay:
    """The index with open documents over it, as `related` asks for definitions."""

    reader: IndexReader | None
    open_files: dict[str, OpenFile]
    path: str
    _known: dict[str, list[Definition]] = field(default_factory=dict)

    def files(self, paths: Sequence[str]) -> set[str]:
        """Those of `paths` that exist."""
        found = self.reader.files(paths) if self.reader else set[str]()
        return found | (self.open_files.keys() & set(paths))

    def definitions(self, path: str) -> list[Definition]:
        """What a file defines."""
        if path in self.open_files:
            return self.open_files[path].definitions
        if path not in self._known:
            self._known[path] = self.reader.definitions(path) if self.reader else []
        return self._known[path]

    def is_current(self, piece: Piece, own: Sequence[str]) -> bool:
        """Whether the file of a piece still says so; `own` are the current file's lines."""
        if piece.is_signatures:
            said = {d.signature for d in self.definitions(piece.path)}
            return said.issuperset(line.strip() for line in piece.text.split("\n"))
        if piece.path == self.path:
            return piece.text in "".join(own)
        if piece.path in self.open_files:
            return piece.text in self.open_files[piece.path].text
        return self.reader is not None and piece.text in self.reader.text(piece.path)

    def named(self, names: Iterable[str], most: int) -> list[tuple[str, Definition]]:
        """What is so named, outside the current file."""
        stored = self.reader.named(names, most) if self.reader else []
        hidden = self.open_files.keys() | {self.path}
        found = [(path, d) for path, d in stored if path not in hidden]
        wanted = set(names)
        for path, file in self.open_files.items():
            found += [(path, d) for d in file.definitions if d.name in wanted]
        return found


class ContextProvider:
    """The context of one workspace; thread-safe."""

    def __init__(self, home: Home, workspace: Path | None, exclude: Exclusions) -> None:
        """Paths are from `workspace`, with forward slashes; absolute where they lie outside."""
        self._workspace = workspace
        self._file = context_file(home, workspace) if workspace else None
        self._exclude = exclude
        self._documents = threading.Lock()
        self._open: OrderedDict[str, OpenFile] = OrderedDict()
        self._refused: set[str] = set()
        self._edits: deque[tuple[str, int]] = deque(maxlen=_RECENT_EDITS)
        self._asking = threading.Lock()
        self._reader: IndexReader | None = None
        self._told = ""
        self._settled: dict[str, _Settled] = {}

    def edited(self, path: str, text: str, line: int) -> None:
        """A document was opened (line -1) or changed at `line`; `text` is all of it now."""
        with self._documents:
            known = path in self._open or path in self._refused
        if not known and self._is_excluded(path):
            with self._documents:
                self._refused.add(path)
            return
        with self._documents:
            if path in self._refused:
                return
            self._open[path] = OpenFile(path, text)
            self._open.move_to_end(path)
            if line >= 0:
                self._edits.append((path, line))

    def closed(self, path: str) -> None:
        """A document counts as it is on disk again; what was settled for it is forgotten."""
        with self._documents:
            self._open.pop(path, None)
            self._refused.discard(path)
            self._settled.pop(path, None)

    def around(
        self, path: str, lines: Sequence[str], line: int, shown: str, budget_chars: int
    ) -> Surroundings:
        """What to show the base at a cursor in a line (from 0) of a document.

        Args:
            path: of the document, as in `edited`.
            lines: of the document, with their ends.
            line: the cursor's.
            shown: what the prompt shows of the document itself.
            budget_chars: characters of all snippets together, their paths included.
        """
        repository = self._workspace.name if self._workspace else ""
        with self._asking:
            pieces = self._pieces(path, lines, line, shown, budget_chars)
        snippets = tuple(Snippet(piece.path, piece.text) for piece in pieces)
        return Surroundings(repository, path, snippets)

    def close(self) -> None:
        """Let go of the index."""
        with self._asking:
            self._forget_reader()

    def _is_excluded(self, path: str) -> bool:
        place = (self._workspace or Path()) / path
        return not is_own_path(path) or self._exclude.is_excluded(place)

    def _pieces(
        self, path: str, lines: Sequence[str], line: int, shown: str, budget: int
    ) -> list[Piece]:
        situation = self._situation(path, lines, line)
        try:
            known, ranker, ranked = self._ranked(situation)
            kept = self._kept(situation, known, shown, budget)
        except ContextIndexError as error:
            self._give_up(error)
            known, ranker, ranked = self._ranked(situation)
            kept = self._kept(situation, known, shown, budget)
        best = choose(ranked, shown, budget, _has_secret)
        if kept and not _is_worth(ranker, best, kept):
            return kept
        with self._documents:
            self._settled[path] = _Settled(line, budget, best)
        return best

    def _situation(self, path: str, lines: Sequence[str], line: int) -> _Situation:
        with self._documents:
            others = [name for name in reversed(self._open) if name != path][:_MOST_OPEN]
            files = {name: self._open[name] for name in others}
            return _Situation(
                path, lines, line, files, frozenset({path, *self._open}), list(self._edits)
            )

    def _ranked(self, now: _Situation) -> tuple[_Overlay, Ranker, list[Piece]]:
        """Everything that may be shown, best first, with what it was found and ranked by."""
        focus = Focus.at(now.path, now.lines, now.line)
        known = _Overlay(self._current_reader(), now.files, now.path)
        pool = _own_pieces(now.path, now.lines, now.line)
        pool += [piece for file in now.files.values() for piece in file.pieces]
        if known.reader is None:
            counts, total = _counted(focus, pool), len(pool)
        else:
            counts, total = known.reader.counts(focus.weights), known.reader.total()
            found = known.reader.pieces(focus.query(counts, total), _FOUND)
            pool += [piece for piece in found if piece.path not in now.open_paths]
        pool += signatures(focus, now.lines, known)
        ranker = Ranker.of(focus, counts, total, now.open_paths, _recency(now.edits))
        return known, ranker, [piece for _, piece in ranker.ranked(pool)]

    def _kept(
        self, now: _Situation, known: _Overlay, shown: str, budget: int
    ) -> list[Piece] | None:
        """The snippets in use, if the cursor is still near and they still are as they were."""
        with self._documents:
            settled = self._settled.get(now.path)
        if settled is None or settled.budget != budget:
            return None
        if abs(settled.line - now.line) > _SMALL_MOVE:
            return None
        if not all(known.is_current(piece, now.lines) for piece in settled.pieces):
            return None
        again = choose(settled.pieces, shown, budget, _has_secret)
        return again if again == settled.pieces else None

    def _current_reader(self) -> IndexReader | None:
        """A reader of the index that lies there now; None where none can be read."""
        if self._file is None:
            return None
        there = identity(self._file)
        if self._reader is not None and self._reader.identity != there:
            self._forget_reader()
        marked = damage_mark(self._file).exists()
        if self._reader is None and there is not None and not marked:
            try:
                self._reader = IndexReader(self._file)
            except ContextIndexError as error:
                self._give_up(error)
        return self._reader

    def _give_up(self, error: ContextIndexError) -> None:
        """Go on without the index; a damaged one is marked, for the indexer to replace."""
        if str(error) != self._told:
            self._told = str(error)
            logger.warning("%s", error)
        self._forget_reader()
        if self._file is not None and is_corruption(error.__cause__):
            with contextlib.suppress(OSError):
                damage_mark(self._file).touch()

    def _forget_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _own_pieces(path: str, lines: Sequence[str], line: int) -> list[Piece]:
    """The current file's chunks around the cursor, but for the one that it stands in."""
    start = max(0, line - _OWN_LINES) // _OWN_STEP * _OWN_STEP
    window = lines[start : line + _OWN_LINES]
    return [
        piece
        for piece in _pieces(path, window, start)
        if not piece.first <= line <= piece.first + piece.text.count("\n") + 1
    ]


def _pieces(path: str, lines: Sequence[str], start: int) -> list[Piece]:
    return [Piece(path, start + chunk.first, chunk.text) for chunk in cut(lines)]


def _counted(focus: Focus, pieces: Sequence[Piece]) -> dict[str, int]:
    """In how many pieces each word occurs."""
    return {word: sum(word in piece.words for piece in pieces) for word in focus.weights}


def _recency(edits: Sequence[tuple[str, int]]) -> Callable[[Piece], bool]:
    def is_recent(piece: Piece) -> bool:
        last = piece.first + piece.text.count("\n")
        return any(
            path == piece.path and piece.first - _RECENT_LINES <= line <= last + _RECENT_LINES
            for path, line in edits
        )

    return is_recent


def _is_worth(ranker: Ranker, best: Sequence[Piece], kept: Sequence[Piece]) -> bool:
    """Whether the best snippets are so much better that a prompt is computed anew for them."""
    gained, held = (sum(map(ranker.score, pieces)) for pieces in (best, kept))
    return gained > held * _WORTH_A_CHANGE
