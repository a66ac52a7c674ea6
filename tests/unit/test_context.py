"""The context across files: what is taken in, what is shown at a cursor, and what never is."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from neuralforge_adapters.fim import split_lines
from neuralforge_adapters.home import Home
from neuralforge_server.context.chunks import MOST_LINES, cut
from neuralforge_server.context.definitions import definitions
from neuralforge_server.context.eligible import has_secret, readable
from neuralforge_server.context.imports import Import, candidates, imports
from neuralforge_server.context.index import ContextIndex, Stamp, build
from neuralforge_server.context.places import (
    context_file,
    damage_mark,
    forget,
    memory_folder,
    workspace_key,
)
from neuralforge_server.context.provider import ContextProvider
from neuralforge_server.context.search import IndexReader
from neuralforge_server.context.words import indexed, parts
from neuralforge_server.engine.protocol import Surroundings
from neuralforge_server.errors import ContextIndexError
from neuralforge_server.session.exclude import Exclusions

BILLING = '''\
"""Invoices."""


class InvoiceLedger:
    """All invoices of a year."""

    def __init__(self, year: int, currency: str = "EUR") -> None:
        self.year = year
        self.currency = currency
        self.entries = []

    def post_invoice(self, number: str, amount_cents: int) -> None:
        """Add an invoice to the ledger of the year."""
        self.entries.append((number, amount_cents))

    def total_cents(self) -> int:
        """The sum of all entries that were posted."""
        return sum(amount for _, amount in self.entries)
'''
WEATHER = '''\
def forecast(station, hours):
    """The weather at a station."""
    readings = station.readings(hours)
    pressure = sum(reading.pressure for reading in readings)
    humidity = sum(reading.humidity for reading in readings)
    return pressure / hours, humidity / hours
'''
SHOP = """\
from app.billing import InvoiceLedger


def close_year(year, orders):
    ledger = InvoiceLedger(year)
    for order in orders:
        ledger.
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder


@pytest.fixture
def provider(home: Home, workspace: Path) -> ContextProvider:
    build(home, workspace, [("app/billing.py", BILLING), ("app/weather.py", WEATHER)])
    return ContextProvider(home, workspace, Exclusions())


def ask(
    provider: ContextProvider, text: str = SHOP, line: int = 6, budget: int = 1_000
) -> Surroundings:
    return provider.around("app/shop.py", split_lines(text), line, text, budget)


def shown(around: Surroundings) -> str:
    return "\n".join(snippet.text for snippet in around.snippets)


# --- what comes


def test_the_signatures_of_an_imported_class_are_shown(provider: ContextProvider) -> None:
    around = ask(provider)
    assert around.repository == "shop"
    assert around.path == "app/shop.py"
    assert around.snippets[0].path == "app/billing.py"
    assert "def post_invoice(self, number: str, amount_cents: int) -> None" in shown(around)


def test_a_chunk_with_the_words_at_the_cursor_comes_before_others(
    provider: ContextProvider,
) -> None:
    text = "def report(station, hours):\n    pressure, humidity = forecast(\n"
    around = ask(provider, text, 1)
    assert around.snippets[0].path == "app/weather.py"


def test_an_open_document_counts_as_it_is_in_the_editor(provider: ContextProvider) -> None:
    provider.edited("app/billing.py", BILLING.replace("post_invoice", "enter_invoice"), 12)
    after = shown(ask(provider))
    assert "enter_invoice" in after
    assert "post_invoice" not in after
    provider.closed("app/billing.py")
    assert "post_invoice" in shown(ask(provider))


def test_open_documents_alone_answer_where_there_is_no_index(home: Home, workspace: Path) -> None:
    provider = ContextProvider(home, workspace, Exclusions())
    assert ask(provider).snippets == ()
    provider.edited("app/billing.py", BILLING, -1)
    assert "post_invoice" in shown(ask(provider))


def test_a_provider_without_a_workspace_knows_open_documents(home: Home, tmp_path: Path) -> None:
    provider = ContextProvider(home, None, Exclusions())
    other = (tmp_path / "billing.py").as_posix()
    provider.edited(other, BILLING, -1)
    text = "ledger.post_invoice(number, amount_cents)\nledger."
    around = provider.around("/elsewhere/x.py", split_lines(text), 1, text, 900)
    assert [snippet.path for snippet in around.snippets][:1] == [other]


def test_other_parts_of_the_same_file_are_shown(home: Home, workspace: Path) -> None:
    provider = ContextProvider(home, workspace, Exclusions())
    text = BILLING + "\n\n" + WEATHER * 4 + "\n\ndef audit(ledger):\n    ledger.post_invoice(\n"
    lines = split_lines(text)
    window = "".join(lines[-8:])
    around = provider.around("app/shop.py", lines, len(lines) - 1, window, 900)
    assert "amount_cents: int" in shown(around)


def test_a_place_edited_lately_goes_before_one_that_was_not(home: Home, workspace: Path) -> None:
    provider = ContextProvider(home, workspace, Exclusions())
    for name in ("a", "b"):
        provider.edited(f"app/{name}.py", WEATHER.replace("station", f"station_{name}"), -1)
    provider.edited("app/b.py", WEATHER.replace("station", "station_b"), 2)
    around = ask(provider, "pressure, humidity = forecast(readings, hours)\n", 0, 500)
    assert around.snippets[0].path == "app/b.py"


# --- what never comes


def test_what_the_prompt_shows_already_is_not_shown_again(provider: ContextProvider) -> None:
    around = provider.around("app/shop.py", split_lines(SHOP), 6, SHOP + BILLING, 4_000)
    assert "self.entries.append" not in shown(around)


def test_a_copy_of_a_snippet_is_not_shown_twice(home: Home, workspace: Path) -> None:
    files = [(f"app/copy{n}.py", WEATHER) for n in range(5)]
    build(home, workspace, files)
    provider = ContextProvider(home, workspace, Exclusions())
    around = ask(provider, "x = pressure + humidity + readings\n", 0, 5_000)
    assert shown(around).count("readings = station.readings(hours)") == 1


def test_the_current_file_as_it_was_on_disk_is_never_shown(home: Home, workspace: Path) -> None:
    build(home, workspace, [("app/shop.py", WEATHER)])
    provider = ContextProvider(home, workspace, Exclusions())
    assert ask(provider, "x = pressure + humidity + readings\n", 0).snippets == ()


@pytest.mark.parametrize("budget", [0, 59, 200, 700, 5_000])
def test_snippets_and_their_paths_stay_inside_the_budget(
    provider: ContextProvider, budget: int
) -> None:
    around = ask(provider, budget=budget)
    assert sum(len(s.text) + len(s.path) for s in around.snippets) <= budget
    assert bool(around.snippets) == (budget >= 200)


def test_a_chunk_with_a_secret_is_left_out(home: Home, workspace: Path) -> None:
    leaky = WEATHER.replace("return", 'password = "hunter2horsestaple"\n    return')
    build(home, workspace, [("app/leaky.py", leaky)])
    provider = ContextProvider(home, workspace, Exclusions())
    assert "hunter2" not in shown(ask(provider, "x = pressure + humidity + readings\n", 0, 5_000))


def test_an_excluded_document_is_never_kept(home: Home, workspace: Path) -> None:
    provider = ContextProvider(home, workspace, Exclusions(["private/"]))
    provider.edited("private/billing.py", BILLING, 3)
    provider.edited("credentials.json", '{"post_invoice": 1}', 0)
    assert ask(provider).snippets == ()


def test_another_language_gives_way(home: Home, workspace: Path) -> None:
    script = "function forecast(pressure, humidity) {\n  return readings(pressure, humidity)\n}\n"
    build(home, workspace, [("app/a.js", script), ("app/b.py", WEATHER)])
    provider = ContextProvider(home, workspace, Exclusions())
    around = ask(provider, "x = forecast(pressure, humidity, readings)\n", 0, 2_000)
    assert around.snippets[0].path == "app/b.py"


@pytest.mark.parametrize(
    "data",
    [b"x = 1\0", b"x = '\xff\xfe'\n", b"x = 1\n" * 200_000, b"# @generated\nx = 1\n", b"a" * 9_000],
    ids=["binary", "not utf-8", "too large", "generated", "minified"],
)
def test_files_that_nobody_typed_are_not_readable(data: bytes) -> None:
    assert readable(data) is None
    assert readable(b"x = 1\n") == "x = 1\n"


# --- stability and threads


def test_the_same_situation_gives_the_same_snippets(home: Home, workspace: Path) -> None:
    build(home, workspace, [("app/billing.py", BILLING), ("app/weather.py", WEATHER)])
    asked = [ask(ContextProvider(home, workspace, Exclusions())) for _ in range(3)]
    assert asked[0].snippets
    assert asked[0] == asked[1] == asked[2]


def test_a_small_move_keeps_the_snippets(provider: ContextProvider) -> None:
    before = ask(provider)
    text = SHOP.replace("ledger.\n", "ledger.post_invoice(order.number, 1)\n        log(order)\n")
    assert ask(provider, text, 7) == before


def test_snippets_in_use_are_given_up_once_their_file_says_otherwise(
    home: Home, workspace: Path, provider: ContextProvider
) -> None:
    before = ask(provider)
    changed = BILLING.replace("amount_cents", "amount_in_cents")
    build(home, workspace, [("app/billing.py", changed)])
    assert "amount_cents" in shown(before)
    assert "amount_cents" not in shown(ask(provider))


def test_editing_goes_on_while_another_thread_asks(provider: ContextProvider) -> None:
    failures: list[BaseException] = []

    def edit() -> None:
        try:
            for number in range(200):
                provider.edited(f"app/file{number % 7}.py", BILLING + f"\nx = {number}\n", number)
                provider.closed(f"app/file{number % 5}.py")
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=edit) for _ in range(2)]
    for thread in threads:
        thread.start()
    answers = [ask(provider) for _ in range(20)]
    for thread in threads:
        thread.join()
    assert not failures
    assert all(answer.snippets for answer in answers)


def test_a_line_of_a_megabyte_is_neither_shown_nor_slow(provider: ContextProvider) -> None:
    text = SHOP + "x = '" + "ab " * 350_000 + "'\n"
    around = provider.around("app/shop.py", split_lines(text), 6, SHOP, 2_000)
    assert all(len(snippet.text) < 2_000 for snippet in around.snippets)
    assert "post_invoice" in shown(around)


# --- the index


def test_a_removed_file_is_not_found_any_more(home: Home, workspace: Path) -> None:
    build(home, workspace, [("a.py", WEATHER), ("b.py", BILLING)])
    build(home, workspace, [], gone=["a.py"])
    reader = IndexReader(context_file(home, workspace))
    assert reader.pieces(["humidity"], 9) == []
    assert [piece.path for piece in reader.pieces(["post_invoice"], 9)] == ["b.py"]
    assert reader.counts(["humidity", "post_invoice"]) == {"post_invoice": 1}


def test_a_changed_file_is_found_by_its_new_words_alone(home: Home, workspace: Path) -> None:
    build(home, workspace, [("a.py", WEATHER)])
    build(home, workspace, [("a.py", WEATHER.replace("humidity", "dampness"))])
    reader = IndexReader(context_file(home, workspace))
    assert reader.pieces(["humidity"], 9) == []
    assert "dampness" in reader.pieces(["dampness"], 9)[0].text
    assert reader.definitions("a.py")[0].signature == "def forecast(station, hours):"


def test_a_damaged_index_is_built_anew(home: Home, workspace: Path) -> None:
    build(home, workspace, [("a.py", WEATHER)])
    file = context_file(home, workspace)
    data = bytearray(file.read_bytes())
    data[4096:] = b"\x55" * (len(data) - 4096)
    file.write_bytes(bytes(data))
    build(home, workspace, [("b.py", BILLING)])
    assert IndexReader(file).pieces(["post_invoice"], 9)[0].path == "b.py"


def test_an_index_of_another_version_is_built_anew(home: Home, workspace: Path) -> None:
    build(home, workspace, [("a.py", WEATHER)])
    file = context_file(home, workspace)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(ContextIndexError, match="another version"):
        IndexReader(file)
    index = ContextIndex(file)
    assert index.known() == {}


def test_a_reader_that_meets_damage_goes_on_without_and_marks_it(
    home: Home, workspace: Path, provider: ContextProvider
) -> None:
    file = context_file(home, workspace)
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\x55" * (size - 4096))
    provider.edited("app/weather.py", WEATHER, -1)
    around = ask(provider, "x = pressure + humidity + readings\n", 0)
    assert around.snippets[0].path == "app/weather.py"
    assert damage_mark(file).exists()
    forget(home, workspace)
    build(home, workspace, [("app/weather.py", WEATHER), ("app/billing.py", BILLING)])
    assert "post_invoice" in shown(ask(provider))


def test_a_full_disk_is_told_and_what_was_committed_stays(home: Home, workspace: Path) -> None:
    build(home, workspace, [("a.py", WEATHER)])
    index = ContextIndex(context_file(home, workspace))
    (pages,) = index._connection.execute("PRAGMA page_count").fetchone()
    index._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ContextIndexError, match="free some room"):
        for number in range(50):
            index.put(f"b{number}.py", "\n".join(f"name_{number}_{n} = {n}" for n in range(500)))
    index.close()
    assert IndexReader(context_file(home, workspace)).files(["a.py", "b0.py"]) == {"a.py"}


def test_stamps_and_contents_are_known_again(home: Home, workspace: Path) -> None:
    index = ContextIndex(context_file(home, workspace))
    index.put("a.py", WEATHER, Stamp(5, 7))
    index.touch("a.py", Stamp(6, 7))
    index.commit()
    index.close()
    again = ContextIndex(context_file(home, workspace)).known()
    assert again["a.py"].stamp == Stamp(6, 7)


def test_forgetting_deletes_both_indexes_and_nothing_of_another_folder(
    home: Home, workspace: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "shop"
    other.mkdir(parents=True)
    for folder in (workspace, other):
        build(home, folder, [("a.py", WEATHER)])
        memory_folder(home, "f" * 64, folder).mkdir(parents=True)
        (memory_folder(home, "f" * 64, folder) / "x.seg").write_bytes(b"x")
    assert workspace_key(workspace) != workspace_key(other)
    assert forget(home, workspace)
    assert not context_file(home, workspace).exists()
    assert not memory_folder(home, "f" * 64, workspace).exists()
    assert context_file(home, other).exists()
    assert memory_folder(home, "f" * 64, other).exists()
    assert not forget(home, workspace)


def test_a_forgotten_index_is_not_read_any_more(
    home: Home, workspace: Path, provider: ContextProvider
) -> None:
    assert ask(provider).snippets
    forget(home, workspace)
    provider.closed("app/shop.py")
    assert ask(provider).snippets == ()


# --- the parts


def test_identifiers_are_indexed_whole_and_in_parts() -> None:
    assert parts("fetchUserName") == parts("fetch_user_name") == ("fetch", "user", "name")
    assert parts("HTTPServer") == ("http", "server")
    assert parts("word") == ()
    assert indexed("fetchUser = user") == ("fetchuser user", "fetch")


def test_chunks_hold_every_line_once_and_end_at_joints() -> None:
    lines = split_lines(BILLING)
    chunks = cut(lines)
    held = [line for chunk in chunks for line in chunk.text.splitlines() if line.strip()]
    assert held == [line.rstrip() for line in lines if line.strip()]
    assert all(chunk.last - chunk.first <= MOST_LINES for chunk in chunks)
    starts = [chunk.text.split("\n")[0].strip() for chunk in cut(split_lines(WEATHER * 9))]
    assert set(starts) == {"def forecast(station, hours):"}


def test_a_file_without_joints_is_cut_all_the_same() -> None:
    lines = [f"value_{n} = {n}\n" for n in range(1_000)]
    assert sum(chunk.last - chunk.first for chunk in cut(lines)) == 1_000
    assert cut(["\n"] * 5_000) == []
    assert cut([]) == []


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "python",
            "class A(B):\n  def f(self,\n      a: int) -> str:\n    def inner(): pass\n",
            [("A", "", "class A(B):"), ("f", "A", "def f(self, a: int) -> str:")],
        ),
        (
            "typescript",
            "export class A { run(x: number): void { const f = () => 1 } }\ntype T = string\n",
            [
                ("A", "", "class A"),
                ("run", "A", "run(x: number): void"),
                ("T", "", "type T = string"),
            ],
        ),
        ("javascript", "const add = (a, b) => a + b\n", [("add", "", "add = (a, b) =>")]),
        (
            "rust",
            "impl A { pub fn new(x: i32) -> Self { A } }\n",
            [("new", "A", "pub fn new(x: i32) -> Self")],
        ),
        (
            "go",
            "package p\nfunc (a *A) Run(x int) error { return nil }\n",
            [("Run", "", "func (a *A) Run(x int) error")],
        ),
        (
            "c",
            "static char *name(int a) { return 0; }\n",
            [("name", "", "static char *name(int a)")],
        ),
        (
            "java",
            "class A { int f(int x) { return x; } }\n",
            [("A", "", "class A"), ("f", "A", "int f(int x)")],
        ),
        ("sql", "SELECT 1", []),
    ],
)
def test_definitions_are_signatures_without_bodies(
    language: str, text: str, expected: list[tuple[str, str, str]]
) -> None:
    assert [(d.name, d.owner, d.signature) for d in definitions(text, language)] == expected


def test_python_imports_lead_to_files() -> None:
    text = "try:\n    from ..models import Request as R\nexcept ImportError:\n    import app.api\n"
    relative, absolute = imports(split_lines(text), "python")
    assert relative == Import("..models", (("Request", "R"),))
    assert candidates(relative, "src/app/web/views.py", "python")[0] == "src/app/models.py"
    assert "src/app/api.py" in candidates(absolute, "src/app/web/views.py", "python")


def test_imports_of_a_file_outside_the_workspace_end_at_the_root() -> None:
    (found,) = imports(["import app.api\n"], "python")
    assert "/srv/app/api.py" in candidates(found, "/srv/main.py", "python")


def test_script_imports_lead_to_files() -> None:
    text = 'import D, { a as b } from "./x.js"\nconst { q } = require("../y")\nimport "react"\n'
    first, second, third = imports(split_lines(text), "typescript")
    assert first == Import("./x.js", (("D", "D"), ("a", "b")))
    assert "src/x.ts" in candidates(first, "src/main.ts", "typescript")
    assert second.names == (("q", "q"),)
    assert "y/index.ts" in candidates(second, "src/main.ts", "typescript")
    assert candidates(third, "src/main.ts", "typescript") == []


def test_a_name_that_a_package_passes_on_is_found_where_it_is_defined(
    home: Home, workspace: Path
) -> None:
    build(
        home,
        workspace,
        [("app/__init__.py", "from .billing import InvoiceLedger\n"), ("app/billing.py", BILLING)],
    )
    provider = ContextProvider(home, workspace, Exclusions())
    text = SHOP.replace("app.billing", "app")
    around = provider.around("shop.py", split_lines(text), 6, text, 1_000)
    assert around.snippets[0].path == "app/billing.py"


@pytest.mark.parametrize(
    "text",
    [
        'password = "hunter2horsestaple"',
        'key = "AKIAIOSFODNN7EXAMPLE"',
        "postgres://user:pa55w%rd@host/db",
        '"token": "ghp_0123456789abcdefghijABCDEFGHIJ012345"',
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n",
        'digest = "5f4dcc3b5aa765d61d8327deb882cf99"',
        "export SLACK=xoxb-123456789012-123456789012-abcdefghijklmnopqrstuvwx",
    ],
)
def test_secrets_are_seen_as_the_session_log_sees_them(text: str) -> None:
    assert has_secret(f"x = 1\n{text}\ny = 2\n")
    assert not has_secret(BILLING)


def test_profiles_share_no_index(tmp_path: Path) -> None:
    work, private = (Home(tmp_path / "home", name) for name in ("work", "private"))
    for place in (context_file, lambda home, root: memory_folder(home, "ab" * 32, root)):
        assert place(work, tmp_path) != place(private, tmp_path)
        assert place(work, tmp_path).is_relative_to(work.profile_dir)
