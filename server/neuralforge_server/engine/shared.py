"""The way to an engine that several servers of one user share: found, or started.

Invariant: of the servers that look for the same engine at once, one starts it and all join it. An
engine that died is told by `on_exit` of every client. Knows no stacks and no requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading

from neuralforge_adapters.home import locked, read_json
from neuralforge_server.engine.ending import UNLOADABLE, ending
from neuralforge_server.engine.place import Place, cause_of_death
from neuralforge_server.engine.process import OnExit, OnMessage
from neuralforge_server.errors import EngineError, EngineUnloadableError

_LOCK_SECONDS = 30.0
"""How long another server may take to start the engine that this one wants to join."""
_GREETING_SECONDS = 10.0
_WINDOWS_FLAGS = sum(
    getattr(subprocess, flag, 0) for flag in ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW")
)


class Meeting:
    """A connection to a shared engine that has greeted."""

    def __init__(self, place: Place, connection: socket.socket, token: str) -> None:
        """
        Raises:
            OSError, ValueError, KeyError: nobody answers there, or not as an engine does.
        """
        connection.settimeout(_GREETING_SECONDS)
        connection.sendall(json.dumps({"token": token}).encode() + b"\n")
        self.lines = connection.makefile("rb")
        greeting = json.loads(self.lines.readline())
        connection.settimeout(None)
        self.connection = connection
        self.pid: int = greeting["pid"]
        self.client: int = greeting["client"]
        self.note = place.note(self.pid)

    def hang_up(self) -> None:
        """End the connection, also under a thread that reads from it."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


class SharedEngine:
    """One client's side. `on_message` and `on_exit` are called from its reader thread."""

    def __init__(self, meeting: Meeting, on_message: OnMessage, on_exit: OnExit) -> None:
        self._meeting = meeting
        self._write_lock = threading.Lock()
        threading.Thread(target=self._read, args=(on_message, on_exit), daemon=True).start()

    @property
    def pid(self) -> int:
        """The engine's process id."""
        return self._meeting.pid

    def send(self, line: bytes) -> None:
        """Write one line; an engine that has ended is reported by `on_exit`, not here."""
        with self._write_lock, contextlib.suppress(OSError):
            self._meeting.connection.sendall(line)

    def close(self) -> None:
        """Leave the engine to its other clients; the last one's leaving ends it."""
        self._meeting.hang_up()

    def _read(self, on_message: OnMessage, on_exit: OnExit) -> None:
        with contextlib.suppress(OSError, ValueError), self._meeting.lines as lines:
            for line in lines:
                on_message(json.loads(line))
        on_exit(cause_of_death(self._meeting.note, self._meeting.client))


def join(place: Place, *, tcp: bool = not hasattr(socket, "AF_UNIX")) -> Meeting:
    """Meet the engine of `place`; start it where there is none.

    Raises:
        HomeError: the place's folder cannot be written, or another server is not done with it.
        EngineUnloadableError: this installation has no llama.cpp.
        EngineError: the engine cannot be started for another reason.
    """
    with locked(place.lock, _LOCK_SECONDS):
        meeting = _meet(place)
        if meeting is None:
            _start(place, tcp=tcp)
            meeting = _meet(place)
    if meeting is None:
        raise EngineError(
            f"a shared engine was started and does not answer; its last words are in {place.log}"
        )
    return meeting


async def join_in_thread(place: Place) -> Meeting:
    """`join`; where the caller is cancelled meanwhile, the engine is left again."""
    meeting = asyncio.ensure_future(asyncio.to_thread(join, place))
    try:
        return await asyncio.shield(meeting)
    except asyncio.CancelledError:
        meeting.add_done_callback(_hang_up)
        raise


def _hang_up(meeting: asyncio.Future[Meeting]) -> None:
    if not meeting.cancelled() and meeting.exception() is None:
        meeting.result().hang_up()


def _meet(place: Place) -> Meeting | None:
    """The engine whose address stands there; None where it is gone."""
    found = read_json(place.address)
    if not isinstance(found, dict):
        return None
    connection = None
    try:
        connection = _connect(found["address"])
        return Meeting(place, connection, found["token"])
    except (OSError, ValueError, KeyError, TypeError):
        if connection is not None:
            connection.close()
        return None


def _connect(address: str | list[object]) -> socket.socket:
    if isinstance(address, list):
        host, port = address
        return socket.create_connection((str(host), int(str(port))), _GREETING_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_GREETING_SECONDS)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _start(place: Place, *, tcp: bool) -> None:
    """Start an engine that belongs to no server; returns once it listens.

    Raises:
        EngineUnloadableError: this installation has no llama.cpp.
        EngineError: it ends for another reason.
    """
    arguments = [str(place.folder), place.name, *(["tcp"] if tcp else [])]
    with place.log.open("wb") as log:
        process = subprocess.Popen(
            # -P: a `torch.py` or `queue.py` in the working directory must not be imported
            [sys.executable, "-P", "-m", "neuralforge_server.engine", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=place.folder,
            start_new_session=True,  # what ends a terminal or an editor ends no other's engine
            creationflags=_WINDOWS_FLAGS,
        )
    assert process.stdout is not None
    with process.stdout as output:
        listens = output.readline()
    if listens:
        threading.Thread(target=process.wait, daemon=True).start()  # or it would stay as a zombie
        return
    status = process.wait()
    if status == UNLOADABLE:
        raise EngineUnloadableError(ending(status))
    raise EngineError(
        f"a shared engine cannot be started (status {status}); its last words are in {place.log}"
    )
