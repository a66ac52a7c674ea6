"""Asking whether a repository may be learned from: once, and never again after yes or no.

Invariant: without a yes in the session log a repository is not learned from; its linked worktrees
are the same repository, and have the same answer. Knows no training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from neuralforge_server.client_link import ClientLink
from neuralforge_server.session.rows import Answer
from neuralforge_server.session_writer import SessionWriter

if TYPE_CHECKING:
    from neuralforge_server.recorder import Recorder

_YES, _NO, _LATER = "Yes", "No", "Later"
_ANSWERS: dict[str | None, Answer] = {_YES: "yes", _NO: "no"}


class Consent:
    """The answers for the repositories of one server."""

    def __init__(
        self, link: ClientLink, writer: SessionWriter, decided: Callable[[Path, Answer], None]
    ) -> None:
        """`decided` is told what holds for a repository, when it becomes known or changes."""
        self._link = link
        self._writer = writer
        self._decided = decided
        self._considered: set[Path] = set()

    async def consider(self, repository: Path) -> None:
        """A file of `repository` is open: see what the user said, and ask if nothing yet.

        Raises:
            SessionLogError: the answer cannot be read or kept.
        """
        if repository in self._considered:
            return
        self._considered.add(repository)
        known = await self._writer.ask(lambda recorder: _known(recorder, repository))
        if known is None:
            question = (
                f"May NeuralForge learn from your code in {repository}? "
                "It is read on this machine only, and nothing leaves it."
            )
            known = _ANSWERS.get(await self._link.ask(question, (_YES, _NO, _LATER)))
            if known is not None:
                await self.answer(repository, known)
        else:
            self._decided(repository, known)

    async def answer(self, repository: Path, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            SessionLogError: it cannot be written.
        """
        self._considered.add(repository)
        await self._writer.ask(lambda recorder: _keep(recorder, repository, answer))
        self._decided(repository, answer)


def _known(recorder: Recorder, repository: Path) -> Answer | None:
    """The answer; one that was given for another worktree is taken over, a no before a yes."""
    from neuralforge_server.session.worktrees import worktrees  # slow to import: on the thread

    answers = {root: recorder.log.consent(root) for root in worktrees(repository)}
    own = answers.pop(repository.resolve(), None)
    if own is not None or not (given := set(answers.values()) - {None}):
        return own
    taken: Answer = "no" if "no" in given else "yes"
    recorder.log.set_consent(repository, taken)
    return taken


def _keep(recorder: Recorder, repository: Path, answer: Answer) -> None:
    from neuralforge_server.session.worktrees import worktrees  # slow to import: on the thread

    for root in worktrees(repository):
        recorder.log.set_consent(root, answer)
