"""Lets a keystroke or a command reach the trainer in the middle of anything it does.

Between micro-batches the trainer asks by itself. While it reads a history, imports torch or loads
a base it does not; there a thread looks, and has the main thread ask between two bytecodes, as
Ctrl-C does. Only one long call into compiled code is waited for.

Invariant: once it is sealed, what is left is neither waited in nor stopped, and no import that
work still follows is broken off, since few modules can be imported again. Outside the main thread
nothing is installed: there the trainer is asked for by name alone. Knows no reason to wait.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from neuralforge_trainer.errors import TrainingStoppedError

_LOOK_SECONDS = 0.05
_SIGNAL: signal.Signals = getattr(signal, "SIGUSR1", None) or getattr(signal, "SIGBREAK")  # noqa: B009 - Windows' own

Handler = Callable[[int, FrameType | None], None]


class StopNowError(BaseException):
    """A stop in the middle of something; no handler of ordinary errors may swallow it."""

    def __init__(self, reason: TrainingStoppedError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Interruptible(Protocol):
    """What is asked."""

    def hindered(self) -> bool:
        """Whether `wait` would not return at once; called on another thread."""

    def wait(self) -> None:
        """Return when work may go on, or raise TrainingStoppedError."""


class Interrupts:
    """Interrupts the main thread where work may not go on."""

    def __init__(self, pace: Interruptible) -> None:
        self._pace = pace
        self._sealed = False
        self._stopped = False
        self._ended = threading.Event()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Look, and hear SIGTERM, while entered."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {_SIGNAL: self._ask, signal.SIGTERM: self._end}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        thread = threading.Thread(target=self._look, name="interrupts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            for number, handler in before.items():
                signal.signal(number, handler)

    def seal(self) -> None:
        """What comes from now on is done to its end."""
        self._sealed = True

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            if not (self._sealed or self._stopped) and self._pace.hindered():
                _thread.interrupt_main(_SIGNAL)

    def _ask(self, _number: int, frame: FrameType | None) -> None:
        if self._sealed or self._stopped:
            return
        try:
            self._pace.wait()
        except TrainingStoppedError as stop:
            if not (stop.skip and _imports(frame)):  # a skip has still to collect what it skips
                self._stop(stop)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        if not (self._sealed or self._stopped):
            self._stop(TrainingStoppedError("ended by the system; it goes on later", later=True))

    def _stop(self, reason: TrainingStoppedError) -> None:
        self._stopped = True
        raise StopNowError(reason)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
