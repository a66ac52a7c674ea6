"""The writer and its readers: replacing, forgetting, kills, damage, several processes."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.fim import _PRE_TOKEN
from neuralforge_server.memory import index as index_module
from neuralforge_server.memory.evidence import OwnPlace, SegmentPlaces
from neuralforge_server.memory.index import MANIFEST, Entry, MemoryIndex, read_manifest
from neuralforge_server.memory.text import blocks, chunks
from neuralforge_server.memory.writer import MemoryWriter

NOWHERE = OwnPlace((-1,), lambda token: False)
"""No place is the cursor's own."""


def tokenize(text: str) -> list[int]:
    return list(text.encode())


def followers(folder: Path, context: str) -> Counter[str]:
    """What readers find after `context` in full length, over all repositories below `folder`."""
    found: Counter[str] = Counter()
    for repository in MemoryIndex(folder).refresh():
        for segment, alive in repository.segments:
            for level in SegmentPlaces(segment, alive, tokenize(context)).levels(NOWHERE):
                if level.length == len(context):
                    found.update(map(chr, level.tokens.tolist()))
    return found


def brute_force(texts: dict[str, str], context: str) -> Counter[str]:
    size = len(context)
    return Counter(
        text[end]
        for text in texts.values()
        for end in range(size, len(text))
        if text[end - size : end] == context
    )


WORDS = st.lists(st.sampled_from(["a", "b", "ab\n", "\n"]), max_size=8).map("".join)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("xyz"), WORDS),
        st.tuples(st.just("remove"), st.sampled_from("xyz"), st.just("")),
        st.tuples(st.sampled_from(["commit", "open", "forget"]), st.just(""), st.just("")),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_after_any_history_lookups_are_those_of_the_documents_that_stand(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("memory")
    writer = MemoryWriter(folder / "repository", tokenize)
    pending: dict[str, str | None] = {}
    texts: dict[str, str] = {}
    for what, path, text in steps:
        if what == "put":
            writer.put(path, text)
            pending[path] = text
        elif what == "remove":
            writer.remove(path)
            pending[path] = None
        elif what == "forget":
            writer.forget()
            pending, texts = {}, {}
        else:
            writer.commit()
            texts = {k: v for k, v in {**texts, **pending}.items() if v is not None}
            pending = {}
            if what == "open":
                writer = MemoryWriter(folder / "repository", tokenize)
        assert writer.paths() == {k for k, v in {**texts, **pending}.items() if v is not None}
        for context in ("a", "b", "ab", "\n"):
            assert followers(folder, context) == brute_force(texts, context)


def test_a_document_replaced_in_a_large_segment_no_longer_counts(tmp_path: Path) -> None:
    writer = MemoryWriter(tmp_path / "r", tokenize)
    for number in range(30):
        writer.put(f"{number}", "many other words\n")
    writer.put("a", "old=1")
    writer.commit()
    writer.put("a", "new=2")
    writer.commit()
    entries = read_manifest(tmp_path / "r")
    assert [len(entry.dead) for entry in entries] == [1, 0]  # too small a part to write it anew
    assert followers(tmp_path, "ld") == Counter()
    assert followers(tmp_path, "=") == Counter("2")


def test_putting_the_same_text_again_writes_nothing(tmp_path: Path) -> None:
    writer = MemoryWriter(tmp_path, tokenize)
    writer.put("a.py", "some text")
    writer.commit()
    before = sorted(path.name for path in tmp_path.iterdir())
    again = MemoryWriter(tmp_path, tokenize)
    assert again.has("a.py", "some text") and not again.has("a.py", "another")
    again.put("a.py", "some text")
    again.commit()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_many_commits_leave_few_segments_and_no_litter(tmp_path: Path) -> None:
    writer = MemoryWriter(tmp_path, tokenize)
    for number in range(60):
        writer.put(f"{number}.py", f"text number {number}\n")
        writer.commit()
    assert len(read_manifest(tmp_path)) <= 4
    assert len(list(tmp_path.iterdir())) == len(read_manifest(tmp_path)) + 1
    assert len(writer.paths()) == 60


def test_forgetting_leaves_no_byte_of_the_repository_and_others_alone(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        writer = MemoryWriter(tmp_path / name, tokenize)
        writer.put("a.py", f"secret of {name}")
        writer.commit()
    index = MemoryIndex(tmp_path)
    opened = index.refresh()
    MemoryWriter(tmp_path / "mine", tokenize).forget()
    assert not (tmp_path / "mine").exists()
    assert [repository.name for repository in index.refresh()] == ["other"]
    held = next(repository for repository in opened if repository.name == "mine").segments[0][0]
    assert held.longest(held.key(tokenize("secret")))[1] == 6  # a lookup under way goes on


def test_a_reader_sees_a_commit_at_its_next_refresh(tmp_path: Path) -> None:
    index = MemoryIndex(tmp_path)
    assert index.refresh() == []
    writer = MemoryWriter(tmp_path / "r", tokenize)
    writer.put("a", "text")
    writer.commit()
    (first,) = index.refresh()
    assert index.refresh()[0] is first
    writer.put("b", "text")
    writer.commit()
    assert index.refresh()[0] is not first


@pytest.mark.parametrize("damage", ["cut", "altered", "gone", "manifest"])
def test_damaged_files_are_left_out_and_their_documents_asked_for_again(
    tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "r"
    writer = MemoryWriter(folder, tokenize)
    writer.put("large.py", "large text " * 40)
    writer.commit()
    writer.put("small.py", "small")
    writer.commit()
    victim = folder / read_manifest(folder)[0].file
    data = victim.read_bytes()
    if damage == "cut":
        victim.write_bytes(data[: len(data) // 2])
    elif damage == "altered":
        victim.write_bytes(data[:-40] + b"\x00" * 40)
    elif damage == "gone":
        victim.unlink()
    else:
        (folder / MANIFEST).write_text('{"version": 1, "segments": [{"dead": "no"}]}')
    followers(tmp_path, "text")  # raises nothing
    mended = MemoryWriter(folder, tokenize)
    assert not mended.has("large.py", "large text " * 40)
    assert mended.has("small.py", "small") is (damage != "manifest")
    mended.put("large.py", "large text " * 40)
    mended.put("small.py", "small")
    mended.commit()
    assert followers(tmp_path, "larg") == Counter({"e": 40})
    assert followers(tmp_path, "smal") == Counter({"l": 1})


KILLED = """
import os, pathlib, sys
from neuralforge_server.memory.writer import MemoryWriter
left = int(sys.argv[2])
replace, unlink = os.replace, pathlib.Path.unlink
def counted(call):
    def kill_or_call(*given, **named):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return call(*given, **named)
    return kill_or_call
os.replace, pathlib.Path.unlink = counted(replace), counted(unlink)
writer = MemoryWriter(pathlib.Path(sys.argv[1]), lambda text: list(text.encode()))
writer.put("a", "new text of a")
writer.put("c", "c is new")
writer.remove("b")
writer.commit()
"""


@pytest.mark.parametrize("step", range(8))
def test_a_kill_at_any_rename_or_deletion_leaves_the_old_or_the_new(
    tmp_path: Path, step: int
) -> None:
    folder = tmp_path / "r"
    old = {"a": "old text of a", "b": "b stands"}
    new = {"a": "new text of a", "c": "c is new"}
    writer = MemoryWriter(folder, tokenize)
    for path, text in old.items():
        writer.put(path, text)
    writer.commit()
    ended = subprocess.run([sys.executable, "-c", KILLED, folder, str(step)], check=False)
    assert ended.returncode == 9 or step >= 6  # renames of two segments and two manifests, sweeps
    found = [{c: followers(tmp_path, c) for c in ("text", " ", "s")}]
    assert found[0] in [{c: brute_force(t, c) for c in found[0]} for t in (old, new)]
    again = MemoryWriter(folder, tokenize)
    for path, text in new.items():
        again.put(path, text)
    again.remove("b")
    again.put("d", "d")
    again.commit()
    assert followers(tmp_path, " ") == brute_force({**new, "d": "d"}, " ")
    assert len(list(folder.iterdir())) == len(read_manifest(folder)) + 1


WRITING = """
import pathlib, sys
from neuralforge_server.memory.writer import MemoryWriter
writer = MemoryWriter(pathlib.Path(sys.argv[1]), lambda text: list(text.encode()))
for number in range(40):
    for path in "abcd":
        writer.put(path, f"{number:03}" * 20)
    writer.commit()
print("done", flush=True)
"""


def test_a_reader_always_sees_one_whole_commit_of_another_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITING, tmp_path / "r"]
    index = MemoryIndex(tmp_path)
    seen = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        while child.poll() is None:
            texts = [
                bytes(segment.document(number).tokens.tolist()).decode()
                for repository in index.refresh()
                for segment, alive in repository.segments
                for number in range(len(segment.documents))
                if alive is None or alive[number]
            ]
            assert len(texts) in (0, 4) and len(set(texts)) <= 1
            seen.update(texts)
        assert child.stdout is not None and child.stdout.read().strip() == b"done"
    assert followers(tmp_path, "3903") == Counter({"9": 4 * 19})
    assert seen


def test_a_reader_overtaken_by_a_merge_reads_the_manifest_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = MemoryWriter(tmp_path / "r", tokenize)
    writer.put("a", "text")
    writer.commit()

    def read_and_merge(folder: Path) -> list[Entry]:
        monkeypatch.setattr(index_module, "read_manifest", read_manifest)
        entries = read_manifest(folder)
        writer.put("a", "next")
        writer.commit()
        return entries

    monkeypatch.setattr(index_module, "read_manifest", read_and_merge)
    assert followers(tmp_path, "ne") == Counter("x")


def test_two_writers_of_one_repository_do_not_undo_each_other(tmp_path: Path) -> None:
    one, two = (MemoryWriter(tmp_path, tokenize) for _ in range(2))
    one.put("a", "first")
    one.commit()
    two.put("b", "second")
    two.commit()
    one.put("a", "third")
    one.commit()
    assert MemoryWriter(tmp_path, tokenize).paths() == {"a", "b"}
    assert MemoryWriter(tmp_path, tokenize).has("a", "third")


def test_a_disk_that_refuses_leaves_what_was_put_pending(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    writer = MemoryWriter(tmp_path / "file" / "r", tokenize)
    writer.put("a", "text")
    with pytest.raises(HomeError):
        writer.commit()
    assert writer.paths() == {"a"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "_b", " ", "\n", "\r\n", "\t", "):", "\f", "7"])))
def test_texts_are_cut_where_no_token_spans_the_cut(parts: list[str]) -> None:
    text = "".join(parts)

    def words(piece: str) -> list[str]:
        return [match.group() for match in _PRE_TOKEN.finditer(piece)]

    for pieces in (blocks(text), list(chunks(text, size=3))):
        assert "".join(pieces) == text
        assert [word for piece in pieces for word in words(piece)] == words(text)


def test_a_long_text_is_tokenised_in_pieces(tmp_path: Path) -> None:
    lengths = []

    def counting(text: str) -> list[int]:
        lengths.append(len(text))
        return tokenize(text)

    draws = random.Random(0)
    writer = MemoryWriter(tmp_path, counting)
    writer.put("a", "".join(draws.choice("ab \n") for _ in range(300_000)))
    assert sum(lengths) == 300_000 and len(lengths) > 3
