"""What a status line shows, sent to clients that ask for it, when it has changed.

Invariant: a message is sent only where it differs from the last one, and no sooner than
`_PAUSE_SECONDS` after it. Runs in the server's loop; the disk is read on threads. Knows the app,
no protocol type.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.trainer_files import FINISHED, TrainerState, read_control, read_state

if TYPE_CHECKING:
    from neuralforge_server.app import App

METHOD = "neuralforge/status"
_PAUSE_SECONDS = 0.25
_LOOK_SECONDS = 5.0
"""After so long, what nobody tells of is looked at: a trainer that died, outcomes in the log."""

logger = logging.getLogger(__name__)


def wants_status(experimental: Any) -> bool:
    """Whether a client's `capabilities.experimental` says `{neuralforge: {status: true}}`."""
    own = experimental.get("neuralforge") if isinstance(experimental, dict) else None
    return isinstance(own, dict) and own.get("status") is True


class StatusFeed:
    """The status line of one client."""

    def __init__(self, app: App, send: Callable[[dict[str, Any]], None]) -> None:
        self._app = app
        self._send = send
        self._sent: dict[str, Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._trainer: TrainerState | None = None
        self._paused = False
        self._taken: tuple[int, int] = (0, 0)
        """Suggestions shown lately, and how many of them were accepted."""

    def touch(self) -> None:
        """Something may have changed."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._flush)

    async def look(self) -> None:
        """See what stands on the disk."""
        home, writer = self._app.host.home, self._app.writer
        self._trainer = await asyncio.to_thread(read_state, home)
        self._paused = (await asyncio.to_thread(read_control, home)).command == "pause"
        try:
            if writer is not None:
                self._taken = await writer.ask(lambda recorder: recorder.log.recent_acceptance())
        except NeuralForgeError as error:
            logger.info("the status line has no figures of the log: %s", error)
        self.touch()

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    def _flush(self) -> None:
        self._timer = None
        content = self._content()
        if content != self._sent:
            self._sent = content
            self._send(content)

    def _content(self) -> dict[str, Any]:
        app, engine = self._app, self._app.host.engine
        shown, taken = self._taken
        base, stack = engine.options.base, engine.stack
        return {
            "enabled": app.settings.completion.enabled,
            "engine": {"state": engine.state, "base": base.name, "base_digest": base.digest},
            "stack": stack.describe(),
            "digest": stack.digest,
            "learning": self._learning(),
            "latency_ms": None if app.latency_ms is None else round(app.latency_ms),
            "shown": shown,
            "acceptance": taken / shown if shown else None,
        }

    def _learning(self) -> dict[str, Any]:
        state = self._trainer
        running = state is not None and state.state not in FINISHED
        return {
            "enabled": self._app.settings.learning.enabled,
            "running": running,
            "paused": self._paused,
            "state": "idle" if state is None else state.state,
            "job": "" if state is None else state.job,
            "percent": 0 if state is None else state.percent,
            "step": 0 if state is None else state.step,
            "steps": 0 if state is None else state.steps,
            "message": "" if state is None else state.message,
            "version": None if state is None else state.version,
        }
