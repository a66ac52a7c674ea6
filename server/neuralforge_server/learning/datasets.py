"""What becomes of a dataset in the inbox, by how the training on it ended.

Invariant: what a training did is seen in the files of the home alone, so that a daemon that was
killed in between settles it when it starts again. Knows no process.
"""

from __future__ import annotations

import time
from pathlib import Path

from neuralforge_adapters.trainer_files import TrainerState, died
from neuralforge_server.learning.inbox import Inbox
from neuralforge_server.learning.repositories import MOST_TRIES, Attempt, Attempts

_AGAIN_SECONDS = 600.0
"""After a failure that is not the dataset's, it is tried again so much later."""

_KNOWN = "AlreadyLearntError"
_ITS_OWN_FAULT = ("DatasetError", "SampleFormatError")


class Datasets:
    """The inbox, and the trainings on what is in it."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def settle(self, attempts: Attempts, state: TrainerState | None) -> None:
        """Move the dataset whose training has ended; `state` is what the last trainer left.

        Raises:
            HomeError: the disk is full or read-only.
        """
        last = attempts.last()
        if last is None or last.job.dataset is None:
            return
        path, end = last.job.dataset, last.outcome(state)
        if not path.is_file():
            attempts.forget_last()
        elif end is not None and (verdict := _verdict(end, last)) is not None:
            learnt, reason = verdict
            (self._inbox.finish if learnt else self._inbox.reject)(path, reason)
            attempts.forget_last()

    def next(self, attempts: Attempts) -> Path | None:
        """The dataset to train on now.

        Raises:
            HomeError: a file cannot be moved.
        """
        path, last = self._inbox.next(), attempts.last()
        if path is None or last is None or last.job.dataset != path:
            return path
        return path if time.time() - last.at > _AGAIN_SECONDS else None


def _verdict(end: TrainerState, last: Attempt) -> tuple[bool, str] | None:
    """(whether it was learnt from, why); None where it stays, to be tried again."""
    if end.state == "done" and end.version is not None:
        return True, f"learnt: {end.version}. {end.message}"
    if end.state == "done" and end.error == _KNOWN:
        return True, end.message  # by a trainer or daemon that was killed before it could say so
    if end.state in ("done", "refused"):
        return False, end.message
    if end.state == "cancelled":
        return False, f"{end.message}; to learn from it after all, move it back into the inbox"
    if end.error in _ITS_OWN_FAULT:
        return False, end.message
    tired = end.state == "failed" and last.tries >= MOST_TRIES
    if not tired:
        return None
    what = "the trainer died" if died(end) else "the training failed"
    return False, f"{what} {last.tries} times on it: {end.message}"
