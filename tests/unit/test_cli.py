"""The `neuralforge` command: every subcommand for real, and what it says when it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from gguf_maker import make_adapter
from neuralforge_adapters.base import Base
from neuralforge_adapters.command_line import run_command
from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import Home
from neuralforge_adapters.stack import StackEntry, StackFile
from neuralforge_adapters.store import GGUF_FILE, AdapterStore, Manifest
from neuralforge_adapters.trainer_files import read_control
from neuralforge_server.cli import COMMANDS, group
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.rows import Suggestion, new_id

SOURCE = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(group, arguments, prog_name="neuralforge")


def answer(*arguments: str) -> Any:
    """The JSON that a command prints."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def personal(home: Home, base: Base, tmp_path: Path) -> AdapterStore:
    """A store with two versions of the personal adapter."""
    store = AdapterStore(home)
    for seed in (1, 2):
        with store.staging("personal") as staged:
            make_adapter(staged / GGUF_FILE, seed=seed, strength=0.3)
            store.publish(staged, Manifest("personal", base.digest, 8, 8.0))
    return store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source: one.py"
    path.write_text(SOURCE)
    return path


def all_commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {k}", v) for k, v in command.commands.items())


@pytest.mark.parametrize(("name", "command"), list(all_commands()))
def test_help_of_every_command_ends_with_an_example(name: str, command: click.Command) -> None:
    assert command.epilog is not None and command.epilog.startswith("Example: neuralforge ")
    assert name.split()[0] in command.epilog


@pytest.mark.parametrize("arguments", [["-h"], ["one", "-h"]])
def test_every_command_line_takes_h_for_help(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the trainer's, which get the arguments of `neuralforge pretrain` and others."""
    plain = click.Group(commands={"one": click.Command("one")})
    monkeypatch.setattr(sys, "argv", ["", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_command(plain, "neuralforge pretrain")
    assert ended.value.code == 0 and "-h, --help" in capsys.readouterr().out


def test_help_names_every_command_without_importing_any() -> None:
    script = (
        "import sys; from neuralforge_server.cli import group\n"
        "try: group(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pygls', 'torch', 'llama_cpp', 'sqlite_utils', 'gguf'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_complete_prints_the_suggestion(source: Path) -> None:
    result = run("complete", f"{source}:6:18")
    assert result.exit_code == 0 and result.stdout.startswith("on")


def test_complete_serves_an_adapter_on_top(source: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "x.lora", strength=0.3)
    plain = answer("complete", f"{source}:6:18")
    other = answer("complete", f"{source}:6:18", "--adapter", f"{adapter}*0.9")
    assert plain["stack"] == [] and other["stack"] == [{"adapter": str(adapter), "scale": 0.9}]
    assert plain["completion"]["text"] != other["completion"]["text"]


@pytest.mark.parametrize("place", ["file.py", "file.py:1", "file.py:0:1", "file.py:a:b", ":1:1"])
def test_complete_names_a_place_that_is_none(place: str) -> None:
    result = run("complete", place)
    assert result.exit_code == 2 and "Error" in result.output


def test_complete_past_the_end_of_the_file_answers(source: Path) -> None:
    assert run("complete", f"{source}:999:999").exit_code == 0


def test_complete_with_a_base_that_is_none_says_so(source: Path, tmp_path: Path) -> None:
    result = run("complete", f"{source}:1:1", "--base", str(tmp_path / "no.gguf"))
    assert isinstance(result.exception, NeuralForgeError) and "no.gguf" in str(result.exception)


def test_an_adapter_is_exported_and_the_folder_loads(
    personal: AdapterStore, tmp_path: Path
) -> None:
    written = answer("adapters", "export", "personal@v0001", str(tmp_path / "mine"))
    assert written == {"adapter": "personal@v0001", "path": str(tmp_path / "mine")}
    assert answer("adapters", "load", written["path"])[-1]["adapter"] == written["path"]
    again = run("adapters", "export", "personal", str(tmp_path / "mine" / "adapter.gguf"))
    assert isinstance(again.exception, NeuralForgeError) and "exists already" in str(
        again.exception
    )


def test_adapters_list_show_and_rollback(personal: AdapterStore) -> None:
    rows = answer("adapters", "list")
    assert [(r["adapter"], r["current"]) for r in rows] == [
        ("personal@v0001", ""),
        ("personal@v0002", "yes"),
    ]
    assert answer("adapters", "show", "personal")["version"] == "v0002"
    assert answer("adapters", "rollback")["version"] == "v0001"
    assert answer("adapters", "rollback", "personal@v0002")["version"] == "v0002"
    assert "personal@v0002" in run("adapters", "list").stdout


def test_adapters_load_and_unload_change_the_stack_in_force(
    personal: AdapterStore, home: Home
) -> None:
    answer("adapters", "load", "personal@v0001", "--scale", "0.5")
    assert StackFile(home).read() == (StackEntry("personal@v0001", 0.5),)
    answer("adapters", "unload", "personal")
    assert StackFile(home).read() == ()
    assert isinstance(run("adapters", "unload", "personal").exception, NeuralForgeError)
    assert isinstance(run("adapters", "load", "nobody").exception, NeuralForgeError)


def test_stacks_are_saved_listed_used_and_removed(personal: AdapterStore, home: Home) -> None:
    assert answer("stacks", "list") == []
    run("stacks", "save", "usual")
    run("stacks", "save", "half", "--adapter", "personal@v0001*0.5")
    rows = {row["name"]: row for row in answer("stacks", "list")}
    assert {name: row["in_force"] for name, row in rows.items()} == {"usual": True, "half": False}
    assert rows["usual"]["adapters"][0]["means"] == "personal@v0002"
    assert run("stacks", "use", "half").stdout == "In force: personal@v0001 × 0.5.\n"
    assert StackFile(home).read() == (StackEntry("personal@v0001", 0.5),)
    assert "personal@v0001 × 0.5" in run("stacks", "list").stdout
    assert answer("stacks", "remove", "half")["name"] == "half"
    assert [row["name"] for row in answer("stacks", "list")] == ["usual"]


def test_a_stack_that_cannot_be_served_changes_nothing(personal: AdapterStore, home: Home) -> None:
    run("stacks", "save", "old", "--adapter", "personal@v0007")
    before = StackFile(home).read()
    refused = run("stacks", "use", "old")
    assert isinstance(refused.exception, NeuralForgeError) and "v0007" in str(refused.exception)
    assert StackFile(home).read() == before
    assert isinstance(run("stacks", "use", "none").exception, NeuralForgeError)


def test_adapters_of_an_empty_home_say_how_to_get_one() -> None:
    assert "neuralforge train" in run("adapters", "list").stdout


def suggestion(text: str, repository: str | None = None) -> Suggestion:
    return Suggestion(
        id=new_id(), created=1.8e9, base="b", stack="s", stack_json="[]", uri="file:///a.py",
        path="/a.py", repository=repository, language="python", line=3, character=0,
        trigger="automatic", prefix_tail="", suffix_head="", text=text, latency_ms=12.0, tokens=5,
    )  # fmt: skip


def test_log_show_stats_and_purge(home: Home) -> None:
    with SessionLog.open(home.session_log) as log:
        one, two = suggestion("return one"), suggestion("return two", "/secret")
        log.record_suggestion(one), log.record_suggestion(two)
        log.record_outcome(one.id, "accepted", "client")
    assert [r["text"] for r in answer("log", "show", "--outcome", "accepted")] == ["return one"]
    assert "return two" in run("log", "show").stdout
    assert answer("log", "stats")["overall"]["accepted"] == 1
    assert "python" in run("log", "stats").stdout
    assert answer("log", "purge", "--repository", "/secret")["suggestions"] == 1
    assert answer("log", "purge", "--older-than-days", "100000")["suggestions"] == 0
    assert answer("log", "purge", "--everything")["suggestions"] == 1
    assert run("log", "purge").exit_code == 2


def test_status_shows_what_is_in_force(personal: AdapterStore, base: Base) -> None:
    status = answer("status")
    assert status["base"]["digest"] == base.digest
    assert status["stack"]["adapters"] == [{"adapter": "personal@v0002", "scale": 1.0}]
    assert "personal@v0002 × 1" in run("status").stdout


@pytest.mark.parametrize("spoilt", ["root", "session_log"])
def test_status_shows_the_rest_where_the_log_cannot_be_opened(home: Home, spoilt: str) -> None:
    if spoilt == "root":
        home.root.write_text("a file in place of the home")
    else:
        home.session_log.mkdir(parents=True)
    status = answer("status")
    assert Path(status["base"]["path"]).is_file()
    assert status["stack"]["adapters"] == []
    assert str(home.root) in status["log"]["error"]
    assert status["log"]["error"] in run("status").stdout


def test_doctor_finds_this_machine_well_and_a_bad_base_ill(tmp_path: Path) -> None:
    checks = answer("doctor")
    assert {c["check"] for c in checks} >= {"home", "engine", "log", "git"}
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"nothing")
    result = run("doctor", "--base", str(bad))
    assert result.exit_code == 1
    assert "FAIL" in result.stdout and "bad.gguf" in result.stdout


@pytest.mark.parametrize(
    ("flag", "command"), [("--pause", "pause"), ("--resume", "run"), ("--cancel", "cancel")]
)
def test_train_orders_reach_the_home(home: Home, flag: str, command: str) -> None:
    assert answer("train", flag)["order"]["command"] == command
    assert read_control(home).command == command


def test_train_wants_one_source() -> None:
    assert run("train").exit_code == 2
    assert run("train", "--session", "--from-git", ".").exit_code == 2


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("speed=2", "unknown name 'speed' in the job; known are accumulation, "),
        ("epochs=two", "setting epochs cannot be 'two'; its default is 1"),
        ("replay_share=1.5", "setting replay_share cannot be 1.5"),
        ("epochs", "'epochs' has no value; write for example epochs=2"),
    ],
)
def test_a_setting_that_train_cannot_use_is_named(setting: str, words: str) -> None:
    start = "from neuralforge_server.cli import main; main()"
    given = ["--session", "--set", "arm=none", "--set", setting]
    done = subprocess.run(
        [sys.executable, "-P", "-c", start, "train", *given], capture_output=True, text=True
    )
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_train_hands_settings_on(home: Home) -> None:
    start = "from neuralforge_server.cli import main; main()"
    given = ["--session", "--set", "least_samples=7", "--set", "arm=none"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", start, "train", *given], capture_output=True, text=True
    )
    assert done.returncode == 0 and "7 and 10 are needed" in done.stdout, done.stderr


def test_train_on_what_is_no_repository_says_so(tmp_path: Path) -> None:
    start = "from neuralforge_server.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", start, "train", "--from-git", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr and "Traceback" not in done.stderr


def test_an_error_of_ours_is_one_line_and_status_one(tmp_path: Path) -> None:
    start = "from neuralforge_server.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", start, "adapters", "show", "nobody"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("neuralforge: no adapter 'nobody'")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["nowhere", "host:", "host:99999"])
def test_serve_names_an_address_that_is_none(address: str) -> None:
    result = run("serve", "--tcp", address)
    assert result.exit_code == 2 and "HOST:PORT" in result.output


def test_without_a_subcommand_it_serves() -> None:
    result = run("--adapter", "x.lora*much")
    assert result.exit_code == 2 and "is no scale" in result.output


@pytest.mark.parametrize("harm", ["garbage", "cut", "nan"])
def test_a_damaged_adapter_is_neither_loaded_nor_called_well(
    home: Home, tmp_path: Path, harm: str
) -> None:
    path = make_adapter(tmp_path / "a.gguf", spoil=float("nan") if harm == "nan" else None)
    if harm != "nan":
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if harm == "cut" else b"garbage" * 99)
    before = StackFile(home).read()
    assert isinstance(run("adapters", "load", str(path)).exception, NeuralForgeError)
    assert StackFile(home).read() == before
    StackFile(home).write([StackEntry(str(path))])
    result = run("doctor")
    assert result.exit_code == 1 and "a.gguf" in result.stdout
