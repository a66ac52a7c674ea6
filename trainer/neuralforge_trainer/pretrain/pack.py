"""Shards: batches of rows in their training order, made when the training needs them.

Invariant: shard n is a function of the run file, the corpus and n alone; it says where in each
language's endless shuffled cycle it stopped, and the next goes on from there. Rows of one batch
have one length, so every batch has the same number of tokens and no attention mask.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuralforge_adapters.base import file_digest
from neuralforge_adapters.home import private_dir, read_json, write_atomic, write_json
from neuralforge_trainer.errors import PretrainError
from neuralforge_trainer.pretrain.clean import Document, digest
from neuralforge_trainer.pretrain.config import RunConfig
from neuralforge_trainer.pretrain.corpus import corpus_file, read_corpus
from neuralforge_trainer.pretrain.rows import RowMaker, characters_per_token
from neuralforge_trainer.pretrain.tokenizer import Tokenizer, load_tokenizer, tokenizer_file

_VALIDATION_BATCHES = 8
_ENOUGH = 64
"""Batches from which those for validation are drawn."""

Batch = npt.NDArray[np.uint16]
"""Token ids (rows, length)."""


class Packer:
    """Makes shards of one run. Holds the corpus in memory."""

    def __init__(self, config: RunConfig, tokenizer: Tokenizer) -> None:
        documents = list(read_corpus(config))
        self._config = config
        self._folder = private_dir(config.folder / "shards" / _recipe(config))
        share = config.corpus.validation
        held = [_fraction(document.text) < share for document in documents]
        self._neighbours = _neighbours(documents, held)
        self._validation = [i for i, out in enumerate(held) if out]
        self._training: dict[str, list[int]] = defaultdict(list)
        for index, document in enumerate(documents):
            if not held[index]:
                self._training[document.language].append(index)
        self._documents = documents
        characters = characters_per_token(tokenizer, documents)
        self._maker = RowMaker(tokenizer, config.pack, characters)
        if not self._training or not self._validation:
            raise PretrainError(
                f"{len(documents)} documents are too few to train and to validate; add text"
            )

    def shard(self, number: int) -> list[Batch]:
        """Shard `number`, made now unless it is there."""
        self.prepare(number)
        with np.load(self._path(number), allow_pickle=False) as arrays:
            return _ordered({int(name[1:]): arrays[name] for name in arrays}, self._rows, number)

    def prepare(self, number: int) -> None:
        """Make shard `number` unless it is there."""
        if not self._path(number).is_file():
            self._make(number)

    def place(self, number: int) -> None:
        """Find where in the corpus every shard up to `number` begins."""
        for before in range(number):
            if not self._path(before).with_suffix(".json").is_file():
                self._members(before)

    def validation(self) -> list[Batch]:
        """A few batches of documents that are never trained on, always the same."""
        random_source = random.Random(f"{self._config.seed}:validation")
        order = random_source.sample(self._validation, len(self._validation))
        rows: dict[int, list[Batch]] = defaultdict(list)
        for index in order:
            self._add_rows(rows, index, random_source)
            if sum(len(r) // self._rows(length) for length, r in rows.items()) > _ENOUGH:
                break
        arrays = {length: np.stack(some) for length, some in rows.items()}
        return _ordered(arrays, self._rows, 0)[:_VALIDATION_BATCHES]

    def forget_others(self) -> None:
        """Delete shards that were made of another corpus, with other settings or another
        tokenizer."""
        for other in self._folder.parent.iterdir():
            if other != self._folder:
                shutil.rmtree(other) if other.is_dir() else other.unlink()

    def forget(self, number: int) -> None:
        """Delete the tokens of a shard that was trained on; how it ended stays."""
        self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"shard-{number:05d}.npz"

    def _rows(self, length: int) -> int:
        return max(1, self._config.train.micro_tokens // length)

    def _make(self, number: int) -> None:
        random_source = random.Random(f"{self._config.seed}:{number}")
        rows: dict[int, list[Batch]] = defaultdict(list)
        for index in self._members(number):
            self._add_rows(rows, index, random_source)
        arrays = {f"r{length}": np.stack(some) for length, some in rows.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_atomic(self._path(number), buffer.getvalue())

    def _members(self, number: int) -> list[int]:
        """The documents of a shard, by characters: no shard needs another's tokens."""
        path = self._path(number).with_suffix(".json")
        cursor = self._cursor(number)
        counts = dict.fromkeys(self._training, 0.0)
        members = []
        while sum(counts.values()) < self._config.pack.shard_tokens:
            language = min(counts, key=lambda name: counts[name] / self._share(name))
            index = self._document(language, cursor[language])
            cursor[language] += 1
            counts[language] += 1 + self._maker.tokens(self._documents[index])
            members.append(index)
        if not path.is_file():
            write_json(path, cursor)
        return members

    def _add_rows(
        self, rows: dict[int, list[Batch]], index: int, random_source: random.Random
    ) -> None:
        beside = [self._documents[neighbour] for neighbour in self._neighbours[index]]
        for length, ids in self._maker.rows(self._documents[index], beside, random_source):
            rows[length].append(np.array(ids, np.uint16))

    def _share(self, language: str) -> float:
        return self._config.corpus.mix[language]

    def _cursor(self, number: int) -> dict[str, int]:
        """How many documents of each language the shards before `number` have used."""
        if number == 0:
            return dict.fromkeys(self._training, 0)
        end = self._path(number - 1).with_suffix(".json")
        if not end.is_file():
            self._members(number - 1)
        known: dict[str, int] = read_json(end) or {}
        return {language: known[language] for language in self._training}

    def _document(self, language: str, place: int) -> int:
        """The document at `place` of a language's endless cycle, each round shuffled anew."""
        members = self._training[language]
        turn, within = divmod(place, len(members))
        return members[_shuffled(f"{self._config.seed}:{language}:{turn}", len(members))[within]]


def _recipe(config: RunConfig) -> str:
    """Names all that a shard is made of: 12 hex digits."""
    made_of = [
        config.seed,
        sorted(config.corpus.mix.items()),
        config.corpus.validation,
        asdict(config.pack),
        file_digest(corpus_file(config)),
        file_digest(tokenizer_file(config)),
    ]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]


@lru_cache(maxsize=32)
def _shuffled(seed: str, size: int) -> list[int]:
    return random.Random(seed).sample(range(size), size)


def _ordered(arrays: dict[int, Batch], rows: Callable[[int], int], seed: int) -> list[Batch]:
    """Batches of shuffled rows, in shuffled order; a rest that fills no batch is left out."""
    generator = np.random.default_rng(seed)
    batches: list[Batch] = []
    for length in sorted(arrays):
        size = rows(length)
        shuffled = arrays[length][generator.permutation(len(arrays[length]))]
        batches += [
            shuffled[start : start + size] for start in range(0, len(shuffled) - size + 1, size)
        ]
    order = generator.permutation(len(batches))
    return [batches[i] for i in order]


def _neighbours(documents: Sequence[Document], held: Sequence[bool]) -> list[list[int]]:
    """For each document some next to it in its package; never one held back."""
    return [
        [
            i
            for i in (index + 1, index - 1, index + 2)
            if 0 <= i < len(documents) and documents[i].package == document.package and not held[i]
        ]
        for index, document in enumerate(documents)
    ]


def _fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int(digest(text)[:12], 16) / 16**12


def pack_ahead(config: RunConfig, numbers: Sequence[int], workers: int) -> None:
    """Make shards in several processes, for a machine that trains faster than one core packs."""
    Packer(config, load_tokenizer(tokenizer_file(config))).place(max(numbers, default=0))
    with ProcessPoolExecutor(workers) as pool:
        parts = [(config, list(numbers[w::workers])) for w in range(workers)]
        for _ in pool.map(_pack_some, parts):
            pass


def _pack_some(part: tuple[RunConfig, list[int]]) -> None:
    config, numbers = part
    packer = Packer(config, load_tokenizer(tokenizer_file(config)))
    for number in numbers:
        packer.prepare(number)
