"""`neuralforge daemon`: the learner without an editor, for repositories and an inbox of datasets.

Invariant: one daemon for each profile, by a lock; what it has begun it takes up again after a kill,
since trainings, datasets and their ends are all told from files. It imports no torch: the trainer
is its child, and is told to keep its checkpoint and end when the daemon ends. Runs in one asyncio
loop. Knows no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.home import Home, private_dir, read_json, write_json
from neuralforge_adapters.trainer_files import control_file, state_file
from neuralforge_server.errors import DaemonBusyError
from neuralforge_server.learning.datasets import Datasets
from neuralforge_server.learning.inbox import Inbox
from neuralforge_server.learning.learner import Learner
from neuralforge_server.learning.repositories import head_folders
from neuralforge_server.notice import Notice
from neuralforge_server.session.log import SessionLog
from neuralforge_server.settings import Settings
from neuralforge_server.watch import Watcher

_LOOK_SECONDS = 30.0
"""After so long it is looked again, whatever the watches say."""

_COMING = ("a training is", "you are at work")
"""How the reasons begin that end by themselves."""

Say = Callable[[str], None]


@contextmanager
def only_daemon(home: Home) -> Iterator[None]:
    """Be this profile's daemon; the lock goes with the process.

    Raises:
        DaemonBusyError: another one is at work.
        HomeError: the home cannot be written.
    """
    folder = private_dir(home.profile_dir)
    lock, note = FileLock(folder / ".daemon.lock", mode=0o600), folder / "daemon.pid.json"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DaemonBusyError(
            f"another daemon (process {read_json(note)}) serves the profile {home.profile}; end "
            "it first, or name its repositories in its settings file"
        ) from error
    try:
        write_json(note, os.getpid())
        yield
    finally:
        lock.release()


class Daemon:
    """Trains when there is reason to, until it is ended."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        repositories: Sequence[Path],
        say: Say,
        base: Path | None = None,
    ) -> None:
        """`repositories` may be learned from: naming them here is the yes."""
        self._home = home
        self._repositories = repositories
        self._say = say
        self._inbox = Inbox(home, time.monotonic)
        self._ending = asyncio.Event()
        self._news = asyncio.Event()
        self._learner = Learner(
            home,
            settings.learning,
            self._count_samples,
            lambda: base,
            self._begin_bar,
            self._notify,
            Datasets(self._inbox),
        )
        self._learner.repositories |= set(repositories)
        self._learner.exclude = settings.log.exclude
        self._watcher = Watcher(self._changed, self._anything_changed)

    async def run(self, *, once: bool = False) -> None:
        """Serve until ended; `once`: until there is nothing that may be learnt now.

        Raises:
            NeuralForgeError: the home cannot be written.
        """
        await asyncio.to_thread(self._prepare)
        self._say(f"learning for profile {self._home.profile}; datasets: {self._inbox.folder}")
        work = [self._learner.run(), self._watcher.run(), self._follow(once), self._until_ended()]
        tasks: list[asyncio.Future[None]] = [asyncio.ensure_future(part) for part in work]
        try:
            with _ended_by_signals(self.end):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            self._watcher.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(self._learner.end_training)

    def end(self) -> None:
        """Have `run` return; a training that runs keeps its checkpoint."""
        self._ending.set()

    def _prepare(self) -> None:
        self._inbox.prepare()
        with SessionLog.open(self._home.session_log) as log:
            for repository in self._repositories:
                log.set_consent(repository, "yes")
        own = [private_dir(self._home.trainer_dir), self._home.profile_dir, self._inbox.folder]
        heads = [folder for r in self._repositories for folder in head_folders(r)]
        self._watcher.watch([*own, *heads])

    async def _until_ended(self) -> None:
        await self._ending.wait()

    async def _follow(self, once: bool) -> None:
        """Look again at news and as files of the inbox settle; tell why nothing runs."""
        told = ""
        while True:
            await self._learner.show_state()
            self._learner.wake()
            reason = str((await self._learner.describe())["reason"])
            coming = not reason or reason.startswith(_COMING)
            if not coming and reason != told:
                self._say(f"waiting: {reason}")
                told = reason
            wait = self._inbox.seconds_to_wait()
            if once and not coming and wait is None:
                return
            longest = _LOOK_SECONDS if wait is None else min(wait, _LOOK_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), longest)
            self._news.clear()

    async def _count_samples(self) -> int:
        def count() -> int:
            with SessionLog.open_to_read(self._home.session_log) as log:
                return log.count_new_samples()

        return await asyncio.to_thread(count)

    async def _begin_bar(self, title: str, _cancel: Callable[[], None]) -> _Line:
        return _Line(self._say, title)

    def _notify(self, notice: Notice) -> None:
        self._say(f"{notice.kind}: {notice.message}")

    def _changed(self, paths: set[Path]) -> None:
        followed = {state_file(self._home), control_file(self._home), BaseChoice(self._home).path}
        inbox = any(path.parent == self._inbox.folder for path in paths)
        if inbox or paths & followed or any(path.name == "HEAD" for path in paths):
            self._anything_changed()

    def _anything_changed(self) -> None:
        self._news.set()


class _Line:
    """A training on show, a line for each part of it."""

    def __init__(self, say: Say, title: str) -> None:
        self._say = say
        self._told = title
        say(title)

    def report(self, percent: int, message: str = "") -> None:
        """Say what part has begun."""
        part = message.partition(" ")[0]
        if part != self._told:
            self._told = part
            self._say(f"{percent} %: {message}")

    def end(self, message: str = "") -> None:
        """Say how it ended."""
        self._say(f"ended: {message}")


@contextmanager
def _ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `end` in the loop while entered."""
    loop = asyncio.get_running_loop()

    def heard(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(end)

    names = ("SIGTERM", "SIGINT", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, heard) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
