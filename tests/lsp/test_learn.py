"""Learning behind the server: consent, the start by itself, typing that holds it up, progress."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from git_maker import ADA, GitMaker, isolate
from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import (
    TrainerState,
    read_control,
    read_state,
    seconds_since_typing,
    write_state,
)
from neuralforge_server.lsp_client import LspClient, ServerError
from neuralforge_server.session.log import SessionLog

Starter = Callable[..., Awaitable[LspClient]]

AT_ONCE = {"learning": {"idle_seconds": 0, "nice": 0}}
NEVER = {"learning": {"idle_seconds": 86_400, "nice": 0}}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitMaker:
    """Too short a history to learn from: a training on it ends before torch is imported."""
    isolate(monkeypatch, tmp_path)
    made = GitMaker(tmp_path / "project")
    made.git("config", "user.email", ADA.email)
    made.commit({"a.py": "def add(first, second):\n    return first + second\n"})
    return made


@pytest.fixture
def training(home: Home) -> Iterator[Callable[..., None]]:
    """Writes the state of a trainer, which is this process."""
    started = time.time()

    def write(state: Any, percent: int, message: str = "") -> None:
        state = TrainerState(os.getpid(), started, "project", state, profile=home.profile)
        write_state(home, replace(state, percent=percent, message=message))

    yield write


def asked(editor: LspClient) -> list[str]:
    return [
        r["params"]["message"]
        for r in editor.requests
        if r["method"] == "window/showMessageRequest"
    ]


def ends(editor: LspClient) -> int:
    return sum(
        n["method"] == "$/progress" and n["params"]["value"]["kind"] == "end"
        for n in editor.notifications
    )


async def test_consent_is_asked_once_and_yes_starts_a_training_by_itself(
    start: Starter, home: Home, repository: GitMaker
) -> None:
    editor = await start(settings=AT_ONCE)
    editor.answers["window/showMessageRequest"] = lambda params: params["actions"][0]
    for name in ("a.py", "b.py"):
        editor.open((repository.root / name).as_uri(), "")
    learning = await editor.wait_for(
        "$/progress", lambda p: "Learning" in p["value"].get("title", "")
    )
    await editor.wait_for(
        "$/progress", lambda p: p["token"] == learning["token"] and p["value"]["kind"] == "end"
    )
    assert len(asked(editor)) == 1 and str(repository.root) in asked(editor)[0]
    with SessionLog.open(home.session_log) as log:
        assert log.consent(repository.root) == "yes"
    state = read_state(home)
    assert state is not None and state.state == "done" and state.job == str(repository.root)


async def test_a_new_commit_starts_the_next_training(
    start: Starter, home: Home, repository: GitMaker
) -> None:
    editor = await start(settings=AT_ONCE)
    await editor.execute("neuralforge.consent", str(repository.root), "yes")
    await editor.wait_for("$/progress", lambda p: "Learning" in p["value"].get("title", ""))
    while (first := read_state(home)) is None or first.state != "done":
        await editor.execute("neuralforge.status")
    repository.now = int(time.time()) + 60
    repository.commit({"a.py": "def add(first, second, third):\n    return first + third\n"})
    while (second := read_state(home)) is None or second.started == first.started:
        await editor.execute("neuralforge.status")


async def test_no_is_kept_and_nothing_is_learned(
    start: Starter, home: Home, repository: GitMaker
) -> None:
    editor = await start(settings=AT_ONCE)
    editor.answers["window/showMessageRequest"] = lambda params: params["actions"][1]
    editor.open((repository.root / "a.py").as_uri(), "")
    await editor.wait_for("window/showMessageRequest")
    answer = None
    while answer is None:
        await editor.execute("neuralforge.status")
        with SessionLog.open(home.session_log) as log:
            answer = log.consent(repository.root)
    assert answer == "no"
    await editor.stop()
    again = await start(settings=AT_ONCE)
    again.open((repository.root / "a.py").as_uri(), "")
    await again.execute("neuralforge.status")
    assert asked(again) == [] and read_state(home) is None


async def test_typing_is_noted_for_the_trainer(start: Starter, home: Home, tmp_path: Path) -> None:
    editor = await start(settings=NEVER)
    uri = (tmp_path / "a.py").as_uri()
    editor.open(uri, "")
    assert seconds_since_typing(home) == float("inf")
    while seconds_since_typing(home) > 60:
        editor.change(uri, "x", (0, 0))
        await editor.execute("neuralforge.status")


async def test_a_training_is_shown_with_percentages_and_can_be_cancelled(
    start: Starter, home: Home, training: Callable[..., None]
) -> None:
    editor = await start(settings=NEVER)
    await editor.execute("neuralforge.status")
    training("training", 40)
    begun = await editor.wait_for(
        "$/progress", lambda p: p["value"].get("title") == "Learning from project"
    )
    assert begun["value"]["cancellable"] is True
    await editor.wait_for("$/progress", lambda p: p["value"].get("percentage") == 40)
    editor.notify("window/workDoneProgress/cancel", {"token": begun["token"]})
    while read_control(home).command != "cancel":
        await editor.execute("neuralforge.status")
    before = ends(editor)
    training("cancelled", 40)
    while ends(editor) == before:
        await editor.execute("neuralforge.status")


async def test_a_failed_training_is_told(
    start: Starter, home: Home, training: Callable[..., None]
) -> None:
    editor = await start(settings=NEVER)
    await editor.execute("neuralforge.status")
    training("training", 10)
    await editor.wait_for("$/progress", lambda p: "Learning" in p["value"].get("title", ""))
    training("failed", 10, "the disk is full")
    message = await editor.wait_for("window/showMessage")
    assert "the disk is full" in message["message"]


async def test_trainings_that_have_ended_are_listed_newest_first(
    start: Starter, home: Home, repository: GitMaker, training: Callable[..., None]
) -> None:
    training("refused", 100, "worse on general code")
    editor = await start(settings=NEVER)
    await editor.execute("neuralforge.train.now", {"repository": str(repository.root)})
    shown: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while len(shown) < 2:
            shown = (await editor.execute("neuralforge.train.runs"))["runs"]
    first, second = shown
    assert (first["source"], first["result"]) == (str(repository.root), "nothing")
    assert (second["result"], second["reason"]) == ("refused", "worse on general code")
    assert (await editor.execute("neuralforge.train.runs", 1))["runs"] == [first]
    with pytest.raises(ServerError, match="whole number"):
        await editor.execute("neuralforge.train.runs", 0)


async def test_a_second_training_is_refused_before_the_first_has_said_that_it_runs(
    start: Starter, home: Home, repository: GitMaker
) -> None:
    editor = await start(settings=NEVER)
    wanted = {"repository": str(repository.root)}
    both = await asyncio.gather(
        *(editor.execute("neuralforge.train.now", wanted) for _ in range(2)),
        return_exceptions=True,
    )
    (started,) = [answer for answer in both if isinstance(answer, dict)]
    (refused,) = [answer for answer in both if isinstance(answer, ServerError)]
    assert started["started"] and "running already" in str(refused)
    while (state := read_state(home)) is None or state.state != "done":
        await editor.execute("neuralforge.status")
    assert (await editor.execute("neuralforge.train.now", wanted))["started"]


async def test_a_folder_that_is_no_repository_is_refused_at_once(
    start: Starter, home: Home, tmp_path: Path
) -> None:
    editor = await start(settings=NEVER)
    with pytest.raises(ServerError, match="no git repository"):
        await editor.execute("neuralforge.train.now", {"repository": str(tmp_path)})
    with SessionLog.open(home.session_log) as log:
        assert log.consent(tmp_path) is None


async def test_only_one_training_at_a_time(
    start: Starter, training: Callable[..., None], repository: GitMaker
) -> None:
    editor = await start(settings=NEVER)
    training("training", 10)
    with pytest.raises(Exception, match="running already"):
        await editor.execute("neuralforge.train.now", {"repository": str(repository.root)})


async def test_a_training_asked_for_that_learns_nothing_says_so_each_time(start: Starter) -> None:
    editor = await start(settings=NEVER)
    for _ in range(2):
        await editor.execute("neuralforge.train.now", {"session": True})
        told = await editor.wait_for("window/showMessage")
        assert told["message"].startswith("Nothing was learnt from")
        assert "too little is new" in told["message"]
        editor.notifications.clear()
