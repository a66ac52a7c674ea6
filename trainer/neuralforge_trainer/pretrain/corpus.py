"""The corpus: packages become documents, cleaned, deduplicated and decontaminated.

Invariant: one JSON-lines file a package, complete or absent, so that an interrupted build goes
on; `corpus.jsonl` is the whole, written last. Knows no token.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from neuralforge_adapters.base import file_digest
from neuralforge_adapters.home import private_dir, read_json, write_atomic, write_json
from neuralforge_trainer.errors import CorpusError
from neuralforge_trainer.pretrain.archives import read_files
from neuralforge_trainer.pretrain.clean import CLEANER, Document, clean, digest, is_wanted
from neuralforge_trainer.pretrain.config import RunConfig
from neuralforge_trainer.pretrain.fetch import Package, downloaded, packages_of
from neuralforge_trainer.pretrain.heldout import Decontamination
from neuralforge_trainer.pretrain.licences import Licence, read_expression, read_licence
from neuralforge_trainer.pretrain.manifest import (
    Entry,
    Manifest,
    check_sum,
    read_manifest,
    write_manifest,
)
from neuralforge_trainer.samples.near import NearDuplicates

_OWN_LICENCE = Licence("your own", True)
_NO_LICENCE = Licence("no copyright file", False)
Found = TypeVar("Found")

Report = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """One thing to read: a package's file or a folder, and how the manifest names it."""

    package: Package
    file: Path


def corpus_file(config: RunConfig) -> Path:
    """Where the whole corpus lies: one JSON document a line."""
    return config.data_folder / "corpus.jsonl"


def build_corpus(
    config: RunConfig,
    manifest: Path,
    folders: Sequence[Path],
    clones: Sequence[Path],
    report: Report,
) -> None:
    """Clean each package, then write the corpus without duplicates, and the manifest.

    A package of the run file that could not be had this time keeps its entry, and so its pin.

    Raises:
        CorpusError: nothing to read, a package is not what the manifest says, or the disk refuses.
    """
    known = read_manifest(manifest)
    places = _places(config, known, folders)
    if not places:
        raise CorpusError("nothing to learn from; run the stage `fetch`, or pass --folder")
    if len(clones) < len(config.corpus.held_out):
        report(
            f"{len(config.corpus.held_out)} repositories are held out by name, {len(clones)} of "
            "them by likeness too; pass a clone of each with --held-out"
        )
    try:
        entries = _clean_all(config, places, known, report)
        decontamination = Decontamination(config.corpus, clones, known.held_out)
        kept = _write_corpus(config, decontamination, entries, report)
    except OSError as error:
        raise CorpusError(
            f"the corpus in {config.data_folder} cannot be written: {error}; free some room and "
            "run the stage again: it goes on from the last package"
        ) from error
    packages = {
        entry.name: dataclasses.replace(entry, files=files, bytes=kept[entry.name][1])
        for entry in entries
        if entry.kind != "folder" and (files := kept[entry.name][0])
    }
    if packages:
        met = {entry.name for entry in entries}
        wanted = {package.name for package in packages_of(config, known)}
        absent = {n: e for n, e in known.packages.items() if n in wanted and n not in met}
        write_manifest(manifest, Manifest(absent | packages, frozenset(decontamination.found)))


def read_corpus(config: RunConfig) -> Iterator[Document]:
    """The documents of the corpus, in its order.

    Raises:
        CorpusError: it was not built yet.
    """
    path = corpus_file(config)
    if not path.is_file():
        raise CorpusError(f"{path} is not there yet; run the stage `corpus` first")
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield Document(**json.loads(line))


def _places(config: RunConfig, manifest: Manifest, folders: Sequence[Path]) -> list[Place]:
    places = [Place(Package(n, "folder"), f) for n, f in _named(folders).items()]
    for package in packages_of(config, manifest):
        file = downloaded(config.data_folder, package)
        if file is not None:
            places.append(Place(package, file))
    return places


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """The folders by name: with as many of the folders above as tell each from the others."""
    paths = list(dict.fromkeys(folder.resolve() for folder in folders))
    deepest = max((len(path.parts) for path in paths), default=1)
    for depth in range(1, deepest + 1):
        names = ["-".join(path.parts[-depth:]).strip("/") for path in paths]
        if len({*names}) == len(paths):
            return dict(zip(names, paths, strict=True))
    return {f"{name}-{n}": path for n, (name, path) in enumerate(zip(names, paths, strict=True))}


def _clean_all(
    config: RunConfig, places: Sequence[Place], manifest: Manifest, report: Report
) -> list[Entry]:
    private_dir(config.data_folder / "cleaned")
    entries = []
    with ProcessPoolExecutor() as pool:
        jobs = [
            pool.submit(_clean_one, config, p, manifest.packages.get(p.package.name))
            for p in places
        ]
        for place, job in zip(places, jobs, strict=True):
            entry = job.result()
            report(f"{place.package.name}: {entry.licence}, {entry.files} files")
            entries.append(entry)
    return entries


def _clean_one(config: RunConfig, place: Place, pinned: Entry | None) -> Entry:
    """Clean one package into its own file; a folder, which may change, each time."""
    folder = config.data_folder / "cleaned"
    done = folder / f"{place.package.stem}.json"
    made_of = _made_of(config, place)
    known = read_json(done)
    if isinstance(known, dict) and known.get("of") == made_of != "":
        return Entry(**known["entry"])
    done.unlink(missing_ok=True)  # while its text is another
    version = _version(place)
    if pinned is not None and pinned.version == version:
        check_sum(place.file, pinned)
    licence = _licence(config, place)
    documents = list(_documents(config, place, licence))
    text = "".join(json.dumps(dataclasses.asdict(d)) + "\n" for d in documents)
    write_atomic(folder / f"{place.package.stem}.jsonl", text)
    size = sum(len(d.text) for d in documents)
    entry = Entry(
        place.package.name,
        place.package.kind,
        version,
        licence.name if licence.permissive else f"refused: {licence.name}",
        file_digest(place.file) if version else "",
        len(documents),
        size,
    )
    write_json(done, {"of": made_of, "entry": dataclasses.asdict(entry)})
    return entry


def _made_of(config: RunConfig, place: Place) -> str:
    """All that a package's cleaned text depends on; empty for a folder."""
    if place.package.kind == "folder":
        return ""
    corpus = config.corpus
    stated = corpus.licences.get(place.package.name, "")
    settings = [CLEANER, config.seed, corpus.most_bytes, sorted(corpus.mix), stated]
    return f"{place.file.name} {file_digest(place.file)} {json.dumps(settings)}"


def _version(place: Place) -> str:
    """Of NAME-VERSION.tgz, NAME_VERSION_ARCH.deb or NAME_VERSION.orig.tar.xz; a folder has none."""
    name = place.file.name
    if place.package.kind == "folder":
        return ""
    if place.package.kind == "npm":
        return name.removeprefix(f"{place.package.stem}-").removesuffix(".tgz")
    return name.split(".orig.tar.")[0].removesuffix(".deb").split("_")[1].replace("%3a", ":")


def _licence(config: RunConfig, place: Place) -> Licence:
    """As the package's own files say, unless the run file states what a person has read."""
    package, file = place.package, place.file
    if package.kind == "folder":
        return _OWN_LICENCE
    if stated := config.corpus.licences.get(package.name):
        return read_expression(stated)
    if package.kind == "npm":
        return read_expression(_member(file, "package/package.json", _npm_licence) or "")
    if package.kind == "source":
        file = next(iter(sorted(file.parent.glob("*.debian.tar.*"))), file)
        return _member(file, "debian/copyright", read_licence) or _NO_LICENCE
    return _member(file, f"doc/{package.name}/copyright", read_licence) or _NO_LICENCE


def _member(file: Path, name: str, read: Callable[[str], Found]) -> Found | None:
    """What `read` makes of the archive's first file whose path ends with `name`."""
    for _, content in read_files(file, lambda path: path.endswith(name)):
        return read(content.decode("utf-8", "replace"))
    return None


def _npm_licence(text: str) -> str:
    value = json.loads(text).get("license", "")
    return value if isinstance(value, str) else ""


def _documents(config: RunConfig, place: Place, licence: Licence) -> Iterator[Document]:
    if not licence.permissive:
        return
    languages = frozenset(config.corpus.mix)
    inside = place.package.kind in ("source", "npm")  # all of it in one folder

    def named(path: str) -> str:
        return path.partition("/")[2] if inside else path

    def is_ours(path: str) -> bool:
        return licence.allows(path) and is_wanted(named(path), languages)

    found = [(named(path), content) for path, content in read_files(place.file, is_ours)]
    random.Random(f"{config.seed}:{place.package.name}").shuffle(found)
    room = config.corpus.most_bytes
    kept = []
    for name, content in found:
        document = clean(place.package.name, name, content, languages)
        if document is None:
            continue
        if (room := room - len(document.text)) < 0:
            break
        kept.append(document)
    yield from sorted(kept, key=lambda document: document.path)


def _write_corpus(
    config: RunConfig, decontamination: Decontamination, entries: Sequence[Entry], report: Report
) -> dict[str, tuple[int, int]]:
    """Write `corpus.jsonl`; returns files and characters kept of each package."""
    near, seen = NearDuplicates(config.corpus.similarity), set[str]()
    kept: dict[str, list[int]] = {entry.name: [0, 0] for entry in entries}
    counts: Counter[str] = Counter()
    part = corpus_file(config).with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        for entry in entries:
            for document in _cleaned(config, entry):
                reason = _reason_to_drop(document, near, seen, decontamination)
                counts[reason or document.language] += 1 if reason else len(document.text)
                if reason:
                    continue
                kept[entry.name][0] += 1
                kept[entry.name][1] += len(document.text)
                file.write(json.dumps(dataclasses.asdict(document)) + "\n")
    part.replace(corpus_file(config))
    write_json(config.data_folder / "corpus.json", counts)
    report(", ".join(f"{name} {count:,}" for name, count in counts.most_common()))
    return {name: (files, size) for name, (files, size) in kept.items()}


def _cleaned(config: RunConfig, entry: Entry) -> Iterator[Document]:
    with (config.data_folder / "cleaned" / f"{Package(entry.name, entry.kind).stem}.jsonl").open(
        encoding="utf-8"
    ) as file:
        for line in file:
            yield Document(**json.loads(line))


def _reason_to_drop(
    document: Document, near: NearDuplicates, seen: set[str], decontamination: Decontamination
) -> str | None:
    if decontamination.is_named(document.path, document.package):
        return "held out by name"
    exact = digest(document.text)
    if exact in seen:
        return "duplicates"
    seen.add(exact)
    if decontamination.is_near(document.text):
        return "held out by likeness"
    return None if near.add(document.text) else "near-duplicates"
