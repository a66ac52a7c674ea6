"""The adapter store and the stack file: versions appear whole, stacks change in one step."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neuralforge_adapters.errors import AdapterError, HomeError, StackError
from neuralforge_adapters.home import Home, read_json, write_atomic, write_json
from neuralforge_adapters.named_stacks import NamedStacks
from neuralforge_adapters.pinned import note_named, pinned_versions
from neuralforge_adapters.stack import (
    ResolvedStack,
    StackEntry,
    StackFile,
    resolve,
    with_adapter,
    without_adapter,
)
from neuralforge_adapters.store import GGUF_FILE, AdapterStore, AdapterVersion, Manifest

BASE = "b" * 64


def publish(
    home: Home, content: bytes = b"weights", name: str = "personal", base: str = BASE
) -> AdapterVersion:
    store = AdapterStore(home)
    with store.staging(name) as staged:
        (staged / GGUF_FILE).write_bytes(content)
        return store.publish(staged, Manifest(name, base, rank=16, alpha=32.0))


def versions(home: Home) -> list[str]:
    return [v.version for v in AdapterStore(home).versions("personal")]


def test_versions_are_numbered_and_the_newest_is_current(home: Home) -> None:
    publish(home, b"one"), publish(home, b"two")
    store = AdapterStore(home)
    assert [v.version for v in store.versions("personal")] == ["v0001", "v0002"]
    current = store.get("personal")
    assert current.gguf.read_bytes() == b"two"
    assert store.get("personal@v0001").gguf.read_bytes() == b"one"
    assert current.manifest.digest != store.get("personal@v0001").manifest.digest


def test_rollback_goes_back_one_version_and_then_refuses(home: Home) -> None:
    publish(home), publish(home, b"two")
    store = AdapterStore(home)
    assert store.roll_back("personal").version == "v0001"
    assert store.get("personal").version == "v0001"
    with pytest.raises(AdapterError, match="oldest"):
        store.roll_back("personal")
    assert publish(home, b"three").version == "v0003", "a rolled-back number is never reused"


def test_a_staging_folder_that_was_not_published_leaves_nothing(home: Home) -> None:
    store = AdapterStore(home)
    with pytest.raises(RuntimeError), store.staging("personal") as staged:
        (staged / GGUF_FILE).write_bytes(b"half")
        raise RuntimeError
    assert store.names() == []
    assert not [p for p in (store.root / "personal").iterdir() if p.name.startswith(".staging")]


def test_a_version_without_its_files_is_not_seen(home: Home) -> None:
    version = publish(home)
    half = version.path.parent / "v0002"
    half.mkdir()
    (half / "manifest.json").write_text("{")
    assert [v.version for v in AdapterStore(home).versions("personal")] == ["v0001"]


def test_publishing_without_a_gguf_changes_nothing(home: Home) -> None:
    publish(home)
    store = AdapterStore(home)
    with store.staging("personal") as staged, pytest.raises(AdapterError, match="stays in force"):
        store.publish(staged, Manifest("personal", BASE, 16, 32.0))
    assert store.get("personal").version == "v0001"


@pytest.mark.parametrize(
    "reference", ["missing", "personal@v0009", "../../etc", "personal@../x", ""]
)
def test_unknown_references_are_named(home: Home, reference: str) -> None:
    publish(home)
    with pytest.raises(AdapterError):
        AdapterStore(home).get(reference)


def test_prune_keeps_the_newest_and_the_current(home: Home) -> None:
    for n in range(7):
        publish(home, bytes([n]))
    store = AdapterStore(home)
    store.set_current("personal@v0001")
    assert store.prune("personal", keep=3) == ["v0002", "v0003", "v0004", "v0005"]
    assert [v.version for v in store.versions("personal")] == ["v0001", "v0006", "v0007"]


def test_rollback_goes_to_the_version_that_was_in_force_not_to_the_number_below(
    home: Home,
) -> None:
    publish(home), publish(home, b"bad")
    store = AdapterStore(home)
    store.roll_back("personal")
    publish(home, b"trained on from v0001")
    assert store.roll_back("personal").version == "v0001", "v0002 was rolled back before"


def test_rollback_stays_with_the_base_in_use(home: Home) -> None:
    other = "c" * 64
    for base in (BASE, BASE, other, other):
        publish(home, base=base)
    store = AdapterStore(home)
    assert store.roll_back("personal", BASE).version == "v0001"
    served = [store.current_for("personal", base) for base in (BASE, other)]
    assert [v and v.version for v in served] == ["v0001", "v0004"], "the other pair is untouched"
    with pytest.raises(AdapterError, match="oldest"):
        store.roll_back("personal", BASE)
    store.set_current("personal@v0004")
    assert store.roll_back("personal").version == "v0003"


def test_a_store_without_a_history_rolls_back_by_number(home: Home) -> None:
    publish(home), publish(home), publish(home)
    (home.adapters / "personal" / "history.json").unlink()
    assert AdapterStore(home).roll_back("personal").version == "v0002"


def test_prune_counts_for_each_base(home: Home) -> None:
    for base in (BASE, "c" * 64):
        for _ in range(3):
            publish(home, base=base)
    assert AdapterStore(home).prune("personal", keep=2) == ["v0001", "v0004"]


def test_prune_keeps_what_any_stack_names(home: Home) -> None:
    for _ in range(4):
        publish(home)
    StackFile(home).write([StackEntry("personal@v0002")])
    path = home.adapters / "personal" / "v0001" / GGUF_FILE
    StackFile(Home(home.root, "work")).write([StackEntry(str(path)), StackEntry("personal@v0003")])
    pinned = pinned_versions("personal", home)
    assert pinned == {"v0001", "v0002"}, "another profile's personal@v0003 is its own"
    assert AdapterStore(home).prune("personal", 1, pinned) == ["v0003"]
    assert versions(home) == ["v0001", "v0002", "v0004"]


def test_prune_keeps_what_settings_and_named_stacks_name(home: Home) -> None:
    for _ in range(4):
        publish(home)
    path = home.adapters / "personal" / "v0001"
    note_named(home, [StackEntry("personal@v0002"), StackEntry("personal")])
    note_named(home, [StackEntry(str(path))])
    NamedStacks(home).save("old", (StackEntry("personal@v0003"),), BASE)
    note_named(Home(home.root, "work"), [StackEntry("personal@v0004")])
    assert pinned_versions("personal", home) == {"v0001", "v0002", "v0003"}


def test_a_name_that_nobody_serves_any_more_protects_for_some_months(home: Home) -> None:
    day, file = 86_400.0, home.profile_dir / "named.json"
    write_json(file, {"personal@v0001": time.time() - 89 * day, "personal@v0002": 1.0})
    assert pinned_versions("personal", home) == {"v0001"}
    note_named(home, [StackEntry("personal@v0001")])
    noted = read_json(file)
    assert noted is not None and set(noted) == {"personal@v0001"}
    assert time.time() - noted["personal@v0001"] < day


def test_prune_sweeps_up_after_killed_processes(home: Home) -> None:
    root = publish(home).path.parent
    for name in (".gone-v0000", ".staging-old", ".staging-new"):
        (root / name).mkdir()
    os.utime(root / ".staging-old", (1.0, 1.0))
    AdapterStore(home).prune("personal", 5)
    assert {p.name for p in root.iterdir() if p.is_dir()} == {"v0001", ".staging-new"}


@pytest.mark.skipif(os.name == "nt", reason="POSIX file modes")
def test_everything_is_readable_by_its_owner_only(home: Home) -> None:
    old = os.umask(0)
    try:
        version = publish(home)
        StackFile(home).write([StackEntry("personal")])
    finally:
        os.umask(old)
    for path in (version.path, home.stack_file, version.path / "manifest.json", home.adapters):
        assert path.stat().st_mode & 0o077 == 0, path


_KILLED_WHILE_PUBLISHING = """
import os, sys
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import AdapterStore, Manifest, GGUF_FILE
count = 0
def stop(event, arguments):
    global count
    if event in ("open", "os.rename", "os.mkdir", "tempfile.mkstemp", "tempfile.mkdtemp"):
        count += 1
        if count == int(sys.argv[1]):
            os.kill(os.getpid(), 9)
store = AdapterStore(Home.find())
sys.addaudithook(stop)
with store.staging("personal") as staged:
    (staged / GGUF_FILE).write_bytes(b"new")
    store.publish(staged, Manifest("personal", "b" * 64, 16, 32.0))
print("published")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_kill_at_any_step_of_publishing_shows_the_old_or_the_new_version(home: Home) -> None:
    """The process is killed at its first, second, ... file operation until it gets through."""
    publish(home, b"old")
    seen = set()
    for step in range(1, 100):
        done = subprocess.run(
            [sys.executable, "-c", _KILLED_WHILE_PUBLISHING, str(step)],
            capture_output=True,
            text=True,
        )
        current = AdapterStore(home).get("personal")
        assert current.gguf.read_bytes() in (b"old", b"new")
        seen.add(current.gguf.read_bytes())
        if "published" in done.stdout:
            break
    assert step > 5, "the kills came at several steps"
    assert seen == {b"old", b"new"}


def test_write_atomic_leaves_the_old_content_when_the_disk_refuses(home: Home) -> None:
    path = home.root / "file.json"
    write_atomic(path, "old")
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from neuralforge_adapters.home import write_atomic\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "write_atomic(Path(sys.argv[1]), 'x' * 5000)\n"
    )
    if os.name == "nt":
        pytest.skip("needs a file size limit")
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert "HomeError" in done.stderr and "old content stands" in done.stderr
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_home_error_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="file"):
        write_atomic(tmp_path / "file" / "inside", "x")


@pytest.mark.parametrize("name", ["../other", "", "a/b", ".hidden", "x" * 80])
def test_profiles_have_safe_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURALFORGE_PROFILE", name)
    if not name:
        assert Home.find().profile == "default"
        return
    with pytest.raises(HomeError):
        Home.find()


def test_profiles_share_nothing_of_the_user(home: Home) -> None:
    work = Home.find("work")
    publish(work)
    assert AdapterStore(home).names() == []
    assert work.session_log != home.session_log and work.trainer_dir == home.trainer_dir


def test_the_untouched_stack_is_the_personal_adapter_once_there_is_one(home: Home) -> None:
    store, file = AdapterStore(home), StackFile(home)
    assert resolve(file.read(), store, BASE) == ResolvedStack()
    version = publish(home)
    stack = resolve(file.read(), store, BASE)
    assert [a.reference for a in stack.adapters] == [version.reference]


def test_digest_changes_with_content_scale_and_order_only(home: Home) -> None:
    publish(home, b"one", "one"), publish(home, b"two", "two")
    store = AdapterStore(home)

    def digest(*entries: StackEntry) -> str:
        return resolve(entries, store, BASE).digest

    one, two = StackEntry("one"), StackEntry("two")
    assert digest(one, two) == digest(StackEntry("one@v0001"), two)
    assert len({digest(), digest(one), digest(two), digest(one, two), digest(two, one),
                digest(StackEntry("one", 0.5))}) == 6  # fmt: skip


def test_an_adapter_for_another_base_is_refused(home: Home) -> None:
    publish(home)
    with pytest.raises(AdapterError, match="trained for base"):
        resolve([StackEntry("personal@v0001")], AdapterStore(home), "c" * 64)


def test_the_personal_adapter_of_another_base_is_left_out(home: Home) -> None:
    """Who tries another base need not unload anything first."""
    publish(home), publish(home, b"team", "team")
    both = (StackEntry("personal"), StackEntry("team"))
    assert resolve(both[:1], AdapterStore(home), "c" * 64) == ResolvedStack()
    with pytest.raises(AdapterError, match="team"):
        resolve(both, AdapterStore(home), "c" * 64)


@pytest.mark.parametrize("entry", ["./missing.gguf", "missing"])
def test_a_missing_adapter_is_named(home: Home, entry: str) -> None:
    with pytest.raises(AdapterError, match="missing"):
        resolve([StackEntry(entry)], AdapterStore(home), BASE)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 5.0, -5.0])
def test_unusable_scales_are_refused_and_the_stack_stays(home: Home, scale: float) -> None:
    file = StackFile(home)
    file.write([StackEntry("a")])
    with pytest.raises(StackError):
        file.update(lambda old: with_adapter(old, StackEntry("b", scale)))
    assert file.read() == (StackEntry("a"),)


def test_stack_edits() -> None:
    entries = (StackEntry("a"), StackEntry("b@v0001", 0.5))
    assert with_adapter(entries, StackEntry("b@v0002")) == (StackEntry("a"), StackEntry("b@v0002"))
    assert without_adapter(entries, "b") == (StackEntry("a"),)
    with pytest.raises(StackError, match="not in the stack"):
        without_adapter(entries, "c")


def test_a_damaged_stack_file_falls_back_to_the_default(home: Home) -> None:
    write_atomic(home.stack_file, '[{"adapter": 3}]')
    assert StackFile(home).read() == (StackEntry("personal"),)


def test_concurrent_changes_of_the_stack_lose_nothing(home: Home) -> None:
    file = StackFile(home)
    file.write([])
    with ThreadPoolExecutor(8) as pool:
        for n in range(16):
            pool.submit(file.update, lambda old, n=n: with_adapter(old, StackEntry(f"a{n}")))
    assert {e.adapter for e in file.read()} == {f"a{n}" for n in range(16)}


def test_a_file_in_the_working_folder_never_takes_an_adapters_name(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish(home)
    (tmp_path / "personal").mkdir()
    monkeypatch.chdir(tmp_path)
    stack = resolve([StackEntry("personal")], AdapterStore(home), BASE)
    assert stack.adapters[0].path == version.gguf


def test_paths_in_the_stack_are_absolute(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = StackFile(home)
    file.update(lambda old: with_adapter(old, StackEntry("./team.lora")))
    assert file.read()[-1] == StackEntry(str(tmp_path / "team.lora"))
    assert file.update(lambda old: without_adapter(old, "team.lora")) == file.read()[:1]


@pytest.mark.skipif(os.name == "nt", reason="POSIX file modes")
def test_a_lock_that_cannot_be_made_is_a_named_error(home: Home) -> None:
    home.profile_dir.mkdir(parents=True)
    (home.profile_dir / ".stack.lock").mkdir()  # root may write anywhere, but not open a folder
    with pytest.raises(HomeError, match="cannot lock"):
        StackFile(home).write([])
