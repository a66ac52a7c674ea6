"""The whole loop behind an editor: a yes, a training by itself, the gate, a swap without restart.

Everything is real: server over stdio, git history, trainer process, adapter store. The base is
a small one with random weights, so that a training takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gguf_maker import make_base
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


def is_end(params: dict[str, Any], token: str) -> bool:
    return bool(params["token"] == token and params["value"]["kind"] == "end")


async def served(editor: LspClient, adapters: list[str]) -> dict[str, Any]:
    """The server's status once it serves exactly these."""
    while True:
        status: dict[str, Any] = await editor.execute("neuralforge.status")
        trainer = status["trainer"] or {}
        assert trainer.get("state") not in ("failed", "refused"), trainer
        if [entry["adapter"] for entry in status["stack"]] == adapters:
            return status


@pytest.mark.timeout(240)
async def test_a_yes_leads_to_a_version_that_is_served_and_can_be_rolled_back(
    home: Home, house_repository: Path, small_base: Path
) -> None:
    settings = {
        "engine": {"base": str(small_base)},
        "learning": {"idle_seconds": 0, "quiet_seconds": 0},
    }
    async with LspClient(home=home.root, settings=settings) as editor:
        editor.answers["window/showMessageRequest"] = lambda params: params["actions"][0]
        await editor.initialize()
        editor.open((house_repository / "new_module.py").as_uri(), "")
        base_alone = await served(editor, [])
        begun = await editor.wait_for(
            "$/progress", lambda p: p["value"].get("title", "").startswith("Learning")
        )
        await editor.wait_for("$/progress", lambda p: is_end(p, begun["token"]), seconds=200)
        learnt = await served(editor, ["personal@v0001"])
        assert learnt["engine"]["restarts"] == 0, "nothing was restarted"
        assert learnt["digest"] != base_alone["digest"]
        percentages = [
            n["params"]["value"].get("percentage")
            for n in editor.notifications
            if n["method"] == "$/progress"
        ]
        assert any(p and 0 < p < 100 for p in percentages), "the training was seen to progress"

        (version,) = (await editor.execute("neuralforge.adapter.list"))["adapters"]
        assert version["adapter"] == "personal@v0001"
        with pytest.raises(ServerError, match="oldest"):
            await editor.execute("neuralforge.adapter.rollback")
        await editor.execute("neuralforge.adapter.unload", "personal")
        assert (await served(editor, []))["digest"] == base_alone["digest"]
        await editor.execute("neuralforge.adapter.load", "personal")
        assert (await served(editor, ["personal@v0001"]))["digest"] == learnt["digest"]
    state = read_state(home)
    assert state is not None and state.state == "done" and state.version == "personal@v0001"
