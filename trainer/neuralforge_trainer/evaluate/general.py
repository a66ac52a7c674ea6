"""General code to measure forgetting on, and to rehearse: what the running interpreter comes with.

Measured is on its standard library and on the packages that are installed; rehearsed is the
library alone: an installed package may be a later state of the very code that is asked for.

Invariant: the same interpreter and packages give the same items; the files that are measured on are
never rehearsed. Nothing is shipped and nothing fetched. Knows no model.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.samples.lines import line_spans, visible
from neuralforge_trainer.samples.middles import random_cut, text_span
from neuralforge_trainer.samples.sample import Sample
from neuralforge_trainer.samples.written import LEAST_VISIBLE

_LEAST_LINES = 40
_MOST_TURNS = 8
_MOST_BYTES = 200_000
_NOT_TYPICAL = ("site-packages", "test", "tests", "idlelib", "encodings")  # foreign, or generated
_MEASURED = 2  # one file of so many is for measuring


def general_items(count: int, seed: int = 0) -> list[Item]:
    """Up to `count` lines' ends of the measuring files, spread over them, half from packages.

    Empty where the interpreter comes without any source.
    """
    return [
        Item(path.name, "python", text[:cut], text[cut:end], text[end:], _source(path), 0.0)
        for path, text, cut, end in _places(count, seed, measured=True)
    ]


def general_samples(count: int, seed: int = 0) -> list[Sample]:
    """Up to `count` samples of the library's other files, spread over them."""
    return [
        Sample(text[:cut], text[cut:end], text[end:], "python", path.name, "", 0.0, "file")
        for path, text, cut, end in _places(count, seed, measured=False)
    ]


def _places(count: int, seed: int, *, measured: bool) -> Iterator[tuple[Path, str, int, int]]:
    """(file, its text, cursor, end of the cursor's line), in an order drawn with `seed`.

    Every file is asked once before any is asked again.
    """
    library = [path for path in _library() if _is_measured(path) == measured]
    files = _shuffled(library, seed)
    if measured:  # in turn, for as long as both have some
        pairs = itertools.zip_longest(files, _shuffled(_packages(), seed))
        files = [path for pair in pairs for path in pair if path is not None]
    places = (_place(path, seed, turn) for turn in range(_MOST_TURNS) for path in files)
    yield from itertools.islice((place for place in places if place is not None), count)


def _place(path: Path, seed: int, turn: int) -> tuple[Path, str, int, int] | None:
    """A place in `path`, None where it is too short."""
    text = path.read_text("utf-8", "replace")
    source = random.Random(f"{seed}:{turn}:{path.name}")
    spans = [text_span(text, line) for line in line_spans(text)]
    spans = [span for span in spans if visible(text[slice(*span)]) >= LEAST_VISIBLE]
    if len(spans) < _LEAST_LINES:
        return None
    span = source.choice(spans[_LEAST_LINES // 2 :])
    return path, text, random_cut(text, span, source), span[1]


def _source(path: Path) -> str:
    """Tells the file from others of its name."""
    return f"{path.parent.name}/{path.name}"


def _shuffled(files: list[Path], seed: int) -> list[Path]:
    random.Random(seed).shuffle(files)
    return files


def _library() -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    return _typical([*root.glob("*.py"), *root.glob("*/*.py")])


def _packages() -> list[Path]:
    """Modules at the top of installed packages."""
    roots = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    return _typical([path for root in roots for path in root.glob("*/*.py")])


def _typical(files: list[Path]) -> list[Path]:
    own = [file for file in files if file.parent.name not in _NOT_TYPICAL]
    return sorted(file for file in own if file.stat().st_size <= _MOST_BYTES)


def _is_measured(path: Path) -> bool:
    return hashlib.sha256(_source(path).encode()).digest()[0] % _MEASURED == 0
