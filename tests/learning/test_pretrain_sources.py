"""Where pretraining gets its text from: packages found, checked and refused; nothing is fetched."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from neuralforge_trainer.errors import CorpusError
from neuralforge_trainer.pretrain.config import ROOT_VARIABLE, CorpusConfig, RunConfig, load_config
from neuralforge_trainer.pretrain.corpus import build_corpus, read_corpus
from neuralforge_trainer.pretrain.fetch import Package, downloaded, fetch, packages_of
from neuralforge_trainer.pretrain.heldout import Decontamination
from neuralforge_trainer.pretrain.manifest import Entry, Manifest, read_manifest, write_manifest

CODE = "".join(
    f"export function area{n}(width: number, height: number): number {{\n"
    f"  const scaled = width * {n};\n  return scaled * height;\n}}\n\n"
    for n in range(12)
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run of one npm package and one source package."""
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    corpus = CorpusConfig(
        suite="stable",
        packages={"npm": ["@shapes/core"], "source": ["shapes"]},
        mix={"typescript": 1.0},
        held_out=[{"repository": "someone/zod", "names": "zod", "reason": "evaluation"}],
    )
    return dataclasses.replace(load_config("toy"), corpus=corpus)


def test_packages_are_pinned_by_the_manifest_and_found_where_they_were_downloaded(
    config: RunConfig,
) -> None:
    entry = Entry("@shapes/core", "npm", "1.2.0", "MIT", "0" * 64)
    npm, source = packages_of(config, Manifest({"@shapes/core": entry}))
    assert (npm.wanted, source.wanted) == ("@shapes/core@1.2.0", "shapes")
    assert downloaded(config.data_folder, npm) is None is downloaded(config.data_folder, source)
    for name in ("downloads/shapes-core-1.2.0.tgz", "sources/shapes/shapes_1.orig.tar.xz",
                 "sources/shapes/shapes_1-2.debian.tar.xz"):  # fmt: skip
        file = config.data_folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert str(downloaded(config.data_folder, npm)).endswith("shapes-core-1.2.0.tgz")
    assert str(downloaded(config.data_folder, source)).endswith("shapes_1.orig.tar.xz")


def test_an_npm_package_becomes_documents_and_a_manifest(config: RunConfig) -> None:
    _npm_package(config, {"src/area.ts": CODE, "dist/area.ts": CODE + "//", "src/zod/a.ts": CODE})
    manifest = config.folder / "manifest.json"
    build_corpus(config, manifest, [], [], lambda _: None)
    assert [document.path for document in read_corpus(config)] == ["src/area.ts"]
    entry = read_manifest(manifest).packages["@shapes/core"]
    assert (entry.version, entry.licence, entry.files) == ("1.2.0", "MIT OR Apache-2.0", 1)
    assert "area1" not in manifest.read_text("utf-8"), "no source text in the manifest"


def test_a_package_under_another_licence_gives_nothing(config: RunConfig) -> None:
    _npm_package(config, {"src/area.ts": CODE}, licence="GPL-3.0")
    build_corpus(config, config.folder / "manifest.json", [], [], lambda _: None)
    assert list(read_corpus(config)) == []
    assert not (config.folder / "manifest.json").exists()


def test_a_package_that_is_not_what_the_manifest_says_is_refused(config: RunConfig) -> None:
    _npm_package(config, {"src/area.ts": CODE})
    manifest = config.folder / "manifest.json"
    wrong = Entry("@shapes/core", "npm", "1.2.0", "MIT", "f" * 64, 1, 1)
    write_manifest(manifest, Manifest({"@shapes/core": wrong}))
    with pytest.raises(CorpusError, match="checksum"):
        build_corpus(config, manifest, [], [], lambda _: None)
    with pytest.raises(CorpusError, match="`corpus` first"):
        list(read_corpus(config))


def test_a_newer_version_than_the_manifest_knows_takes_its_place(config: RunConfig) -> None:
    _npm_package(config, {"src/area.ts": CODE})
    manifest = config.folder / "manifest.json"
    older = Entry("@shapes/core", "npm", "1.1.0", "MIT", "f" * 64, 1, 1)
    write_manifest(manifest, Manifest({"@shapes/core": older}))
    build_corpus(config, manifest, [], [], lambda _: None)
    entry = read_manifest(manifest).packages["@shapes/core"]
    assert entry.version == "1.2.0" and entry.sha256 != older.sha256


def test_a_package_that_could_not_be_had_keeps_its_pin(config: RunConfig) -> None:
    _npm_package(config, {"src/area.ts": CODE})
    manifest = config.folder / "manifest.json"
    absent = Entry("shapes", "source", "3.0", "MIT", "f" * 64, 1, 1)
    left = Entry("gone", "source", "1.0", "MIT", "f" * 64, 1, 1)
    write_manifest(manifest, Manifest({"shapes": absent, "gone": left}))
    build_corpus(config, manifest, [], [], lambda _: None)
    packages = read_manifest(manifest).packages
    assert packages["shapes"] == absent and "@shapes/core" in packages
    assert "gone" not in packages, "the run file no longer names it"


def test_no_more_of_a_package_is_taken_than_the_run_file_says(config: RunConfig) -> None:
    texts = (CODE, CODE.replace("area", "volume").replace("width", "depth") * 2)
    _npm_package(config, {f"src/{n}.ts": text for n, text in enumerate(texts)})
    room = max(map(len, texts))
    corpus = dataclasses.replace(config.corpus, most_bytes=room)
    config = dataclasses.replace(config, corpus=corpus)
    build_corpus(config, config.folder / "manifest.json", [], [], lambda _: None)
    found = list(read_corpus(config))
    assert len(found) == 1 and found[0].text in texts


def test_what_a_package_was_cleaned_to_is_kept_until_it_or_the_run_file_changes(
    config: RunConfig, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.json"

    def text() -> str:
        build_corpus(config, manifest, [], [], lambda _: None)
        return "".join(document.text for document in read_corpus(config))

    _npm_package(config, {"src/area.ts": CODE})
    assert text() == CODE
    cleaned = config.folder / "cleaned" / "shapes-core.jsonl"
    marked = cleaned.read_text("utf-8").replace("width", "breadth")
    cleaned.write_text(marked, "utf-8")
    assert text() == CODE.replace("width", "breadth"), "not cleaned again"
    config = dataclasses.replace(config, seed=99)
    assert text() == CODE
    manifest.unlink()
    _npm_package(config, {"src/area.ts": CODE.replace("area", "volume")})
    assert text() == CODE.replace("area", "volume")


def test_folders_of_one_name_are_read_both_and_each_time(config: RunConfig, tmp_path: Path) -> None:
    folders = [tmp_path / name / "x" / "src" for name in ("one", "two")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "a.ts").write_text(CODE.replace("area", ("volume", "depth")[number] * 9))
    for word in ("volume", "weight"):
        (folders[0] / "a.ts").write_text(CODE.replace("area", word * 9).replace("width", word))
        build_corpus(config, tmp_path / "m.json", folders, [], lambda _: None)
        found = {document.package: document.text for document in read_corpus(config)}
        assert word * 9 in found["one-x-src"] and "depth" in found["two-x-src"]


def test_the_folder_one_stands_in_has_a_name(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.ts").write_text(CODE)
    monkeypatch.chdir(tmp_path / "own")
    build_corpus(config, tmp_path / "m.json", [Path(), Path()], [], lambda _: None)
    assert [document.package for document in read_corpus(config)] == ["own"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size as POSIX does")
def test_a_full_disk_is_named(config: RunConfig, tmp_path: Path) -> None:
    """Each package's text is written, and then the whole corpus does not fit."""
    folders = [tmp_path / name for name in ("one", "two")]
    for word, folder in zip(("area", "volume"), folders, strict=True):
        folder.mkdir()
        lines = (f"def {word}_{n}({word}, scale):\n    return {word} * {n}\n" for n in range(20))
        (folder / "a.py").write_text("".join(lines))
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "from pathlib import Path; from neuralforge_trainer.pretrain.config import load_config;"
        "from neuralforge_trainer.pretrain.corpus import build_corpus;"
        f"folders = [Path(name) for name in {[*map(str, folders)]}];"
        "build_corpus(load_config('toy'), Path('m.json'), folders, [], print)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "CorpusError" in done.stderr and "free some room" in done.stderr
    assert not (config.data_folder / "corpus.jsonl").exists()


def test_what_was_held_out_once_stays_out_without_the_clone(config: RunConfig) -> None:
    from neuralforge_trainer.pretrain.clean import digest

    held = Decontamination(config.corpus, [], frozenset([digest(CODE)]))
    assert held.is_near(CODE.replace("  ", "\t")), "white space does not matter"
    assert not held.is_near(CODE.replace("area", "volume"))
    assert held.is_named("lib/Zod/index.ts") and held.is_named("zod.ts")
    assert not held.is_named("lib/zodiac.ts")
    for package in ("zod", "node-zod", "@someone/zod"):
        assert held.is_named("src/index.ts", package)
    assert not held.is_named("src/index.ts", "zod-to-json-schema")


def test_a_version_that_is_gone_takes_neither_itself_nor_others_away(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt-get is a stand-in, since no archive here can be made to lose a version.

    As the real one does, it fetches nothing when one of the names is not to be had.
    """
    binaries = tmp_path / "bin"
    binaries.mkdir()
    fake = binaries / "apt-get"
    fake.write_text(
        """#!/bin/sh
        case "$*" in *update*) exit 0;; *=1.0*|*absent*) exit 100;; esac
        for word in "$@"; do case "$word" in -*|download) ;; *)
            touch "${word%%=*}_2.0_all.deb";; esac; done
        """
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}:{os.environ['PATH']}")
    monkeypatch.setattr("neuralforge_trainer.pretrain.fetch._sources", lambda suite: suite)
    packages = [
        Package("here", "package", "2.0"),
        Package("replaced", "package", "1.0"),
        Package("absent", "package"),
    ]
    assert fetch(config, packages) == ["absent"]
    assert [downloaded(config.data_folder, p) is not None for p in packages] == [True, True, False]


def test_a_machine_without_the_clients_is_told_what_to_do(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="npm is not installed"):
        fetch(config, [Package("@shapes/core", "npm")])
    with pytest.raises(CorpusError, match="--folder"):
        fetch(config, [Package("shapes", "source")])


def test_the_command_passes_arguments_and_status_through(config: RunConfig) -> None:
    script = "from neuralforge_server.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, "pretrain", "export", "toy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "run the stage `train` first" in done.stderr


def _npm_package(
    config: RunConfig, files: dict[str, str], licence: str = "MIT OR Apache-2.0"
) -> None:
    contents = {**files, "package.json": json.dumps({"license": licence})}
    path = config.data_folder / "downloads" / "shapes-core-1.2.0.tgz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in contents.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
