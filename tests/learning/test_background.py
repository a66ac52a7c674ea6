"""A session: type, commit, wait, see the progress, get the new version, roll it back.

Everything is real: server over stdio, git history, trainer process, adapter store. The base is
a small one with random weights, so that a training takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gguf_maker import make_base
from histories import commit_the_rest, older_clone
from neuralforge_adapters.home import Home
from neuralforge_adapters.trainer_files import read_state
from neuralforge_server.lsp_client import LspClient, ServerError

pytestmark = pytest.mark.slow


@pytest.fixture
def small_base(tmp_path: Path) -> Path:
    return make_base(
        tmp_path / "small.gguf", layers=2, width=64, heads=2, kv_heads=1, hidden=128,
        vocabulary=12288,
    )  # fmt: skip


async def served(editor: LspClient, adapters: list[str]) -> dict[str, Any]:
    """The server's status once it serves exactly these."""
    while True:
        status: dict[str, Any] = await editor.execute("neuralforge.status")
        trainer = status["trainer"] or {}
        assert trainer.get("state") not in ("failed", "refused"), trainer
        if [entry["adapter"] for entry in status["stack"]] == adapters:
            return status


async def learnt(editor: LspClient, seen: set[str]) -> list[dict[str, Any]]:
    """What was shown of the next training that is not yet `seen`, once it has ended."""

    def is_next(params: dict[str, Any]) -> bool:
        title = params["value"].get("title", "")
        return title.startswith("Learning from") and params["token"] not in seen

    token = (await editor.wait_for("$/progress", is_next, seconds=400))["token"]
    seen.add(token)
    await editor.wait_for("$/progress", lambda p: is_end(p, token), seconds=400)
    shown = [n["params"] for n in editor.notifications if n["method"] == "$/progress"]
    return [params["value"] for params in shown if params["token"] == token]


def is_end(params: dict[str, Any], token: str) -> bool:
    return bool(params["token"] == token and params["value"]["kind"] == "end")


@pytest.mark.timeout(900)
async def test_type_commit_wait_see_the_progress_get_the_new_version_roll_it_back(
    home: Home, house_repository: Path, small_base: Path, tmp_path: Path
) -> None:
    repository = older_clone(house_repository, tmp_path / "project", 24)
    settings = {
        "engine": {"base": str(small_base)},
        "learning": {"idle_seconds": 1, "quiet_seconds": 0.5, "nice": 0},
    }
    async with LspClient(home=home.root, settings=settings) as editor:
        editor.answers["window/showMessageRequest"] = lambda params: params["actions"][0]
        await editor.initialize()
        uri = (repository / "new_module.py").as_uri()
        editor.open(uri, "")  # the question is asked, and the answer is yes
        base_alone = await served(editor, [])
        seen: set[str] = set()
        await learnt(editor, seen)
        first = await served(editor, ["personal@v0001"])
        assert first["digest"] != base_alone["digest"]

        for number, character in enumerate("value = 1"):
            editor.change(uri, character, (0, number))
        commit_the_rest(repository)
        shown = await learnt(editor, seen)
        begin, *reports, _ = shown
        assert begin["title"] == f"Learning from {repository}" and begin["cancellable"]
        assert any("training " in r["message"] and "/" in r["message"] for r in reports), "steps"
        percentages = [report["percentage"] for report in reports]
        assert percentages == sorted(percentages) and 0 < percentages[-1] <= 100
        second = await served(editor, ["personal@v0002"])
        assert second["engine"]["restarts"] == 0, "nothing was restarted"
        assert second["engine"]["pid"] == base_alone["engine"]["pid"]

        answer = await editor.execute("neuralforge.adapter.rollback")
        assert answer["adapter"] == "personal@v0001"
        back = await served(editor, ["personal@v0001"])
        assert back["digest"] == first["digest"]
        with pytest.raises(ServerError, match="oldest"):
            await editor.execute("neuralforge.adapter.rollback")
        await editor.execute("neuralforge.adapter.unload", "personal")
        assert (await served(editor, []))["digest"] == base_alone["digest"]
    state = read_state(home)
    assert state is not None and state.state == "done" and state.version == "personal@v0002"
