"""What a dataset can be made of: histories, folders, the session log, the replay buffer, and the
data window of an adapter version.

Invariant: only what the selection wants, oldest first within each source. Writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuralforge_adapters.home import Home
from neuralforge_adapters.store import AdapterStore
from neuralforge_trainer.collecting.from_git import candidates, read_history, select
from neuralforge_trainer.collecting.from_session import session_samples
from neuralforge_trainer.datasets.folder import folder_changes
from neuralforge_trainer.errors import DatasetError
from neuralforge_trainer.learn.replay import ReplayBuffer
from neuralforge_trainer.samples.choice import Candidate, candidates_of
from neuralforge_trainer.samples.selection import Selection


def of_git(path: Path, author: str | None, selection: Selection, seed: int) -> list[Candidate]:
    """What the author added in the history of the repository at `path`.

    Raises:
        RepositoryError: it cannot be read, or nobody of that name wrote in it.
    """
    history = read_history(path, author)
    return candidates(select(history.changes, selection), history.repository, seed)


def of_folder(folder: Path, selection: Selection, seed: int) -> list[Candidate]:
    """The files of code below `folder`, as if each had just been written.

    Raises:
        DatasetError: there is no such folder.
    """
    changes = select(folder_changes(folder), selection)
    return candidates(changes, str(folder.expanduser().absolute()), seed, "file")


def of_session(home: Home, selection: Selection) -> list[Candidate]:
    """Everything in the session log that can be learnt from, used before or not.

    Raises:
        SessionLogError: the log cannot be read.
    """
    events = session_samples(home, selection, unused_only=False)
    return [candidate for _, samples in events for candidate in candidates_of(samples)]


def of_replay(home: Home, selection: Selection) -> list[Candidate]:
    """What the replay buffer holds.

    Raises:
        DatasetError: there is no buffer yet.
        ReplayError: it cannot be read.
    """
    if not home.replay_buffer.exists():
        raise DatasetError("nothing was learnt yet, so the replay buffer is empty; train first")
    with ReplayBuffer(home.replay_buffer) as buffer:
        samples = selection.of(buffer.draw(len(buffer)))
    return candidates_of(sorted(samples, key=lambda sample: sample.time))


def of_adapter(home: Home, reference: str, selection: Selection, seed: int) -> list[Candidate]:
    """What the window of time of an adapter version's data holds, read again from its source.

    Raises:
        AdapterError: there is no such version.
        DatasetError: its source cannot be read again.
        RepositoryError, SessionLogError: its source cannot be read.
    """
    version = AdapterStore(home).get(reference)
    data = version.manifest.data
    if data.get("source") == "git":
        return _of_commits(data, selection, seed)
    if data.get("source") == "session":
        events = session_samples(home, selection, unused_only=False)
        samples = [s for _, some in events for s in some if data["from"] <= s.time <= data["to"]]
        return candidates_of(samples)
    named = ", ".join(data.get("datasets", ())) or data.get("source", "nothing that is noted")
    raise DatasetError(
        f"{version.reference} learnt from {named}, which cannot be read again; "
        "extract from the replay buffer instead"
    )


def _of_commits(data: dict[str, Any], selection: Selection, seed: int) -> list[Candidate]:
    history = read_history(Path(data["repository"]), data["author"], until=data["to"])
    changes = [change for change in history.changes if change.time >= data["from"]]
    return candidates(select(changes, selection), history.repository, seed)
