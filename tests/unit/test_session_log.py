"""The session log keeps what it acknowledged, forgets what it is told to, and says what it knows.

Real SQLite files and real processes throughout.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuralforge_server.errors import (
    SessionLogDiskError,
    SessionLogError,
    SessionLogLockedError,
)
from neuralforge_server.session import writes
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.owner import own_token
from neuralforge_server.session.rows import Limits, SettledEdit, Suggestion, new_id

NOW = 1_700_000_000.0
DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profile" / "session.db"


@pytest.fixture
def log(path: Path) -> Iterator[SessionLog]:
    with SessionLog.open(path, Limits(busy_timeout_s=0.2)) as opened:
        yield opened
        assert opened.verify() == []


def suggestion(**changes: Any) -> Suggestion:
    made = Suggestion(
        id=new_id(),
        created=NOW,
        base="b" * 64,
        stack="s" * 64,
        stack_json="[]",
        uri="file:///project/a.py",
        path="/project/a.py",
        repository=None,
        language="python",
        line=3,
        character=4,
        trigger="automatic",
        prefix_tail="def total(items):\n    ",
        suffix_head="\n",
        text="return sum(items)",
        latency_ms=12.0,
        tokens=30,
    )
    return dataclasses.replace(made, **changes)


def edit(**changes: Any) -> SettledEdit:
    made = SettledEdit(
        uri="file:///project/a.py", created=NOW, line=3, before="", after="yield total",
        prefix="def f():\n    ", suffix="\n", language="python",
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def recorded(log: SessionLog, **changes: Any) -> str:
    made = suggestion(**changes)
    log.record_suggestion(made)
    return made.id


def retain(log: SessionLog, suggestion_id: str, share: float) -> None:
    for deadline_s in (30, 120, 300):
        assert log.record_retention(suggestion_id, deadline_s, share, "open", at=NOW + deadline_s)


def run_child(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        check=False, capture_output=True, text=True, **options,
    )  # fmt: skip


CHILD = f"""
import dataclasses, sys, uuid
from pathlib import Path
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.rows import Limits, Suggestion, new_id
made = Suggestion(**{dataclasses.asdict(suggestion())!r})
def another():
    return dataclasses.replace(made, id=new_id())
"""


# what happened to a suggestion


def test_a_suggestion_is_shown_again_as_it_was(log: SessionLog) -> None:
    made = suggestion()
    log.record_suggestion(made)
    log.record_suggestion(dataclasses.replace(made, text="another under the same id"))

    (shown,) = log.show(10)

    assert {k: v for k, v in dataclasses.asdict(shown).items() if k in vars(made)} == vars(made)
    assert shown.outcome is None and not shown.scrubbed
    json.dumps(dataclasses.asdict(shown))


def test_an_acceptance_schedules_its_three_deadlines(log: SessionLog) -> None:
    identifier = recorded(log)

    assert log.record_outcome(identifier, "accepted", "client", at=NOW)

    rows = log.pending_retention("file:///project/a.py")
    assert [(row.deadline_s, row.due) for row in rows] == [
        (30, NOW + 30), (120, NOW + 120), (300, NOW + 300),
    ]  # fmt: skip
    assert {row.accepted for row in rows} == {"return sum(items)"}
    assert {row.owner for row in rows} == {own_token()}
    assert log.pending_retention("file:///project/b.py") == []


@pytest.mark.parametrize(
    ("reports", "last"),
    [
        ([("accepted", "client"), ("dismissed", "inferred")], ("accepted", "client")),
        ([("dismissed", "inferred"), ("accepted", "client")], ("accepted", "client")),
        ([("accepted", "inferred"), ("dismissed", "client")], ("dismissed", "client")),
        ([("dismissed", "client"), ("accepted", "inferred")], ("dismissed", "client")),
        ([("accepted", "client"), ("shown", "client")], ("accepted", "client")),
        ([("shown", "client"), ("typed_through", "inferred")], ("typed_through", "inferred")),
        ([("partial", "client"), ("accepted", "client")], ("accepted", "client")),
        ([("superseded", "inferred"), ("accepted", "inferred")], ("accepted", "inferred")),
    ],
)
def test_the_stronger_report_stands_whichever_comes_first(
    log: SessionLog, reports: list[Any], last: tuple[str, str]
) -> None:
    identifier = recorded(log)
    for outcome, source in reports:
        log.record_outcome(identifier, outcome, source, at=NOW)

    (shown,) = log.show(1)

    assert (shown.outcome, shown.outcome_source) == last
    assert len(log.pending_retention()) == (3 if last[0] == "accepted" else 0)


def test_a_partial_acceptance_grows_and_never_shrinks(log: SessionLog) -> None:
    identifier = recorded(log)

    assert log.record_outcome(identifier, "partial", "client", 6, at=NOW)
    assert log.record_outcome(identifier, "partial", "client", 10, at=NOW + 1)
    assert not log.record_outcome(identifier, "partial", "client", 6, at=NOW + 2)

    assert {row.accepted for row in log.pending_retention()} == {"return sum"}
    assert log.pending_retention()[0].due == NOW + 30


def test_a_report_on_an_unknown_suggestion_is_not_taken(log: SessionLog) -> None:
    assert not log.record_outcome("nobody's", "accepted", "client")
    assert not log.record_retention("nobody's", 30, 1.0, "open")


def test_a_length_beyond_the_text_is_cut_to_it(log: SessionLog) -> None:
    identifier = recorded(log)
    log.record_outcome(identifier, "partial", "client", 10_000)

    assert log.show(1)[0].accepted_length == len("return sum(items)")


def test_the_first_measure_of_a_deadline_stands(log: SessionLog) -> None:
    identifier = recorded(log)
    log.record_outcome(identifier, "accepted", "client", at=NOW)

    assert log.record_retention(identifier, 30, 0.5, "open")
    assert not log.record_retention(identifier, 30, 1.0, "disk")
    assert log.record_retention(identifier, 120, None, "unknown")

    assert log.show(1)[0].retained == {30: 0.5, 120: None, 300: None}
    assert [row.deadline_s for row in log.pending_retention()] == [300]


def test_pending_deadlines_survive_a_restart(path: Path) -> None:
    with SessionLog.open(path) as first:
        first.record_outcome(recorded(first), "accepted", "client", at=NOW)

    with SessionLog.open(path) as second:
        assert [row.deadline_s for row in second.pending_retention()] == [30, 120, 300]


# secrets


def test_no_text_column_can_hold_a_secret(log: SessionLog, path: Path) -> None:
    secret = "hunter2hunter2"
    log.record_suggestion(suggestion(prefix_tail='password = "', text=f'{secret}"'))
    log.record_suggestion(suggestion(prefix_tail=f'password = "{secret}"\n' + "x = 1\n" * 40))
    log.record_suggestion(suggestion(suffix_head=f'\npassword = "{secret}"'))
    log.record_suggestion(suggestion(uri=f"vfs://bob:{secret}@host/a.py", path=None))
    log.record_edit(edit(prefix='password = "', before=f'{secret}"', after=f'x{secret}"'))

    on_disk = b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert secret.encode() not in on_disk
    assert log.show(10)[3].scrubbed
    assert list(log.training_events()) == []


def test_what_was_scrubbed_is_not_measured_after_a_restart(log: SessionLog) -> None:
    identifier = recorded(log, text='password = "hunter2hunter2"')
    log.record_outcome(identifier, "accepted", "client")

    assert [row.accepted for row in log.pending_retention()] == [None] * 3


# learning


def test_what_is_learned_from_was_kept_and_consented_to(log: SessionLog, tmp_path: Path) -> None:
    asked, refused, unasked = (tmp_path / name for name in ("asked", "refused", "unasked"))
    log.set_consent(asked, "yes")
    log.set_consent(refused, "no")
    for repository in (asked, refused, unasked):
        kept = recorded(log, repository=str(repository), text=f"kept in {repository.name}")
        log.record_outcome(kept, "accepted", "client", at=NOW)
        retain(log, kept, 1.0)
    lost = recorded(log, text="lost")
    log.record_outcome(lost, "accepted", "client", at=NOW)
    retain(log, lost, 0.2)
    secret = recorded(log, text='password = "hunter2hunter2"')
    log.record_outcome(secret, "accepted", "client", at=NOW)
    retain(log, secret, 1.0)
    early = recorded(log, text="not yet measured")
    log.record_outcome(early, "accepted", "client", at=NOW)
    recorded(log, text="only shown")

    assert [event.text for event in log.training_events()] == ["kept in asked"]
    assert log.count_new_samples() == 1
    assert [log.consent(r) for r in (asked, refused, unasked)] == ["yes", "no", None]


def test_a_dismissal_comes_with_what_was_typed_instead(log: SessionLog) -> None:
    dismissed = recorded(log, text="return sum(items)")
    log.record_outcome(dismissed, "dismissed", "inferred")
    log.record_edit(edit(created=NOW + 2, after="yield items", dismissed_id=dismissed))
    log.record_edit(edit(created=NOW + 1, after="plain edit"))
    log.record_edit(edit(after=" \n", before="only removed"))
    log.record_edit(edit(created=NOW + 3, after="orphan", dismissed_id="purged long ago"))

    events = list(log.training_events())

    assert [(e.kind, e.text, e.rejected) for e in events] == [
        ("edit", "plain edit", None),
        ("rejected", "yield items", "return sum(items)"),
        ("edit", "orphan", None),
    ]
    assert events[0].prefix + events[0].text + events[0].suffix == "def f():\n    plain edit\n"


def test_events_are_given_until_they_are_used(log: SessionLog) -> None:
    for number in range(3):
        log.record_edit(edit(created=NOW + number, after=f"edit {number}"))
    first, *_ = log.training_events()
    log.mark_used([first.id])

    assert [event.text for event in log.training_events()] == ["edit 1", "edit 2"]
    assert len(list(log.training_events(unused_only=False))) == 3
    assert [event.text for event in log.training_events(since=NOW + 2)] == ["edit 2"]
    assert log.count_new_samples() == 2


# figures


def test_stats_count_what_happened_by_language(log: SessionLog) -> None:
    for language, outcome, length, latency in (
        ("python", "accepted", None, 10.0),
        ("python", "partial", 6, 20.0),
        ("python", "dismissed", None, 30.0),
        ("python", "superseded", None, 40.0),
        ("rust", "typed_through", None, 50.0),
        ("rust", "shown", None, 1000.0),
    ):
        identifier = recorded(log, language=language, latency_ms=latency)
        log.record_outcome(identifier, outcome, "client", length, at=NOW)  # type: ignore[arg-type]
        if outcome == "accepted":
            retain(log, identifier, 0.5)
    recorded(log, language="go", latency_ms=60.0)
    log.record_edit(edit())

    stats = log.stats()

    assert (stats.overall.suggestions, stats.overall.shown) == (7, 5)
    assert stats.overall.acceptance_rate == pytest.approx(2 / 5)
    assert stats.overall.characters_accepted == len("return sum(items)") + 6
    assert stats.overall.retained == {30: 0.5, 120: 0.5, 300: 0.5}
    assert (stats.overall.latency_p50_ms, stats.overall.latency_p95_ms) == (40.0, 1000.0)
    assert list(stats.languages) == ["python", "rust", "go"]
    assert stats.languages["rust"].typed_through == 1
    assert stats.languages["go"].acceptance_rate is None
    assert (stats.edits, stats.new_samples) == (1, 1)
    assert stats.bytes > 0
    json.dumps(dataclasses.asdict(stats))


def test_show_filters_and_gives_the_newest_first(log: SessionLog) -> None:
    for number, language in enumerate(["python", "rust", "python"]):
        recorded(log, created=NOW + number, language=language, text=f"text {number}")
    log.record_outcome(log.show(1)[0].id, "dismissed", "client")

    assert [row.text for row in log.show(2)] == ["text 2", "text 1"]
    assert [row.text for row in log.show(9, language="python")] == ["text 2", "text 0"]
    assert [row.text for row in log.show(9, outcome="dismissed")] == ["text 2"]


# forgetting


def on_disk(path: Path, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in path.parent.iterdir())


def test_a_purged_repository_is_gone_from_the_disk(
    log: SessionLog, path: Path, tmp_path: Path
) -> None:
    for number in range(50):
        recorded(log, repository=str(tmp_path / "work"), text=f"employer_text_{number}")
        recorded(log, repository=str(tmp_path / "own"), text=f"private_text_{number}")
    log.record_edit(edit(repository=str(tmp_path / "work"), after="employer_edit"))
    assert on_disk(path, "employer_text_7") and on_disk(path, "employer_edit")

    purged = log.purge(repository=tmp_path / "work")

    assert (purged.suggestions, purged.edits) == (50, 1)
    assert not on_disk(path, "employer_text") and not on_disk(path, "employer_edit")
    assert on_disk(path, "private_text_7")
    assert len(log.show(100)) == 50


def test_purging_by_age_and_everything(log: SessionLog, path: Path, tmp_path: Path) -> None:
    recorded(log, created=NOW - 10 * DAY, text="old_text")
    accepted = recorded(log, created=NOW, text="new_text")
    log.record_outcome(accepted, "accepted", "client")
    log.set_consent(tmp_path, "yes")
    path.with_name("session.damaged-20250101-000000.db").write_text("damaged_text")

    assert log.purge() == dataclasses.replace(log.purge(), suggestions=0)
    assert on_disk(path, "old_text")
    aged = log.purge(older_than_days=5, now=NOW)
    assert (aged.suggestions, aged.damaged_files) == (1, 1)
    assert not on_disk(path, "old_text") and not on_disk(path, "damaged_text")
    assert log.consent(tmp_path) == "yes"

    everything = log.purge(everything=True)

    assert (everything.suggestions, everything.consents) == (1, 1)
    assert not on_disk(path, "new_text")
    assert log.pending_retention() == [] and log.consent(tmp_path) is None


def test_a_purge_that_a_reader_holds_up_says_so(log: SessionLog, path: Path) -> None:
    recorded(log, text="still_read_text")
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM suggestions").fetchone()

    with pytest.raises(SessionLogLockedError, match="again"):
        log.purge(everything=True)
    assert log.show(1) == []

    reader.close()
    log.purge(everything=True)
    assert not on_disk(path, "still_read_text")


def test_limits_take_the_old_then_the_oldest(path: Path) -> None:
    with SessionLog.open(path, Limits(size_mb=0.5, age_days=30)) as log:
        recorded(log, created=NOW - 31 * DAY, text="too old")
        for number in range(400):
            filler = f"{number:06d} filler\n" * 200
            log.record_edit(edit(created=NOW + number, after=filler))

        purged = log.enforce_limits(now=NOW + 400)

        kept = [event.created - NOW for event in log.training_events()]
        assert purged.suggestions == 1 and purged.edits == 400 - len(kept) > 0
        assert kept == list(range(400 - len(kept), 400)) and len(kept) > 20
        assert path.stat().st_size <= 500_000
        assert log.enforce_limits(now=NOW + 400).edits == 0


def test_a_cap_below_the_empty_schema_ends(path: Path) -> None:
    with SessionLog.open(path, Limits(size_mb=0.001)) as log:
        recorded(log)
        assert log.enforce_limits(now=NOW).suggestions == 1


# several at once, and killed


def test_no_process_loses_a_row_to_another(path: Path) -> None:
    code = CHILD + textwrap.dedent("""
        with SessionLog.open(Path(sys.argv[1]), Limits(busy_timeout_s=60)) as log:
            for _ in range(40):
                one = another()
                log.record_suggestion(one)
                log.record_outcome(one.id, "accepted", "client")
                print(one.id)
    """)
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [child.communicate()[0].split() for child in children]

    with SessionLog.open(path) as log:
        assert [child.returncode for child in children] == [0] * 4
        assert {row.id for row in log.show(1000)} == {i for output in outputs for i in output}
        assert len(log.show(1000)) == 160
        assert log.verify() == []


def test_threads_share_one_log(log: SessionLog) -> None:
    threads = [
        threading.Thread(target=lambda: [recorded(log) for _ in range(20)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(log.show(1000)) == 80


@pytest.mark.parametrize("after", [1, 7, 23])
def test_a_kill_loses_no_acknowledged_row(path: Path, after: int) -> None:
    code = CHILD + textwrap.dedent("""
        with SessionLog.open(Path(sys.argv[1])) as log:
            while True:
                one = another()
                log.record_suggestion(one)
                log.record_outcome(one.id, "accepted", "client")
                print(one.id, flush=True)
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(after)]
    child.kill()
    acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
    child.wait()

    with SessionLog.open(path) as log:
        known = {row.id: row.outcome for row in log.show(100_000)}
        assert [known.get(identifier) for identifier in acknowledged] == ["accepted"] * len(
            acknowledged
        )
        assert log.verify() == []


def test_every_commit_is_synced_so_that_a_power_cut_cannot_take_it(log: SessionLog) -> None:
    connection = log._opened.database.conn

    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# what can go wrong with the file


@pytest.mark.skipif(os.name == "nt", reason="there the folder's access list does this")
def test_the_files_are_their_owners_alone_under_a_lax_umask(tmp_path: Path) -> None:
    folder = tmp_path / "lax"
    folder.mkdir(mode=0o777)
    before = os.umask(0)
    try:
        with SessionLog.open(folder / "session.db") as log:
            recorded(log)
            modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()}
            (folder / "session.db").chmod(0o644)
            assert any("read by others" in problem for problem in log.verify())
    finally:
        os.umask(before)

    assert set(modes) >= {"session.db", "session.db-wal", "session.db-shm"}
    assert set(modes.values()) == {0o600}


def test_a_locked_log_waits_then_says_so(log: SessionLog, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(SessionLogLockedError, match="close the program"):
        recorded(log)

    other.execute("ROLLBACK")
    other.close()
    recorded(log)
    assert len(log.show(9)) == 1


def test_a_lock_that_is_let_go_in_time_is_waited_for(path: Path) -> None:
    with SessionLog.open(path, Limits(busy_timeout_s=30)) as log:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=recorded, args=(log,))
        writer.start()
        other.execute("ROLLBACK")
        writer.join()
        other.close()

        assert len(log.show(9)) == 1


def damage(path: Path, first_page: int = 2, pages: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek((first_page - 1) * 4096)
        file.write(b"\xde\xad" * 2048 * pages)


def closed_log(path: Path, rows: int) -> None:
    with SessionLog.open(path) as log:
        for number in range(rows):
            identifier = recorded(log, text=f"row number {number} " * 20, created=NOW + number)
            log.record_outcome(identifier, "accepted", "client", at=NOW + number)
            log.record_edit(edit(dismissed_id=identifier))
        log.set_consent(path.parent, "no")


def test_a_file_that_is_no_database_is_set_aside(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this was never a database" * 500)

    with SessionLog.open(path) as log:
        recorded(log)
        (notice,) = log.notices

    (aside,) = path.parent.glob("session.damaged-*.db")
    assert aside.read_bytes().startswith(b"this was never")
    assert str(aside) in notice and "purge" in notice


def test_rows_that_can_be_read_are_carried_over(path: Path) -> None:
    closed_log(path, 300)
    damage(path, first_page=path.stat().st_size // 4096 // 2, pages=4)

    with SessionLog.open(path) as log:
        kept = {row.text.split()[2] for row in log.show(1000)}
        assert 200 < len(kept) < 300
        assert {"0", "299"} <= kept  # from before and from behind the damage
        assert log.consent(path.parent) == "no"
        assert log.verify() == []
        assert len(log.notices) == 1


def test_damage_found_while_running_is_survived(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuralforge_server.session.database.CHECKED_AT_OPEN_BYTES", 0)
    closed_log(path, 300)
    schema_pages = 16
    damage(path, first_page=schema_pages, pages=path.stat().st_size // 4096 - schema_pages)

    with SessionLog.open(path) as log:
        assert log.notices == []
        log.show(1000)
        identifier = recorded(log, text="after the damage")

        assert len(log.notices) == 1
        assert identifier in {row.id for row in log.show(1000)}
        assert log.verify() == []


def test_a_second_log_in_one_process_takes_no_lock_from_the_first(path: Path) -> None:
    code = CHILD + textwrap.dedent("""
        with SessionLog.open(Path(sys.argv[1])) as log:
            log.record_suggestion(another())
            print(*(row.text for row in log.show(9)), sep="|")
    """)
    with SessionLog.open(path) as log:
        SessionLog.open(path).close()
        run_child(code, str(path))  # would remove the write-ahead log if it seemed unused
        recorded(log, text="written by the first")

        assert "written by the first" in run_child(code, str(path)).stdout.split("|")


def test_what_is_written_while_another_replaces_the_file_lands_in_the_new_one(
    path: Path,
) -> None:
    with SessionLog.open(path) as one, SessionLog.open(path) as other:
        recorded(one, text="before")
        for suffix in ("-wal", "-shm", ""):
            path.with_name(f"{path.name}{suffix}").rename(path.with_name(f"aside.db{suffix}"))
        recorded(other, text="by the other")
        recorded(one, text="after")

        assert {row.text for row in one.show(9)} == {"by the other", "after"}
        assert {row.text for row in other.show(9)} == {"by the other", "after"}


def test_a_write_into_a_file_that_is_moved_away_meanwhile_is_done_again(path: Path) -> None:
    made = suggestion()

    def write(database: Any) -> None:
        database["suggestions"].insert(writes.suggestion_row(made), ignore=True)
        for suffix in ("-wal", "-shm", ""):
            file = path.with_name(f"{path.name}{suffix}")
            if not path.with_name(f"aside.db{suffix}").exists():
                file.rename(path.with_name(f"aside.db{suffix}"))

    with SessionLog.open(path) as log:
        log._write(write)

        assert [row.id for row in log.show(9)] == [made.id]


def test_a_tiny_disk_is_named_and_the_old_rows_stand(log: SessionLog) -> None:
    recorded(log, text="before the disk was full")
    pages = log._opened.database.conn.execute("PRAGMA page_count").fetchone()[0]
    log._opened.database.conn.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(SessionLogDiskError, match="free some room"):
        for _ in range(50):
            recorded(log, text="too much " * 200)

    assert log.show(100)[-1].text == "before the disk was full"
    log.purge(everything=True)
    recorded(log, text="there is room again")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes to set there")
def test_a_disk_that_fills_up_is_named_and_loses_nothing(path: Path) -> None:
    code = CHILD + textwrap.dedent("""
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        log = SessionLog.open(Path(sys.argv[1]))
        try:
            while True:
                one = another()
                log.record_suggestion(one)
                print(one.id, flush=True)
        except Exception as error:
            print(type(error).__name__, error, file=sys.stderr)
    """)
    child = run_child(code, str(path))

    assert child.stderr.startswith("SessionLogDiskError")
    with SessionLog.open(path) as log:
        assert {row.id for row in log.show(100_000)} == set(child.stdout.split())
        assert log.verify() == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes to set there")
def test_everything_can_be_purged_on_a_full_disk_while_another_process_writes(path: Path) -> None:
    code = CHILD + textwrap.dedent("""
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        log = SessionLog.open(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
        try:
            log.purge(older_than_days=0)
        except Exception as error:
            print(type(error).__name__)
        gone = log.purge(everything=True)
        print(gone.suggestions, gone.edits, gone.consents, len(log.show(9)))
    """)
    closed_log(path, 400)
    with SessionLog.open(path) as log:
        child = run_child(code, str(path))
        assert child.stdout.split() == ["SessionLogDiskError", "400", "400", "1", "0"], child.stderr
        made = recorded(log)
        assert [row.id for row in log.show(9)] == [made]
        assert log.verify() == []
    with SessionLog.open(path) as log:
        assert [row.id for row in log.show(9)] == [made]


@pytest.mark.skipif(os.name == "nt", reason="Windows folders have no write bit")
def test_a_read_only_folder_is_named() -> None:
    code = """
        import os, sys
        from pathlib import Path
        from neuralforge_server.session.log import SessionLog
        if os.geteuid() == 0:
            os.setuid(65534)  # root writes everywhere
        try:
            SessionLog.open(Path(sys.argv[1]))
        except Exception as error:
            print(type(error).__name__, error)
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.db"
        closed_log(path, 1)
        Path(folder).chmod(0o555)
        child = run_child(code, str(path))
        Path(folder).chmod(0o700)

    assert child.stdout.startswith("SessionLogReadOnlyError"), child.stderr
    assert "NEURALFORGE_HOME" in child.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows folders have no write bit")
@pytest.mark.parametrize("unfinished", [False, True], ids=["closed", "in use"])
def test_a_read_only_log_can_be_read_and_only_that(unfinished: bool) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from neuralforge_server.session.log import SessionLog
        if os.geteuid() == 0:
            os.setuid(65534)  # root writes everywhere
        with SessionLog.open_to_read(Path(sys.argv[1])) as log:
            print(len(log.show(10)), log.stats().bytes > 0)
            try:
                log.purge(everything=True)
            except Exception as error:
                print(type(error).__name__)
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.db"
        closed_log(path, 3)
        log = SessionLog.open(path) if unfinished else None
        if log is not None:
            recorded(log)
        for file in Path(folder).iterdir():
            file.chmod(0o444)
        Path(folder).chmod(0o555)
        child = run_child(code, str(path))
        Path(folder).chmod(0o700)
        if log is not None:
            log.close()

    count = "4" if unfinished else "3"
    assert child.stdout.split() == [count, "True", "SessionLogReadOnlyError"], child.stderr


def test_a_folder_in_the_place_of_the_file_is_named(path: Path) -> None:
    path.mkdir(parents=True)

    with pytest.raises(SessionLogError, match=r"session\.db"):
        SessionLog.open(path)


def test_verify_finds_what_is_planted(path: Path) -> None:
    with SessionLog.open(path) as log:
        accepted = recorded(log)
        log.record_outcome(accepted, "accepted", "client")
        recorded(log, text="x = 1")
        raw = sqlite3.connect(path)
        raw.execute("DELETE FROM retention WHERE deadline_s = 30")
        raw.execute("UPDATE suggestions SET text = 'k = ''AKIAIOSFODNN7EXAMPLE''' "
                    "WHERE text = 'x = 1'")  # fmt: skip
        raw.commit()
        raw.close()

        problems = "\n".join(log.verify())

    assert "without its three retention rows" in problems
    assert "holds a secret" in problems
    assert "accepted length beyond" in problems
