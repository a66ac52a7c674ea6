"""Fetching a base in a process of its own, so that a server neither waits nor computes for it.

Invariant: the child prints nothing but JSON lines, `{"bytes", "of"}` as it goes on and at last
`{"pulled"}` or `{"error", "kind"}`; ended at any moment, it leaves what a later call goes on with.
A child whose reader is gone ends with its next line. Knows no editor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from neuralforge_adapters.errors import HubError, NeuralForgeError
from neuralforge_adapters.home import HOME_VARIABLE, PROFILE_VARIABLE, Home


async def pull_apart(name: str, home: Home, told: Callable[[int, int], None]) -> dict[str, Any]:
    """Fetch the base that `name` means (see `hub.parse_source`); a cancel ends the child.

    Args:
        told: told how many bytes of how many are there.

    Raises:
        HubError: it could not be fetched; the message says why.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "neuralforge_server.base_pull", name),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {HOME_VARIABLE: str(home.root), PROFILE_VARIABLE: home.profile},
    )
    try:
        return await _follow(process, name, told)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _follow(
    process: asyncio.subprocess.Process, name: str, told: Callable[[int, int], None]
) -> dict[str, Any]:
    assert process.stdout is not None
    async for line in process.stdout:
        message = json.loads(line)
        if "pulled" in message:
            pulled: dict[str, Any] = message["pulled"]
            return pulled
        if "error" in message:
            raise HubError(message["error"])
        told(message["bytes"], message["of"])
    raise HubError(f"fetching {name} ended before its time; try again: it goes on from there")


def _main(name: str) -> None:
    from huggingface_hub.utils import disable_progress_bars

    from neuralforge_adapters import hub

    def say(**message: Any) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    disable_progress_bars()
    try:
        source, home = hub.Hub.of_environment(), Home.find()
        pulled = hub.pull(name, source, home, lambda done, of: say(bytes=done, of=of))
        say(pulled=asdict(pulled))
    except NeuralForgeError as error:
        say(error=str(error), kind=type(error).__name__)


if __name__ == "__main__":
    _main(sys.argv[1])
