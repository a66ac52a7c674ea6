"""The indexer: what a walk finds, what is read again, what a bad workspace does, its process."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from neuralforge_adapters.base import Base
from neuralforge_adapters.home import Home
from neuralforge_server.context.index import ContextIndex, Stamp
from neuralforge_server.context.places import context_file, damage_mark, forget, memory_folder
from neuralforge_server.context.search import IndexReader
from neuralforge_server.indexer.keeper import FastMemory, Keeper
from neuralforge_server.indexer.process import Indexer
from neuralforge_server.indexer.protocol import IndexerOrder, IndexerProgress
from neuralforge_server.indexer.walk import FoundFile, Walker
from neuralforge_server.indexer.watching import ANYTHING, changes
from neuralforge_server.indexer.work import Work
from neuralforge_server.memory.writer import MemoryWriter
from neuralforge_server.session.exclude import Exclusions

TIMEOUT = 120.0
"""Seconds; a process of idle priority may wait long for a busy machine."""

Maker = Callable[[dict[str, str | bytes]], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    return folder


@pytest.fixture
def make(root: Path) -> Maker:
    def write(files: dict[str, str | bytes]) -> None:
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def walked(root: Path, exclude: Exclusions | None = None, **caps: int) -> list[str]:
    return sorted(found.path for found in Walker(root, exclude or Exclusions(), **caps).walk())


def tokens(text: str) -> list[int]:
    return [ord(character) % 1_000 for character in text]


# --- the walk


def test_a_walk_finds_code_kept_by_hand_and_nothing_else(root: Path, make: Maker) -> None:
    make(
        {
            "a.py": "x = 1\n",
            "deep/er/b.ts": "let x\n",
            "notes.md": "",
            "package-lock.json": "{}",
            "node_modules/m/c.js": "x",
            "vendor/d.go": "x",
            "lib.min.js": "x",
            ".git/hooks/e.py": "x",
            ".ssh/f.py": "x",
            "big.py": "x = 1\n" * 200_000,
        }
    )
    assert walked(root) == ["a.py", "deep/er/b.ts"]


def test_files_that_git_or_the_user_excludes_are_not_found(root: Path, make: Maker) -> None:
    make(
        {
            ".git/HEAD": "ref: refs/heads/main\n",
            ".gitignore": "build/\n*.gen.py\n",
            "build/a.py": "x",
            "sub/.gitignore": "*\n!kept.py\n",
            "sub/kept.py": "x",
            "sub/other.py": "x",
            "sub/below/kept.py": "x",
            "private/b.py": "x",
            "c.py": "x",
        }
    )
    assert walked(root, Exclusions(["private/"])) == ["c.py", "sub/kept.py"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_are_neither_followed_out_nor_in_loops(
    root: Path, make: Maker, tmp_path: Path
) -> None:
    make({"a.py": "x", "sub/b.py": "x"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.py").write_text("x")
    (root / "sub" / "loop").symlink_to(root)
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "link.py").symlink_to(tmp_path / "outside" / "secret.py")
    assert walked(root) == ["a.py", "sub/b.py"]
    assert not Walker(root, Exclusions()).is_inside("out/secret.py")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_passed_over(root: Path, make: Maker) -> None:
    make({"a.py": "x"})
    (root / os.fsdecode(b"\xff\xfe.py")).write_text("x")
    assert walked(root) == ["a.py"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are another matter there")
def test_pipes_and_folders_that_cannot_be_read_are_passed_over(root: Path, make: Maker) -> None:
    make({"a.py": "x", "closed/b.py": "x"})
    os.mkfifo(root / "pipe.py")
    (root / "closed").chmod(0)
    found = walked(root)
    (root / "closed").chmod(0o700)
    assert "pipe.py" not in found
    assert found[0] == "a.py"


def test_a_folder_that_vanishes_during_the_walk_is_passed_over(root: Path, make: Maker) -> None:
    make({"a.py": "x", "b/c.py": "x"})
    walker = Walker(root, Exclusions()).walk()
    assert next(walker).path == "a.py"
    (root / "b" / "c.py").unlink()
    (root / "b").rmdir()
    assert list(walker) == []


def test_a_workspace_of_many_files_is_capped_nearest_first(root: Path) -> None:
    for folder in range(40):
        (root / f"d{folder}" / "deep").mkdir(parents=True)
        for number in range(250):
            (root / f"d{folder}" / f"f{number}.py").write_bytes(b"x")
    (root / "d0" / "deep" / "far.py").write_bytes(b"x")
    walker = Walker(root, Exclusions(), most_files=9_000)
    found = [file.path for file in walker.walk()]
    assert len(found) == 9_000
    assert walker.capped
    assert "d0/deep/far.py" not in found
    assert len(list(Walker(root, Exclusions(), most_entries=500).walk())) < 500


# --- keeping


class Kept:
    """A keeper with everything that it writes."""

    def __init__(self, root: Path, home: Home, exclude: Exclusions | None = None) -> None:
        self.index = ContextIndex(context_file(home, root))
        self.writer = MemoryWriter(memory_folder(home, "d" * 64, root), tokens)
        self.counts: list[int] = []
        memory = FastMemory(self.writer, "d" * 16, self.index)
        walker = Walker(root, exclude or Exclusions())
        self.keeper = Keeper(walker, self.index, memory, self.counts.append)

    def paths(self) -> set[str]:
        assert self.writer.paths() == set(self.index.known())
        return set(self.index.known())


@pytest.fixture
def kept(root: Path, home: Home) -> Iterator[Kept]:
    kept = Kept(root, home)
    yield kept
    kept.index.close()


def test_a_scan_brings_both_indexes_up_to_date(root: Path, make: Maker, kept: Kept) -> None:
    make({"a.py": "alpha = 1\n", "b.py": "beta = 1\n", "bad.py": b"\xff\xfe", "bin.py": b"a\0"})
    kept.keeper.scan()
    assert kept.paths() == {"a.py", "b.py"}
    (root / "a.py").unlink()
    make({"b.py": "gamma = 12\n", "bad.py": "delta = 1\n"})
    kept.keeper.scan()
    assert kept.paths() == {"b.py", "bad.py"}
    assert kept.writer.has("b.py", "gamma = 12\n")
    assert kept.counts[-1] == 2


def test_a_file_is_read_again_only_when_its_stamp_differs(
    root: Path, make: Maker, kept: Kept
) -> None:
    make({"a.py": "alpha = 1\n"})
    kept.keeper.scan()
    stamp = (root / "a.py").stat()
    make({"a.py": "omega = 1\n"})
    os.utime(root / "a.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    kept.keeper.scan()
    assert kept.writer.has("a.py", "alpha = 1\n")
    os.utime(root / "a.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10**9))
    kept.keeper.scan()
    assert kept.writer.has("a.py", "omega = 1\n")


def test_a_touched_file_is_not_written_again(root: Path, make: Maker, kept: Kept) -> None:
    make({"a.py": "alpha = 1\n"})
    kept.keeper.scan()
    before = kept.index.known()["a.py"]
    os.utime(root / "a.py", ns=(1, 1))
    kept.keeper.scan()
    after = kept.index.known()["a.py"]
    assert after.stamp == Stamp(1, 10)
    assert after.digest == before.digest


def test_a_restart_reads_nothing_and_a_new_base_everything(
    root: Path, make: Maker, home: Home, kept: Kept
) -> None:
    make({"a.py": "alpha = 1\n"})
    kept.keeper.scan()
    kept.index.close()
    again = Kept(root, home)
    (root / "a.py").chmod(0)
    again.keeper.scan()
    (root / "a.py").chmod(0o600)
    assert again.paths() == {"a.py"}
    other = MemoryWriter(memory_folder(home, "e" * 64, root), tokens)
    memory = FastMemory(other, "e" * 16, again.index)
    Keeper(Walker(root, Exclusions()), again.index, memory, lambda _: None).scan()
    assert other.paths() == {"a.py"}
    again.index.close()


def test_a_base_that_missed_changes_catches_up(
    root: Path, make: Maker, home: Home, kept: Kept
) -> None:
    make({"a.py": "alpha = 1\n", "gone.py": "x = 1\n"})
    kept.keeper.scan()
    without = Keeper(Walker(root, Exclusions()), kept.index, None, lambda _: None)
    make({"a.py": "omega = 22\n"})
    (root / "gone.py").unlink()
    without.scan()
    again = MemoryWriter(memory_folder(home, "d" * 64, root), tokens)
    memory = FastMemory(again, "d" * 16, kept.index)
    Keeper(Walker(root, Exclusions()), kept.index, memory, lambda _: None).scan()
    assert again.has("a.py", "omega = 22\n")
    assert again.paths() == {"a.py"}


def test_changes_are_followed_file_by_file_and_folder_by_folder(
    root: Path, make: Maker, kept: Kept
) -> None:
    make({"a.py": "alpha = 1\n", "old/b.py": "beta = 1\n", "old/deep/c.py": "x = 1\n"})
    kept.keeper.scan()
    (root / "old").rename(root / "new")
    (root / "a.py").unlink()
    kept.keeper.follow({"old", "new", "a.py", "notes.md"})
    assert kept.paths() == {"new/b.py", "new/deep/c.py"}


def test_secrets_reach_neither_index(root: Path, make: Maker, kept: Kept) -> None:
    make({"a.py": 'alpha = 1\npassword = "hunter2horsestaple"\nomega = 2\n'})
    kept.keeper.scan()
    assert kept.writer.has("a.py", "alpha = 1\n\nomega = 2\n")
    kept.index.commit()
    text = IndexReader(kept.index.file).text("a.py")
    assert text == "alpha = 1\n\nomega = 2\n"


def test_a_new_gitignore_takes_files_out(root: Path, make: Maker, kept: Kept) -> None:
    make({".git/HEAD": "ref: refs/heads/main\n", "a.py": "x = 1\n", "b.py": "y = 1\n"})
    kept.keeper.scan()
    make({".gitignore": "b.py\n"})
    kept.keeper.follow({".gitignore"})
    assert kept.paths() == {"a.py"}


def test_a_file_that_vanishes_before_it_is_read_is_dropped(
    root: Path, make: Maker, home: Home
) -> None:
    make({"a.py": "x = 1\n", "b.py": "y = 1\n"})
    vanished = Kept(root, home)

    class Vanishing(Walker):
        def look(self, path: str) -> FoundFile | None:
            found = super().look(path)
            (self.root / "a.py").unlink(missing_ok=True)
            return found

    walker = Vanishing(root, Exclusions())
    Keeper(walker, vanished.index, None, lambda _: None).scan()
    assert set(vanished.index.known()) == {"b.py"}
    vanished.index.close()


def test_a_workspace_that_is_unmounted_loses_nothing(root: Path, make: Maker, kept: Kept) -> None:
    make({"a.py": "x = 1\n"})
    kept.keeper.scan()
    root.rename(root.with_name("elsewhere"))
    kept.keeper.scan()
    assert kept.paths() == {"a.py"}


# --- watching


def next_with(stream: Iterator[set[str] | str], path: str) -> None:
    for changed in stream:
        if isinstance(changed, set) and path in changed:
            return


def test_a_change_in_a_folder_made_later_is_noticed(root: Path, make: Maker) -> None:
    make({"a/b.py": "x"})
    with closing(changes(Walker(root, Exclusions()), pytest.fail)) as stream:
        assert next(stream) == ANYTHING
        make({"new/deep/c.py": "x"})
        next_with(stream, "new/deep")
        make({"new/deep/c.py": "xyz"})
        next_with(stream, "new/deep/c.py")


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_watching_does_not_follow_a_link_out(root: Path, make: Maker, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    make({"a.py": "x"})
    (root / "out").symlink_to(outside)
    with closing(changes(Walker(root, Exclusions()), pytest.fail)) as stream:
        assert next(stream) == ANYTHING
        (outside / "b.py").write_text("x")
        make({"a.py": "xyz"})
        for changed in stream:
            assert isinstance(changed, set)
            assert not any(path.startswith("out/") for path in changed)
            if "a.py" in changed:
                break


def test_where_nothing_can_be_watched_everything_is_looked_through_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("neuralforge_server.indexer.watching.watch", refuse)
    told: list[str] = []
    with closing(changes(Walker(root, Exclusions()), told.append, rescan_seconds=0.01)) as stream:
        assert [next(stream), next(stream), next(stream)] == [ANYTHING] * 3
    assert len(told) == 1
    assert "watch limit" in told[0]


# --- the work as a whole


class Running:
    """Work in a thread of the test, and what it reports."""

    def __init__(self, root: Path, home: Home) -> None:
        self.reports: queue.Queue[IndexerProgress] = queue.Queue()
        order = IndexerOrder(str(root), str(home.root), home.profile, ())
        work = Work(order, self.reports.put, retry_seconds=0.05)
        self.thread = threading.Thread(target=work.run, daemon=True)
        self.thread.start()

    def until(self, state: str) -> IndexerProgress:
        while True:
            progress = self.reports.get(timeout=TIMEOUT)
            if progress.state == state:
                return progress


def test_a_forgotten_workspace_stays_forgotten(root: Path, make: Maker, home: Home) -> None:
    make({"a.py": "x = 1\n"})
    running = Running(root, home)
    running.until("watching")
    forget(home, root)
    running.until("ended")
    running.thread.join(TIMEOUT)
    assert not context_file(home, root).exists()


def test_an_index_marked_damaged_is_built_anew(root: Path, make: Maker, home: Home) -> None:
    make({"a.py": "x = 1\n"})
    running = Running(root, home)
    running.until("watching")
    with context_file(home, root).open("r+b") as file:
        file.seek(4096)
        file.write(b"\x55" * 8192)
    damage_mark(context_file(home, root)).touch()
    running.until("scanning")
    running.until("watching")
    assert IndexReader(context_file(home, root)).files(["a.py"]) == {"a.py"}
    assert not damage_mark(context_file(home, root)).exists()
    forget(home, root)
    running.thread.join(TIMEOUT)


def test_an_index_that_cannot_be_written_is_told_once_and_tried_again(
    root: Path, make: Maker, home: Home
) -> None:
    make({"a.py": "x = 1\n"})
    folder = context_file(home, root).parent
    folder.mkdir(parents=True)
    context_file(home, root).mkdir()  # no file can be opened there
    running = Running(root, home)
    failed = running.until("failed")
    assert str(context_file(home, root)) in failed.message
    context_file(home, root).rmdir()
    running.until("watching")
    assert all(not report.message for report in list(running.reports.queue))
    forget(home, root)
    running.thread.join(TIMEOUT)


# --- the process


class Handle:
    """An indexer process, and what it reports."""

    def __init__(self) -> None:
        self.reports: queue.Queue[IndexerProgress] = queue.Queue()
        self.indexer = Indexer(self.reports.put)

    def until(self, *states: str) -> IndexerProgress:
        while True:
            progress = self.reports.get(timeout=TIMEOUT)
            if progress.state in states:
                return progress


@pytest.fixture
def handle() -> Iterator[Handle]:
    handle = Handle()
    yield handle
    handle.indexer.stop()


def test_a_process_fills_both_indexes_of_a_workspace(
    root: Path, make: Maker, home: Home, base: Base, handle: Handle
) -> None:
    make({"a.py": "def answer_everything():\n    return 42\n"})
    handle.indexer.start(root, home, base)
    assert handle.until("watching", "ended").files == 1
    assert IndexReader(context_file(home, root)).pieces(["answer_everything"], 1)[0].path == "a.py"
    assert MemoryWriter(memory_folder(home, base.digest, root), tokens).paths() == {"a.py"}
    pid = handle.indexer.pid
    assert pid is not None
    if os.name == "posix":
        assert psutil.Process(pid).nice() > psutil.Process().nice()
    handle.indexer.stop()
    assert not psutil.pid_exists(pid)


def test_a_second_process_waits_and_takes_over(
    root: Path, make: Maker, home: Home, handle: Handle
) -> None:
    make({"a.py": "x = 1\n"})
    handle.indexer.start(root, home, None)
    handle.until("watching")
    second = Handle()
    second.indexer.start(root, home, None)
    second.until("waiting")
    handle.indexer.stop()
    assert second.until("watching").files == 1
    second.indexer.stop()


def test_a_base_without_a_vocabulary_costs_only_the_fast_memory(
    root: Path, make: Maker, home: Home, tmp_path: Path, handle: Handle
) -> None:
    make({"a.py": "x = 1\n"})
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 64)
    handle.indexer.start(root, home, Base(broken, "b" * 64))
    messages = []
    while (progress := handle.reports.get(timeout=TIMEOUT)).state != "watching":
        messages.append(progress.message)
    assert progress.files == 1
    assert any("no fast memory" in message and str(broken) in message for message in messages)


def test_a_process_ends_with_its_parent(root: Path, home: Home, handle: Handle) -> None:
    handle.indexer.start(root, home, None)
    handle.until("watching")
    process = handle.indexer._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(TIMEOUT) == 0
