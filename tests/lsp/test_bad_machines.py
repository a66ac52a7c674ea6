"""Machines that lack something: one message that says what to do, and what can go on goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from neuralforge_server.lsp_client import LspClient

Starter = Callable[..., Awaitable[LspClient]]

TEXT = "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return js"
END = (5, 17)


def shown(editor: LspClient) -> list[str]:
    return [
        n["params"]["message"] for n in editor.notifications if n["method"] == "window/showMessage"
    ]


@pytest.fixture
def no_llama_cpp(tmp_path: Path) -> dict[str, str]:
    """Variables under which llama-cpp-python is installed, but its library is not."""
    (tmp_path / "stub" / "llama_cpp").mkdir(parents=True)
    (tmp_path / "stub" / "llama_cpp" / "__init__.py").write_text(
        "raise RuntimeError('Failed to load shared library libllama.so')"
    )
    return {"PYTHONPATH": str(tmp_path / "stub")}


async def test_a_home_that_cannot_be_written_is_named_once_and_completion_goes_on(
    start: Starter, tmp_path: Path, source: Path
) -> None:
    (tmp_path / "file").write_text("")
    editor = await start(home=tmp_path / "file" / "home")
    editor.open(source.as_uri(), TEXT)
    assert await editor.complete(source.as_uri(), END)
    assert (await editor.execute("neuralforge.status"))["log"]["error"]
    (message,) = shown(editor)
    assert "cannot create the folder" in message and "NEURALFORGE_HOME" in message


@pytest.mark.parametrize("share", [False, True])
async def test_an_engine_that_cannot_be_loaded_is_named_once_with_how_to_mend_it(
    start: Starter, source: Path, no_llama_cpp: dict[str, str], share: bool
) -> None:
    editor = await start(environment=no_llama_cpp, settings={"engine": {"share": share}})
    editor.open(source.as_uri(), TEXT)
    assert await editor.complete(source.as_uri(), END) == []
    await editor.wait_for("window/showMessage")
    status = await editor.execute("neuralforge.status")
    assert status["engine"]["state"] == "failed" and "error" not in status["log"]
    assert await editor.complete(source.as_uri(), END) == []
    (message,) = shown(editor)
    assert "llama.cpp cannot be loaded" in message
    assert f"{sys.executable} -m pip install --force-reinstall llama-cpp-python" in message


@pytest.mark.parametrize("compiler", [True, False])
def test_the_doctor_tells_of_a_compiler_only_where_there_is_none(
    no_llama_cpp: dict[str, str], tmp_path: Path, compiler: bool
) -> None:
    (tmp_path / "bin").mkdir()
    if compiler:
        (tmp_path / "bin" / ("c++.exe" if os.name == "nt" else "c++")).touch(mode=0o755)
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from neuralforge_server.cli import main; main()",
         "doctor", "--json"],
        env=os.environ | no_llama_cpp | {"PATH": str(tmp_path / "bin")},
        capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = {f["check"]: f for f in json.loads(done.stdout)}
    assert not found["engine"]["ok"] and "llama.cpp cannot be loaded" in found["engine"]["detail"]
    assert ("C++ compiler" in found["engine"]["advice"]) is not compiler
    assert not found["git"]["ok"] and "install git" in found["git"]["advice"]


async def test_the_server_says_its_version(start: Starter) -> None:
    editor = await start(initialize=False)
    answer = await editor.request("initialize", {"processId": None, "capabilities": {}})
    from importlib.metadata import version

    assert answer["serverInfo"] == {"name": "neuralforge", "version": version("neuralforge")}
