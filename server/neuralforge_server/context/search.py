"""Reading a workspace's index: which chunks hold some words, and where names are defined.

Invariant: no query visits more than a bounded number of postings, whatever the size of the index.
Reads what the writer has committed; may be used from any thread, one at a time. Knows no cursor
and no open document.
"""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from neuralforge_server.context.definitions import Definition
from neuralforge_server.context.index import SCHEMA_VERSION, failing, identity, unpacked
from neuralforge_server.context.words import indexed
from neuralforge_server.errors import ContextIndexError

_BUSY_SECONDS = 0.05
"""A reader waits for nobody: in WAL mode only recovery and replacement block it."""
_TEXTS_KEPT = 256


@dataclass(frozen=True)
class Piece:
    """Some text of a file that could be shown: a chunk, or the signatures of what it defines."""

    path: str
    first: int
    """The line that it begins at, from 0."""
    text: str
    is_signatures: bool = False

    @cached_property
    def words(self) -> frozenset[str]:
        """Its identifiers and their parts, as the index has them."""
        names, pieces = indexed(self.text)
        return frozenset(f"{names} {pieces}".split())


class IndexReader:
    """A connection to an index that another process may be writing."""

    def __init__(self, file: Path) -> None:
        """Open the index at `file`.

        Raises:
            ContextIndexError: there is none, it is damaged or of another version.
        """
        self.file = file
        self.identity = identity(file)
        with failing(file):
            self._connection = sqlite3.connect(
                f"{file.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY_SECONDS,
                check_same_thread=False,
            )
            try:
                self._connection.execute("PRAGMA query_only=ON")
                (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            except sqlite3.Error:
                self._connection.close()
                raise
        if version != SCHEMA_VERSION:
            self._connection.close()
            raise ContextIndexError(f"the context index {file} is another version's; wait for it")
        self._texts: OrderedDict[tuple[int, bytes], str] = OrderedDict()

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def total(self) -> int:
        """About how many chunks there are."""
        (highest,) = self._one("SELECT max(id) FROM chunks")
        return highest or 0

    def counts(self, words: Iterable[str]) -> dict[str, int]:
        """In about how many chunks each word occurs; words that occur nowhere are left out."""
        wanted = list(dict.fromkeys(words))
        found: dict[str, int] = dict(
            self._all(
                "SELECT word, chunks FROM frequent WHERE word IN (SELECT value FROM json_each(?))",
                json.dumps(wanted),
            )
        )
        for word in wanted:
            if word not in found:
                row = self._one("SELECT doc FROM vocabulary WHERE term = ?", word)
                if row:
                    found[word] = row[0]
        return found

    def pieces(self, words: Sequence[str], limit: int) -> list[Piece]:
        """The chunks that BM25 ranks first for any of `words`, best first."""
        if not words:
            return []
        query = " OR ".join('"' + word.replace('"', '""') + '"' for word in words)
        ids = [
            row[0]
            for row in self._all(
                "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?", query, limit
            )
        ]
        rows = self._all(
            "SELECT c.id, c.file, f.digest, f.path, c.first, c.begins, c.ends FROM chunks c "
            "JOIN files f ON f.id = c.file WHERE c.id IN (SELECT value FROM json_each(?))",
            json.dumps(ids),
        )
        found = {
            row[0]: Piece(row[3], row[4], self._text(row[1], row[2])[row[5] : row[6]])
            for row in rows
        }
        return [found[chunk] for chunk in ids if chunk in found]

    def files(self, paths: Sequence[str]) -> set[str]:
        """Those of `paths` that are in the index."""
        rows = self._all(
            "SELECT path FROM files WHERE path IN (SELECT value FROM json_each(?))",
            json.dumps(paths),
        )
        return {path for (path,) in rows}

    def text(self, path: str) -> str:
        """All of one file; empty where it is not in the index."""
        row = self._one("SELECT id, digest FROM files WHERE path = ?", path)
        return self._text(*row) if row else ""

    def definitions(self, path: str) -> list[Definition]:
        """What one file defines, in its order."""
        rows = self._all(
            "SELECT name, owner, line, signature FROM definitions "
            "WHERE file = (SELECT id FROM files WHERE path = ?) ORDER BY line",
            path,
        )
        return [Definition(*row) for row in rows]

    def named(self, names: Iterable[str], most: int) -> list[tuple[str, Definition]]:
        """(path, definition) of what is so named, at most `most` of each name."""
        found = []
        for name in sorted(names):
            rows = self._all(
                "SELECT f.path, d.name, d.owner, d.line, d.signature FROM definitions d "
                "JOIN files f ON f.id = d.file WHERE d.name = ? LIMIT ?",
                name,
                most,
            )
            found += sorted((row[0], Definition(*row[1:])) for row in rows)
        return found

    def _text(self, file: int, version: bytes) -> str:
        key = (file, version)
        if key not in self._texts:
            row = self._one("SELECT text FROM files WHERE id = ?", file)
            with failing(self.file):
                self._texts[key] = unpacked(row[0]) if row else ""
            if len(self._texts) > _TEXTS_KEPT:
                self._texts.popitem(last=False)
        self._texts.move_to_end(key)
        return self._texts[key]

    def _one(self, query: str, *values: object) -> Any:
        with failing(self.file):
            return self._connection.execute(query, values).fetchone()

    def _all(self, query: str, *values: object) -> list[Any]:
        with failing(self.file):
            return self._connection.execute(query, values).fetchall()
