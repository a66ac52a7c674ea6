"""Parts of pretraining: licences, cleaning, near-duplicates, middles, rows, schedule, loss."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest

from git_maker import GitMaker
from neuralforge_server.session.scrub import scrub
from neuralforge_trainer.errors import CorpusError, PretrainConfigError
from neuralforge_trainer.pretrain import archives
from neuralforge_trainer.pretrain.archives import read_files
from neuralforge_trainer.pretrain.card import decays
from neuralforge_trainer.pretrain.clean import Document, clean
from neuralforge_trainer.pretrain.config import config_path, load_config
from neuralforge_trainer.pretrain.licences import read_expression, read_licence
from neuralforge_trainer.pretrain.manifest import (
    Entry,
    Manifest,
    check_sum,
    read_manifest,
    write_manifest,
)
from neuralforge_trainer.pretrain.middles import draw_middle
from neuralforge_trainer.pretrain.schedule import branch, whole_run
from neuralforge_trainer.pretrain.state import Point
from neuralforge_trainer.samples.near import NearDuplicates
from neuralforge_trainer.samples.syntax import Tree

PYTHON = frozenset(["python"])
FUNCTION = '''def area(width, height):
    """How much room a rectangle takes."""
    if width < 0 or height < 0:
        raise ValueError("sides are never negative")
    return width * height


def largest(rectangles):
    best = None
    for rectangle in rectangles:
        if best is None or area(*rectangle) > area(*best):
            best = rectangle
    return best
'''


def everything(_path: str) -> bool:
    """Of an archive, all that is in it."""
    return True


DEP5 = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020 A
License: BSD-3-clause-of-a-kind

Files: src/parts/copyleft.py
Copyright: 2020 B
License: GPL-3+

Files: debian/*
Copyright: 2021 C
License: GPL-2+
"""


def test_a_file_under_another_licence_stays_out_of_a_permissive_package() -> None:
    licence = read_licence(DEP5)
    assert licence.permissive
    assert licence.allows("usr/lib/python3/dist-packages/parts/free.py")
    assert not licence.allows("usr/lib/python3/dist-packages/parts/copyleft.py")


@pytest.mark.parametrize(
    ("pattern", "out", "stays"),
    [
        ("python/foo/x.py", "foo/x.py", "bar/x.py"),
        ("a/b/c/foo/*", "foo/deep/x.py", "food/x.py"),
        ("./src/x.py", "x.py", "y.py"),
        ("src/*", "x.py", None),
        ("x.py", "foo/x.py", "foo/y.py"),
        ("foo/*/*", "foo/bar/x.py", "bar/bar/x.py"),
        ("*.py", "foo/x.py", "foo/x.js"),
    ],
)
def test_a_pattern_holds_wherever_its_first_folders_were_installed(
    pattern: str, out: str, stays: str | None
) -> None:
    licence = read_licence(DEP5.replace("src/parts/copyleft.py", pattern))
    installed = "usr/lib/python3/dist-packages/"
    assert not licence.allows(installed + out)
    assert stays is None or licence.allows(installed + stays)


GRANT = " Permission is hereby granted, free of charge, to any person\n"
REFUSAL = " Nobody may copy this.\n"


def dep5(*stanzas: str) -> str:
    return "\n".join(["Format: 1.0\n", *stanzas])


def test_a_licence_stated_with_the_files_is_not_that_of_its_name_elsewhere() -> None:
    every, part = "Files: *\nLicense: other\n", "Files: a/part.py\nLicense: other\n"
    alone = "License: other\n"
    assert not read_licence(dep5(every + REFUSAL, part + GRANT)).permissive
    assert not read_licence(dep5(every + REFUSAL, alone + GRANT)).permissive
    licence = read_licence(dep5(every + GRANT, part + REFUSAL))
    assert licence.allows("a/whole.py") and not licence.allows("a/part.py")
    assert read_licence(dep5(every, alone + GRANT)).permissive
    assert not read_licence(dep5(every, part + GRANT)).permissive, "stated of another file"
    twice = dep5(every, alone + GRANT, f"{alone} as under the GPL\n")
    assert not read_licence(twice).permissive


def test_files_without_a_licence_stay_out() -> None:
    licence = read_licence(dep5(f"Files: *\nLicense: other\n{GRANT}", "Files: a/x.py\n"))
    assert licence.allows("a/y.py") and not licence.allows("a/x.py")


@pytest.mark.parametrize(
    ("expression", "permissive"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0", True),
        ("MIT AND GPL-3.0", False),
        ("LGPL-2.1+", False),
        ("(Apache-2.0 OR MIT)", True),
        ("(MIT OR CC0-1.0) AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND (Zlib OR LGPL-2.1)", True),
        ("MIT OR GPL-2.0, and GPL-3.0-only", False),
        ("Artistic or GPL-1+, or Expat", True),
        ("GPL-2+ or Expat", True),
        ("Expat & GPL-2+", False),
        ("MIT + GPL-3", False),
        ("curl-and-GPL-2", False),
        ("public-domain or Expat", True),
        ("Apache-2.0 with Commons-Clause", False),
        ("BSL-1.1", False),
        ("BSL-1.0", True),
        ("MIT-NC", False),
        ("BSD-Protection", False),
        ("MIT OR ", True),
        ("MIT) AND GPL-3.0-only", False),
        ("BSD-3-Clause-No-Military-License", False),
        ("SEE LICENSE IN LICENSE.md", False),
        ("", False),
    ],
)
def test_expressions_of_licences(expression: str, permissive: bool) -> None:
    assert read_expression(expression).permissive is permissive


def test_prose_that_mentions_copyleft_is_refused() -> None:
    grant = "Permission is hereby granted, free of charge, to any person\n"
    assert read_licence(grant).permissive
    assert not read_licence(grant + "except parts under the GNU General Public License").permissive


def test_cleaning_keeps_code_and_drops_what_nobody_typed() -> None:
    def outcome(path: str, text: str) -> Document | None:
        return clean("pack", path, text.encode(), PYTHON)

    kept = outcome("usr/lib/python3/dist-packages/pack/shapes.py", FUNCTION)
    assert kept is not None and kept.path == "pack/shapes.py" and kept.text == FUNCTION
    assert outcome("pack/_vendor/shapes.py", FUNCTION) is None
    assert outcome("pack/testdata/shapes.py", FUNCTION) is None
    assert outcome("pack/shapes.js", FUNCTION) is None
    assert outcome("pack/shapes.py", "# Generated by a tool; do not edit\n" + FUNCTION) is None
    table = "TABLE = [\n" + "    0x1f, 0x2e, 0x3d, 0x4c,\n" * 40 + "]\n"
    assert outcome("pack/table.py", table) is None
    assert clean("pack", "pack/shapes.py", b"\xff\xfe" + FUNCTION.encode(), PYTHON) is None


@pytest.mark.parametrize(
    "line",
    [
        'KEY = "AKIA' + 'QYLPMN5HHHFPZAM2"',
        'KEY = "ASIA' + 'QYLPMN5HHHFPZAM2"',
        'pay("sk_live_' + 'aB3dE5gH7jK9mN1pQ3sT5vX7")',
        'bot = "110201543:' + 'AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"',
        'login = "glpat-' + 'aB3dE5gH7jK9mN1pQ3sT"',
        'hook = "https://hooks.slack.com/services/'
        + 'T0A1B2C3D/B0A1B2C3D/aB3dE5gH7jK9mN1pQ3sT5vX7"',
        'url = "postgres://admin:' + 'hunter2w0rd@db.example.com/x"',
        'password = "' + 'correct-horse-battery"',
        'digest = "' + '3f2a9c81d4e7b065"',
        'blob = "' + 'aB3dE5gH7jK9mN1pQ3sT5vX7zC9wY2rL4fU6iO8"',
    ],
)
def test_cleaning_takes_secrets_out(line: str) -> None:
    assert scrub(line) != line, "a detector objects to it"
    document = clean("pack", "a.py", f"{FUNCTION}{line}\n".encode(), PYTHON)
    assert document is not None
    assert line not in document.text and FUNCTION in document.text
    assert document.text == scrub(document.text)


def test_a_private_key_goes_with_its_lines() -> None:
    key = f"-----BEGIN RSA PRIVATE {'KEY'}-----\nMIIEow\n-----END RSA PRIVATE {'KEY'}-----"
    document = clean("pack", "a.py", f'{FUNCTION}K = """{key}"""\n'.encode(), PYTHON)
    assert document is not None and "MIIEow" not in document.text


def test_a_renamed_copy_is_a_near_duplicate_and_other_code_is_not() -> None:
    body = "".join(FUNCTION.replace("area", f"area_{i}").replace("best", f"b{i}") for i in range(9))
    index = NearDuplicates(0.7)
    assert index.add(body)
    assert index.has(body.replace("area_3", "surface")) and not index.add(body)
    other = Path(__file__).read_text("utf-8")
    assert index.add(other)


def test_packages_are_read_without_unpacking(tmp_path: Path) -> None:
    content = FUNCTION.encode()
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as archive:
        info = tarfile.TarInfo("./usr/lib/a.py")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("./usr/lib/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    package = tmp_path / "a_1_all.deb"
    package.write_bytes(
        b"!<arch>\n" + _ar_member(b"debian-binary", b"2.0\n")
        + _ar_member(b"data.tar.xz", inner.getvalue())
    )  # fmt: skip
    assert list(read_files(package, everything)) == [("usr/lib/a.py", content)]
    assert list(read_files(package, lambda path: path.endswith(".ts"))) == []
    whole = package.read_bytes()
    for broken in (whole[:200], whole.replace(whole[-60:-40], bytes(20))):
        package.write_bytes(broken)
        with pytest.raises(CorpusError, match="fetch again"):
            list(read_files(package, everything))


def test_a_bomb_is_no_more_than_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_TOGETHER", 5_000_000)
    bomb = tmp_path / "bomb.tgz"
    with tarfile.open(bomb, mode="w:gz") as archive:
        for number in range(8):
            info = tarfile.TarInfo(f"package/{number}.ts")
            info.size = 900_000
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    assert bomb.stat().st_size < 20_000
    with pytest.raises(CorpusError, match="leave it out"):
        list(read_files(bomb, everything))


def test_of_a_folder_nothing_ignored_or_secret_is_read(tmp_path: Path) -> None:
    made = GitMaker(tmp_path / "own")
    names = ("a.py", "private/b.py", "c.log.py", ".env.py", "deep/d.py")
    made.write(dict.fromkeys(names, "x = 1\n"))
    made.write({".gitignore": "private/\n*.log.py\n"})
    found = [path for path, _ in read_files(made.root, lambda path: path.endswith(".py"))]
    assert found == ["a.py", "deep/d.py"]


def test_the_manifest_comes_back_and_refuses_another_file(tmp_path: Path) -> None:
    file = tmp_path / "pack.deb"
    file.write_bytes(b"content")
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    entry = Entry("pack", "package", "1.0", "MIT", digest, 1, 7)
    manifest = Manifest({"pack": entry}, frozenset(["a1b2"]))
    write_manifest(tmp_path / "manifest.json", manifest)
    assert read_manifest(tmp_path / "manifest.json") == manifest
    assert read_manifest(tmp_path / "none.json") == Manifest()
    check_sum(file, entry)
    file.write_bytes(b"other")
    with pytest.raises(CorpusError, match="checksum"):
        check_sum(file, entry)


def test_the_card_knows_when_the_rate_fell() -> None:
    scales = [0.5, 1.0, 1.0, 0.6, 0.2, 1.0, 1.0, 0.9, 0.1]
    points = [Point(10 * n, n, 2.0, scale) for n, scale in enumerate(scales)]
    assert decays(points) == [(30, 40), (70, 80)]
    assert decays(points[:3]) == []


def test_middles_lie_in_the_text_and_cover_every_kind() -> None:
    tree = Tree(FUNCTION, "python")
    draws = random.Random(3)
    middles = set()
    for _ in range(5000):
        start, end = draw_middle(FUNCTION, tree, draws.randrange(len(FUNCTION)), draws)
        assert 0 <= start <= end <= len(FUNCTION)
        middles.add(FUNCTION[start:end])
    assert "" in middles, "nothing, at a line's end"
    assert "return width * height" in middles, "a line"
    assert any(middle.count("\n") > 1 for middle in middles), "several lines"
    assert "area(*rectangle)" in middles, "a syntax node"


def test_a_node_is_found_by_characters_behind_wide_ones() -> None:
    text = 'NAME = "日本語"\nvalue = compute(first, second)\n'
    span = Tree(text, "python").node_at(text.index("first"), 12, 40)
    assert span is not None and text[slice(*span)] == "(first, second)"


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    schedule = whole_run(100, warmup=10, decay_share=0.2)
    assert schedule.scale(0) == pytest.approx(0.1)
    assert schedule.scale(9) == schedule.scale(79) == 1.0
    falling = [schedule.scale(step) for step in range(80, 100)]
    assert falling == sorted(falling, reverse=True) and schedule.scale(100) == 0.0
    assert branch(50, 10, 5).scale(49) == 1.0 and branch(50, 10, 5).end == 55


@pytest.mark.parametrize(
    ("line", "named"),
    [("nmae: x", "nmae"), ("seed: many", "seed"), ("train: {tokens: 1, rate: 2}", "rate")],
)
def test_a_wrong_run_file_is_refused_by_name(tmp_path: Path, line: str, named: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(line, "utf-8")
    with pytest.raises(PretrainConfigError, match=named):
        load_config(str(file))


def test_a_run_that_extends_another_shares_its_data_and_keeps_what_it_leaves_out() -> None:
    small, embedded = load_config("small"), load_config("embedded")
    assert small.data_folder == embedded.folder != small.folder
    assert small.corpus == embedded.corpus and small.pack == embedded.pack
    assert small.model.vocabulary == embedded.model.vocabulary
    assert small.model.layers > embedded.model.layers


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("model: {vocabulary: 65536}", r"model\.vocabulary: 65536"),
        ("model: {width: 63}", r"model\.width: 63 is no multiple of heads \(2\)"),
        ("model: {heads: 4, kv_heads: 3}", r"model\.heads: 4 is no multiple of kv_heads \(3\)"),
        ("model: {heads: 0}", r"model\.heads: 0 is too few"),
        ("model: {context: 200}", r"pack\.lengths: 256 .*model\.context"),
        ("pack: {lengths: {'64': 1.0}}", r"pack\.lengths: '64'"),
    ],
)
def test_values_that_do_not_go_together_are_refused_by_name(
    tmp_path: Path, lines: str, named: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"extends: toy\nname: bad\n{lines}\n", "utf-8")
    with pytest.raises(PretrainConfigError, match=named):
        load_config(str(file))


def test_a_mapping_that_is_a_value_replaces_the_extended_one_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "extends: toy\nname: other\npack: {lengths: {32: 1.0}}\ncorpus: {mix: {go: 1.0}}\n", "utf-8"
    )
    config, toy = load_config(str(file)), load_config("toy")
    assert config.pack.lengths == {32: 1.0} and config.corpus.mix == {"go": 1.0}
    assert config.pack.shard_tokens == toy.pack.shard_tokens, "a section is joined"
    assert config.corpus.validation == toy.corpus.validation


def test_a_run_that_extends_one_that_extends_another_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("extends: small\nname: third\n", "utf-8")
    with pytest.raises(PretrainConfigError, match="extends small, which extends embedded"):
        load_config(str(file))


def test_every_package_of_the_embedded_base_has_a_licence_and_a_checksum() -> None:
    manifest = read_manifest(config_path("embedded").with_name("embedded.manifest.json"))
    named = {name for names in load_config("embedded").corpus.packages.values() for name in names}
    assert len(manifest.packages) > 500 and set(manifest.packages) <= named
    for entry in manifest.packages.values():
        assert len(entry.sha256) == 64 and entry.version and entry.files > 0, entry
        assert entry.licence and not entry.licence.startswith("refused"), entry


@pytest.mark.parametrize("name", ["embedded", "toy", "small"])
def test_the_run_files_that_ship_are_right(name: str) -> None:
    config = load_config(name)
    assert config.name == name and config.model.width % config.model.heads == 0
    assert sum(config.corpus.mix.values()) == pytest.approx(1.0)
    assert sum(config.pack.lengths.values()) == pytest.approx(1.0)


def _ar_member(name: bytes, content: bytes) -> bytes:
    header = name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8)
    return header + str(len(content)).encode().ljust(10) + b"`\n" + content + b"\n" * (
        len(content) % 2
    )  # fmt: skip
