"""Suggestions switched off and on by command and by setting; the log shown; why none is trained."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from git_maker import GitMaker, isolate
from neuralforge_adapters.home import Home
from neuralforge_server.lsp_client import LspClient, ServerError

Starter = Callable[..., Awaitable[LspClient]]

TEXT = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"
END = (5, 17)
ALONE: dict[str, Any] = {"memory": {"scale": 0}, "context": {"enabled": False}}


async def suggests(editor: LspClient, uri: str) -> bool:
    return bool(await editor.complete(uri, END))


async def toggle(editor: LspClient, scope: str, target: str | None = None, **more: Any) -> Any:
    options = {"scope": scope, **({} if target is None else {"target": target}), **more}
    return await editor.execute("neuralforge.completion.toggle", options)


async def test_each_scope_switches_its_own_and_the_most_specific_word_counts(
    start: Starter, tmp_path: Path
) -> None:
    editor = await start(settings=ALONE)
    inside, outside = (tmp_path / "in" / "a.py").as_uri(), (tmp_path / "b.py").as_uri()
    for uri in (inside, outside):
        editor.open(uri, TEXT)
        assert await suggests(editor, uri)
    folder = (tmp_path / "in").as_uri()
    off = await toggle(editor, "workspace", folder)
    assert off == {"scope": "workspace", "target": folder, "enabled": False}
    assert not await suggests(editor, inside) and await suggests(editor, outside)
    assert (await toggle(editor, "document", inside))["enabled"]
    assert await suggests(editor, inside)
    assert not (await toggle(editor, "language", "python"))["enabled"]
    assert await suggests(editor, inside) and not await suggests(editor, outside)
    assert (await toggle(editor, "language", "python", enabled=True))["enabled"]
    assert await suggests(editor, outside)


async def test_the_global_switch_takes_the_base_out_of_memory_and_back(
    start: Starter, source: Path
) -> None:
    editor = await start(settings=ALONE)
    editor.open(source.as_uri(), TEXT)
    assert await suggests(editor, source.as_uri())
    assert not (await toggle(editor, "global"))["enabled"]
    assert (await editor.execute("neuralforge.status"))["engine"]["state"] == "stopped"
    assert not await suggests(editor, source.as_uri())
    assert (await toggle(editor, "global"))["enabled"]
    assert await suggests(editor, source.as_uri())


async def test_languages_are_switched_by_setting_and_the_star_names_the_others(
    start: Starter, tmp_path: Path
) -> None:
    editor = await start(settings={**ALONE, "completion": {"languages": {"*": False, "go": True}}})
    python, go = (tmp_path / "a.py").as_uri(), (tmp_path / "a.go").as_uri()
    editor.open(python, TEXT)
    editor.open(go, "package main\n\nfunc add(a int, b int) int {\n\treturn a", "go")
    assert not await suggests(editor, python)
    assert await editor.complete(go, (3, 9))
    editor.settings = {**ALONE, "completion": {"languages": {"python": True}}}
    editor.notify("workspace/didChangeConfiguration", {"settings": None})
    while not await suggests(editor, python):
        pass


@pytest.mark.parametrize(
    "options",
    [
        {"scope": "galaxy"},
        {"scope": "language"},
        {"scope": "document", "target": "file:///not-open"},
        {"scope": "global", "enabled": "yes"},
    ],
)
async def test_a_toggle_of_nothing_says_so(start: Starter, options: dict[str, Any]) -> None:
    editor = await start()
    with pytest.raises(ServerError) as raised:
        await editor.execute("neuralforge.completion.toggle", options)
    assert raised.value.code == -32602


async def test_the_log_is_searched_by_text_language_outcome_and_time(
    start: Starter, tmp_path: Path
) -> None:
    editor = await start(settings=ALONE)
    kept, other = (tmp_path / "kept.py").as_uri(), (tmp_path / "other.py").as_uri()
    items = {}
    for uri in (kept, other):
        editor.open(uri, TEXT)
        (items[uri],) = await editor.complete(uri, END)
    editor.change(kept, items[kept]["insertText"], END)
    await editor.accept(items[kept])

    async def show(**options: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]]
        rows = (await editor.execute("neuralforge.log.show", options))["rows"]
        return rows

    (accepted,) = await show(outcome="accepted")
    assert (accepted["uri"], accepted["text"]) == (kept, items[kept]["insertText"])
    assert accepted["stack"] == [] and "prefix_tail" not in accepted
    assert [row["uri"] for row in await show()] == [other, kept]
    assert [row["uri"] for row in await show(text="KEPT.py")] == [kept]
    assert [row["uri"] for row in await show(limit=1)] == [other]
    assert await show(language="rust") == await show(since=accepted["created"] + 3600) == []
    with pytest.raises(ServerError, match="outcome must be one of"):
        await show(outcome="lost")


async def test_the_trainer_says_why_it_does_not_train(start: Starter) -> None:
    editor = await start(settings={"learning": {"idle_seconds": 3600}})
    state = await editor.execute("neuralforge.train.state")
    assert (state["running"], state["paused"], state["trainer"]) == (False, False, None)
    assert "you are at work" in state["reason"]
    await editor.execute("neuralforge.train.pause")
    assert "is paused" in (await editor.execute("neuralforge.train.state"))["reason"]
    await editor.execute("neuralforge.train.resume")
    idle = await start(settings={"learning": {"idle_seconds": 0}})
    assert "0 new samples of" in (await idle.execute("neuralforge.train.state"))["reason"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitMaker:
    isolate(monkeypatch, tmp_path)
    made = GitMaker(tmp_path / "project")
    made.commit({"a.py": "x = 1\n", ".gitignore": "secret.py\n"})
    return made


def asked(editor: LspClient) -> list[str]:
    return [r["method"] for r in editor.requests if r["method"] == "window/showMessageRequest"]


async def test_consent_is_known_for_a_document_and_its_folder(
    start: Starter, repository: GitMaker
) -> None:
    editor = await start(settings={"learning": {"idle_seconds": 3600}})
    file, root = (repository.root / "a.py").as_uri(), str(repository.root)

    async def state(uri: str) -> Any:
        return await editor.execute("neuralforge.consent.state", uri)

    assert await state(file) == {"repository": root, "answer": None, "excluded": False}
    await editor.execute("neuralforge.consent", root, "no")
    assert (await state(root))["answer"] == "no"
    assert (await state((repository.root / "secret.py").as_uri()))["excluded"]
    assert (await state(repository.root.parent.as_uri()))["repository"] is None


@pytest.mark.parametrize("answer", ["yes", "no"])
async def test_a_linked_worktree_takes_over_the_answer_of_its_repository(
    start: Starter, home: Home, repository: GitMaker, answer: str
) -> None:
    linked = repository.root.parent / "linked"
    repository.git("worktree", "add", "--quiet", str(linked))
    editor = await start(settings={"learning": {"idle_seconds": 3600}})
    await editor.execute("neuralforge.consent", str(repository.root), answer)
    editor.open((linked / "a.py").as_uri(), "x = 1\n")
    while (await editor.execute("neuralforge.consent.state", str(linked)))["answer"] is None:
        pass
    assert (await editor.execute("neuralforge.consent.state", str(linked)))["answer"] == answer
    other = "no" if answer == "yes" else "yes"
    await editor.execute("neuralforge.consent", str(linked), other)
    root = str(repository.root)
    assert (await editor.execute("neuralforge.consent.state", root))["answer"] == other
    assert asked(editor) == []


async def test_the_report_is_written_and_given(start: Starter, home: Home, tmp_path: Path) -> None:
    editor = await start(settings=ALONE)
    own = await editor.execute("neuralforge.report.write")
    assert own["path"] == str(home.profile_dir / "report.html")
    named = await editor.execute("neuralforge.report.write", {"path": str(tmp_path / "r.html")})
    assert (tmp_path / "r.html").read_text("utf-8") == named["html"]
    assert named["html"].startswith("<!DOCTYPE html>") and named["uri"].startswith("file://")
