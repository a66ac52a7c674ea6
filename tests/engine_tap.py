"""`neuralforge` with a counter on the pipe between server and engine: for the typing benchmark.

Invariant: nothing is changed that passes, and every answer of the engine to a request that computes
is counted, also those that the server throws away. Each is one JSON line in the file that the first
argument names; `evaluated_tokens` is null where the engine does not say.

    python tests/engine_tap.py COUNTS.jsonl serve ...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from neuralforge_server.cli import main
from neuralforge_server.engine import supervisor
from neuralforge_server.engine.process import EngineProcess, Message

_COMPUTING = ("complete", "warm", "score")
_COUNTED = ("evaluated_tokens", "generated_tokens", "milliseconds", "stop")


class TappedProcess(EngineProcess):
    """An engine whose answers are counted as they come."""

    counts: Path

    def __init__(
        self, on_message: Callable[[Message], None], on_exit: Callable[[int], None]
    ) -> None:
        self._asked: dict[int, Message] = {}
        self._file = self.counts.open("a", encoding="utf-8")

        def tapped(message: Message) -> None:
            self._count(message)
            on_message(message)

        super().__init__(tapped, on_exit)

    def send(self, line: bytes) -> None:
        request = json.loads(line)
        if request.get("op") in _COMPUTING:
            kept = ("op", "background", "deadline_ms", "max_tokens")
            self._asked[request["id"]] = {name: request.get(name) for name in kept}
        super().send(line)

    def _count(self, message: Message) -> None:
        asked = self._asked.pop(message["id"], None) if "piece" not in message else None
        result = message.get("result")
        if asked is not None:
            counted = result if isinstance(result, dict) else {}
            row = {**asked, **{name: counted.get(name) for name in _COUNTED}}
            if "error" in message:
                row["error"] = message["error"]
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()


if __name__ == "__main__":
    TappedProcess.counts = Path(sys.argv.pop(1))
    setattr(supervisor, "EngineProcess", TappedProcess)  # noqa: B010 - not its to export
    main()
