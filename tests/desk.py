"""A user at one document, for tests of what the server records and what is learnt from it."""

from __future__ import annotations

import time
from pathlib import Path

from neuralforge_server.documents import Change
from neuralforge_server.recorder import Recorder
from neuralforge_server.session.exclude import Exclusions
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.rows import Suggestion, new_id


class Desk:
    """A user at one document: what is suggested, typed and accepted goes through the recorder."""

    def __init__(self, log: SessionLog, path: Path, text: str) -> None:
        self.recorder = Recorder(log, Exclusions(()))
        self.path, self.text = path, text
        path.write_text(text, "utf-8")
        assert self.recorder.opened(path.as_uri(), path, "python") is not None

    def suggest(self, text: str) -> str:
        at = len(self.text)
        row = Suggestion(
            id=new_id(), created=time.time(), base="b", stack="s", stack_json="[]",
            uri=self.path.as_uri(), path=None, repository=None, language="python",
            line=self.text.count("\n"), character=0, trigger="automatic",
            prefix_tail=self.text[-200:], suffix_head="", text=text, latency_ms=1.0, tokens=1,
        )  # fmt: skip
        self.recorder.suggested([row], at)
        return row.id

    def put(self, start: int, removed: int, inserted: str) -> None:
        before = self.text
        self.text = before[:start] + inserted + before[start + removed :]
        change = Change(start=start, removed=removed, inserted=inserted)
        self.recorder.changed(self.path.as_uri(), change, [before])

    def type(self, text: str) -> None:
        for character in text:
            self.put(len(self.text), 0, character)

    def accept(self, identifier: str, text: str) -> None:
        self.put(len(self.text), 0, text)
        self.recorder.accepted(identifier, None, {self.path.as_uri(): [self.text]})

    def leave(self) -> None:
        self.recorder.closed(self.path.as_uri(), self.text)
