"""Beginning and end: no orphans, a dead engine comes back, TCP, a home that cannot be written."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from gguf_maker import make_adapter
from neuralforge_adapters.home import HOME_VARIABLE, Home
from neuralforge_adapters.stack import StackEntry, StackFile
from neuralforge_server.framing import FrameReader
from neuralforge_server.lsp_client import LspClient, ServerError
from neuralforge_server.session.log import SessionLog

Starter = Callable[..., Awaitable[LspClient]]

URI = "file:///a.py"
TEXT = "def add(first, second):\n    return "
END = (1, 11)


def tree(editor: LspClient) -> list[psutil.Process]:
    """The server and everything that it started."""
    server = psutil.Process(editor.process.pid)
    return [server, *server.children(recursive=True)]


async def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout=10)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


async def test_shutdown_and_exit_end_with_status_zero(start: Starter) -> None:
    editor = await start()
    processes = tree(editor)
    assert len(processes) >= 2
    assert await editor.stop() == 0
    assert await all_gone(processes)


async def test_what_was_recorded_is_written_once_shutdown_is_answered(
    start: Starter, home: Home
) -> None:
    """Some editors kill a server soon after."""
    editor = await start()
    editor.open(URI, TEXT)
    (item,) = await editor.complete(URI, END)
    editor.change(URI, item["insertText"], END)
    await editor.request("shutdown")
    editor.process.kill()
    with SessionLog.open(home.session_log) as log:
        (row,) = log.show(9)
    assert (row.text, row.outcome) == (item["insertText"], "accepted")


async def test_exit_without_shutdown_ends_with_status_one(start: Starter) -> None:
    editor = await start()
    editor.notify("exit")
    assert await editor.process.wait() == 1


async def test_the_end_of_stdin_ends_server_and_engine(start: Starter) -> None:
    editor = await start()
    editor.open(URI, TEXT)
    editor.send_complete(URI, END)
    processes = tree(editor)
    assert editor.process.stdin is not None
    editor.process.stdin.close()
    assert await all_gone(processes)


async def test_a_killed_server_leaves_no_engine(start: Starter) -> None:
    editor = await start()
    await editor.execute("neuralforge.status")
    processes = tree(editor)
    editor.process.kill()
    await editor.process.wait()
    assert await all_gone(processes)


async def test_a_killed_engine_comes_back_with_its_stack_and_the_connection_stays(
    start: Starter, tmp_path: Path
) -> None:
    editor = await start()
    file = make_adapter(tmp_path / "x.gguf", seed=1)
    stack = (await editor.execute("neuralforge.adapter.load", str(file)))["stack"]
    editor.open(URI, TEXT)
    before = await editor.complete(URI, END)
    (engine,) = psutil.Process(editor.process.pid).children()
    engine.kill()
    while (status := await editor.execute("neuralforge.status"))["engine"]["restarts"] == 0:
        assert isinstance(await editor.complete(URI, (0, 4)), list)
    while (status := await editor.execute("neuralforge.status"))["engine"]["state"] != "ready":
        pass
    assert status["stack"] == stack
    editor.close(URI)
    editor.open(URI, TEXT)
    after = await editor.complete(URI, END)
    assert [i["insertText"] for i in after] == [i["insertText"] for i in before]


async def test_a_base_that_is_none_is_told_and_the_connection_stays(
    start: Starter, tmp_path: Path
) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + bytes(20))
    editor = await start(settings={"engine": {"base": str(file)}})
    message = await editor.wait_for("window/showMessage")
    assert str(file) in message["message"]
    editor.open(URI, TEXT)
    assert await editor.complete(URI, END)  # the base from before is still served


async def test_a_home_that_cannot_be_written_is_told_and_completions_come(
    start: Starter, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("a file where a folder should be")
    editor = await start(home=file / "home")
    editor.open((tmp_path / "a.py").as_uri(), TEXT)
    assert await editor.complete((tmp_path / "a.py").as_uri(), END)
    await editor.wait_for("window/showMessage")
    with pytest.raises(ServerError, match=r"folder|write|open"):
        await editor.execute("neuralforge.train.pause")


async def test_tcp_serves_one_editor_on_a_port_of_the_systems_choice(home: Home) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", "from neuralforge_server.cli import main; main()",
        "serve", "--tcp", "127.0.0.1:0",
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, HOME_VARIABLE: str(home.root)},
    )  # fmt: skip
    assert process.stderr is not None
    address = re.search(rb"listening on 127.0.0.1:(\d+)", await process.stderr.readline())
    assert address is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address[1]))
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"capabilities": {}}}
    ).encode()
    writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    frames = FrameReader()
    (answer,) = [*frames.feed(await reader.read(1 << 16))]
    assert json.loads(answer)["result"]["serverInfo"]["name"] == "neuralforge"
    writer.close()
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_tcp_address_in_use_is_named_and_ends_with_status_one(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", "from neuralforge_server.cli import main; main()",
            "serve", "--tcp", address,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, HOME_VARIABLE: str(home.root)},
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert f"cannot listen on {address}" in said.decode()


async def test_at_the_start_one_bad_adapter_does_not_cost_the_others(
    start: Starter, home: Home, tmp_path: Path
) -> None:
    good = make_adapter(tmp_path / "good.gguf", strength=0.1)
    bad = make_adapter(tmp_path / "bad.gguf", spoil=float("nan"))
    StackFile(home).write([StackEntry(str(bad)), StackEntry(str(good), 0.5)])
    editor = await start()
    message = await editor.wait_for("window/showMessage")
    assert "bad.gguf" in message["message"]
    status = await editor.execute("neuralforge.status")
    assert status["stack"] == [{"adapter": str(good), "scale": 0.5}]


async def test_a_base_of_the_command_line_that_does_not_exist_is_told_and_completions_come(
    start: Starter, tmp_path: Path
) -> None:
    editor = await start("serve", "--base", str(tmp_path / "none.gguf"))
    told = await editor.wait_for("window/showMessage", lambda p: "none.gguf" in p["message"])
    assert "left as it was" in told["message"]
    editor.open(URI, TEXT)
    assert await editor.complete(URI, END)


async def test_what_was_damaged_and_recovered_is_told(start: Starter, home: Home) -> None:
    home.stack_file.parent.mkdir(parents=True)
    home.stack_file.write_text("[{")
    home.session_log.write_bytes(b"no database" * 1000)
    editor = await start()
    for damaged in (home.stack_file, home.session_log):
        await editor.wait_for("window/showMessage", lambda p, d=damaged: str(d) in p["message"])
    editor.open(URI, TEXT)
    assert await editor.complete(URI, END)
