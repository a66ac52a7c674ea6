"""Recorded typing: real commits of a real repository, typed out with human pauses.

Every hunk of added lines is typed, in the file's order, into the text that the file had before the
commit: old lines are taken out first, Enter indents as editors do, and now and then a letter is
wrong, deleted and typed again. The times between keys are log-normal, longer at line ends and
between hunks. Long hunks are played in parts; of a commit at most a fifth of the trace is typed,
so that there are several. Invariant: the same repository, seconds and seed give the same trace,
and a file's segments, played to their ends, give the commit's text as far as it is typed. Knows no
editor and no server; brackets are not closed by themselves, and nothing is accepted.

    python tests/typing_trace.py --repository PATH --seconds 120 trace.json
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import random
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

Place = tuple[int, int]
"""Line and column, from 0; columns in code points, which are UTF-16 units here as well."""

_SUFFIXES = (".py", ".ts", ".tsx", ".js", ".go", ".rs", ".java", ".c", ".h", ".cpp", ".lua", ".rb")
_COMMIT_SECONDS, _COMMIT_SHARE = 15.0, 0.2
"""The most of a commit that is typed: so long, or that share of a longer trace."""
_PART_SECONDS = 10.0
"""A longer hunk is played in parts."""
_LEAST_SECONDS = 1.0
"""Less is not worth another commit."""
_ADDED_LINES = (3, 24)
"""Fewest and most lines that a commit adds to be typed."""
_KEY_SECONDS = (0.16, 0.4)
"""Median and spread (of the logarithm) between two keys; likewise the following."""
_WORD_SECONDS = (0.2, 0.5)
_LINE_SECONDS = (0.7, 0.6)
_HUNK_SECONDS = (2.5, 0.5)
_LONGEST = 8.0
_TYPO_SHARE = 0.015
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.M)
_OPENERS = (":", "{", "(", "[")


@dataclass(frozen=True)
class Key:
    """One edit: the text from `start` to `end` becomes `text`, the cursor stands behind it."""

    at: float
    """Seconds since the segment began."""
    start: Place
    end: Place
    text: str
    ahead: str
    """What will be typed behind the cursor in this segment; empty while a typo stands."""
    typed: bool = True
    """Whether a key was pressed; taking out old lines is no key, and nobody waits for text."""


@dataclass(frozen=True)
class Segment:
    """One hunk, or a part of it, typed into one file."""

    commit: str
    """The commit that is typed; the other files are as in its parent."""
    path: str
    before: str
    """The file's text as the segment begins."""
    keys: list[Key]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.keys[-1].at


@dataclass(frozen=True)
class Trace:
    """Segments in the order in which they are typed."""

    repository: str
    seed: int
    segments: list[Segment]

    @property
    def keystrokes(self) -> int:
        """Keys that were pressed."""
        return sum(key.typed for segment in self.segments for key in segment.keys)

    def write(self, path: Path) -> None:
        """Save as JSON."""
        path.write_text(json.dumps(asdict(self)) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Trace:
        """Load what `write` saved."""
        raw = json.loads(path.read_text("utf-8"))
        segments = [
            Segment(s["commit"], s["path"], s["before"], [_key(k) for k in s["keys"]])
            for s in raw["segments"]
        ]
        return cls(raw["repository"], raw["seed"], segments)


class Text:
    """A text under edit."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def apply(self, start: Place, end: Place, text: str) -> Place:
        """Replace a range; returns the place behind what was put there."""
        before, after = self.lines[start[0]][: start[1]], self.lines[end[0]][end[1] :]
        new = text.split("\n")
        new[0] = before + new[0]
        column = len(new[-1])
        new[-1] += after
        self.lines[start[0] : end[0] + 1] = new
        return start[0] + len(new) - 1, column

    def between(self, start: Place, end: Place) -> str:
        """The text of a range."""
        lines = self.lines[start[0] : end[0] + 1]
        lines[-1] = lines[-1][: end[1]]
        lines[0] = lines[0][start[1] :]
        return "\n".join(lines)


@dataclass
class _Typist:
    """Types into one file and keeps what it did."""

    text: Text
    random: random.Random
    unit: str
    """One step of indentation."""
    keys: list[Key] = field(default_factory=list)
    at: float = 0.0
    cursor: Place = (0, 0)
    target: str = ""
    """What the hunk's text is to be."""
    done: int = 0
    """How much of it stands."""

    def type_hunk(self, row: int, removed: int, added: list[str]) -> list[Key]:
        """The keys that put `added` in place of `removed` lines at `row`."""
        self.keys, self.at = [], 0.0
        self.target, self.done = "\n".join(added), 0
        if not added:
            self._edit((row, 0), (row + removed, 0), "", typed=False)
            return self.keys
        self._make_room(row, removed)
        for number, line in enumerate(added):
            if number:
                self._enter()
            self._line(line)
        self._trim()
        return self.keys

    def _make_room(self, row: int, removed: int) -> None:
        """An empty line at `row` with the cursor in it."""
        if removed:
            last = row + removed - 1
            self._edit((row, 0), (last, len(self.text.lines[last])), "", typed=False)
        elif row == 0:
            self._edit((0, 0), (0, 0), "\n", typed=False)
        else:
            self.cursor = (row - 1, len(self.text.lines[row - 1]))
            self._enter()
        self.cursor = (row, len(self.text.lines[row]))

    def _enter(self) -> None:
        """Enter: a blank line loses its indentation, the next one gets what editors guess."""
        self._pause(_LINE_SECONDS)
        row, column = self.cursor
        line = self.text.lines[row][:column]
        indent = _indent(line)
        if line.rstrip().endswith(_OPENERS):
            indent += self.unit
        start = (row, 0) if not line.strip() else (row, column)
        self._edit(start, (row, column), "\n" + indent)

    def _line(self, line: str) -> None:
        """Correct the indentation, then type."""
        if line.strip():
            self._indent(_indent(line))
            for character in line[len(_indent(line)) :]:
                self._character(character)
        self.done += len(line) + 1

    def _indent(self, wanted: str) -> None:
        row = self.cursor[0]
        while (there := self.text.lines[row][: self.cursor[1]]) != wanted:
            self._pause(_KEY_SECONDS)
            if wanted.startswith(there):
                step = wanted[len(there) :][: len(self.unit)]
                self._edit(self.cursor, self.cursor, step)
            elif there.startswith(wanted):
                column = max(len(wanted), len(there) - len(self.unit))
                self._edit((row, column), self.cursor, "")
            else:
                self._edit((row, 0), self.cursor, wanted)

    def _character(self, character: str) -> None:
        if character.isalpha() and self.random.random() < _TYPO_SHARE:
            self._pause(_KEY_SECONDS)
            self._edit(self.cursor, self.cursor, self.random.choice("etaoinsr"), wrong=True)
            self._pause(_WORD_SECONDS)
            row, column = self.cursor
            self._edit((row, column - 1), self.cursor, "")
        self._pause(_KEY_SECONDS if character.isalnum() else _WORD_SECONDS)
        self._edit(self.cursor, self.cursor, character)

    def _trim(self) -> None:
        """Take away what was guessed for a last line that stays blank."""
        row, column = self.cursor
        if column and not self.text.lines[row].strip():
            self._edit((row, 0), self.cursor, "", typed=False)

    def _pause(self, pace: tuple[float, float]) -> None:
        median, spread = pace
        self.at += min(_LONGEST, self.random.lognormvariate(math.log(median), spread))

    def _edit(
        self, start: Place, end: Place, text: str, *, typed: bool = True, wrong: bool = False
    ) -> None:
        self.cursor = self.text.apply(start, end, text)
        ahead = "" if wrong or not typed else self._ahead()
        self.keys.append(Key(round(self.at, 4), start, end, text, ahead, typed))

    def _ahead(self) -> str:
        """The rest of the hunk behind the cursor, as far as what stands is right."""
        row, column = self.cursor
        rest = self.target[self.done :]
        line = self.text.lines[row][:column]
        here = rest.split("\n", 1)[0]
        if self.done and not line.strip() and not here.strip():
            return rest[len(here) :]
        return rest[len(line) :] if rest.startswith(line) else ""


def make_trace(repository: Path, seconds: float, seed: int = 0) -> Trace:
    """Type out commits of `repository` until `seconds` are full.

    Raises:
        ValueError: no commit of it can be typed.
    """
    source = random.Random(seed)
    commits = _git(repository, "log", "--no-merges", "--format=%H %P", "-400").split("\n")
    pairs = [words for line in commits if len(words := line.split()) == 2]
    source.shuffle(pairs)
    segments: list[Segment] = []
    left = seconds
    for commit, parent in pairs:
        room = min(left, max(_COMMIT_SECONDS, _COMMIT_SHARE * seconds))
        typed = list(_within(_commit_segments(repository, commit, parent, source), room))
        segments += [part for segment in typed for part in _parts(segment)]
        left -= sum(segment.seconds for segment in typed)
        if left < _LEAST_SECONDS:
            break
    if not segments:
        raise ValueError(f"no commit of {repository} adds lines that can be typed")
    return Trace(repository_name(repository), seed, segments)


def _within(segments: Iterable[Segment], room: float) -> Iterator[Segment]:
    """What can be typed in `room` seconds."""
    for segment in segments:
        if keys := [key for key in segment.keys if key.at <= room]:
            yield replace(segment, keys=keys)
        room -= segment.seconds


def _parts(segment: Segment) -> Iterator[Segment]:
    """A segment in parts of about the same time, each of which begins where one ended."""
    count = math.ceil(segment.seconds / _PART_SECONDS)
    text, began = Text(segment.before), 0.0
    for _, group in itertools.groupby(
        segment.keys, lambda key: min(count - 1, int(count * key.at / segment.seconds))
    ):
        keys = list(group)
        before = str(text)
        for key in keys:
            text.apply(key.start, key.end, key.text)
        yield replace(segment, before=before, keys=[replace(k, at=k.at - began) for k in keys])
        began = keys[-1].at


def repository_name(repository: Path) -> str:
    """Its folder's name; a bare clone in `name/repo` or `name.git` goes by `name`."""
    path = repository.resolve()
    generic = path.name in ("repo", "repo.git", ".git")
    return (path.parent if generic else path).name.removesuffix(".git")


def write_tree(repository: Path, commit: str, folder: Path) -> None:
    """Make the files in `folder` those of the commit's parent; only what differs is touched."""
    arguments = ["git", "-C", str(repository), "archive", f"{commit}^"]
    archive = subprocess.run(arguments, check=True, capture_output=True).stdout
    there = {path for path in folder.rglob("*") if path.is_file()}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in filter(tarfile.TarInfo.isfile, tar):
            path, content = folder / member.name, tar.extractfile(member)
            assert content is not None  # of a regular file there is one
            if not _holds(path, content.read()):
                tar.extract(member, folder, filter="data")
            there.discard(path)
    for path in there:
        path.unlink()


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _commit_segments(
    repository: Path, commit: str, parent: str, source: random.Random
) -> list[Segment]:
    paths = _git(repository, "diff", "--name-only", "--diff-filter=M", parent, commit)
    wanted = [path for path in paths.split("\n") if path.endswith(_SUFFIXES)]
    files = [list(_file_segments(repository, commit, parent, path, source)) for path in wanted]
    segments = [segment for file in files for segment in file]
    added = sum(1 + sum("\n" in key.text for key in s.keys) for s in segments)
    return segments if _ADDED_LINES[0] <= added <= _ADDED_LINES[1] else []


def _file_segments(
    repository: Path, commit: str, parent: str, path: str, source: random.Random
) -> Iterator[Segment]:
    """A segment for each hunk; nothing for a file that cannot be typed exactly."""
    before = _git(repository, "show", f"{parent}:{path}", strip=False)
    after = _git(repository, "show", f"{commit}:{path}", strip=False)
    if not _plain(before) or not _plain(after):
        return
    diff = _git(repository, "diff", "-U0", parent, commit, "--", path)
    typist = _Typist(Text(before), source, _unit(before))
    segments: list[Segment] = []
    wanted = after.split("\n")
    for match in _HUNK.finditer(diff):
        _, removed, row, count = (1 if g is None else int(g) for g in match.groups())
        start = str(typist.text)
        first = row - 1 if count else row
        keys = typist.type_hunk(first, removed, wanted[first : first + count])
        if count:
            pause = min(_LONGEST, source.lognormvariate(math.log(_HUNK_SECONDS[0]), 0.5))
            keys = [replace(key, at=round(key.at + pause, 4)) for key in keys]
            segments.append(Segment(commit, path, start, keys))
    if str(typist.text) == after:
        yield from segments


def _plain(text: str) -> bool:
    """Whether every editor and server sees the same lines and columns in it."""
    return text.endswith("\n") and not re.search(r"[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff]", text)


def _unit(text: str) -> str:
    indents = [_indent(line) for line in text.split("\n") if line.strip()]
    if any(indent.startswith("\t") for indent in indents):
        return "\t"
    widths = [len(indent) for indent in indents if len(indent) in (2, 4, 8)]
    return " " * min(widths, default=4)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _key(raw: dict[str, Any]) -> Key:
    start, end = (tuple(raw[name]) for name in ("start", "end"))
    return Key(**{**raw, "start": start, "end": end})


def _git(repository: Path, *arguments: str, strip: bool = True) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), "-c", "core.quotepath=off", *arguments],
        check=True,
        capture_output=True,
    )
    text = done.stdout.decode("utf-8", "replace")
    return text.strip("\n") if strip else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--repository", type=Path, default=Path())
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    trace = make_trace(options.repository, options.seconds, options.seed)
    trace.write(options.output)
    print(f"{trace.keystrokes} keystrokes, {len(trace.segments)} segments of {trace.repository}")


if __name__ == "__main__":
    main()
