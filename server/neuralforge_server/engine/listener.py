"""The engine's side of sharing: takes in clients, and ends the process once the last has gone.

Invariant: a client that was greeted is counted, so the process never ends under one; a client
that is killed closes its socket, so it never stays for one that is gone. Knows no llama.cpp.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hmac
import itertools
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import locked, read_json, write_json
from neuralforge_server.engine.clients import Client
from neuralforge_server.engine.place import Note, Place

LINGER_SECONDS = 5.0
"""How long an engine without clients waits for the next one."""
_WRITE_SECONDS = 5.0
"""How long the others wait for a client that does not read: it is then held to be gone."""
_LEAVE_SECONDS = 1.0
_LONGEST_GREETING = 200

Attend = Callable[[Client, Iterable[bytes]], None]
"""Takes a client's lines until they end; raises ValueError, KeyError or TypeError for nonsense."""


class Listener:
    """Listens at a place."""

    def __init__(self, place: Place, attend: Attend, leave: Callable[[Client], None]) -> None:
        """Both are called from a thread of the client's own."""
        self._place = place
        self._attend = attend
        self._leave = leave
        self._token = secrets.token_hex(16)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._present = 0
        self._socket: Path | None = None
        self._timer: threading.Timer | None = None

    def open(self, *, tcp: bool) -> Note:
        """Listen from now on; returns what is to be told of every turn.

        Raises:
            OSError, HomeError: it cannot.
        """
        self._place.remove_old_notes()
        note = Note(self._place.note(os.getpid()))
        faulthandler.enable(note.fileno())
        self._socket = None if tcp else self._place.socket()
        listening = _listen_on_loopback() if self._socket is None else _listen_at(self._socket)
        address = listening.getsockname()
        write_json(self._place.address, {"address": address, "token": self._token})
        with self._lock:
            self._wait_for_the_next()
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return note

    def _accept(self, listening: socket.socket) -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_WRITE_SECONDS)
            if not self._is_expected(_greeting(connection)):
                return

            def send(line: bytes) -> None:
                try:
                    connection.sendall(line)
                except OSError:
                    connection.shutdown(socket.SHUT_RDWR)  # its reader then ends
                    raise

            client = Client(next(self._numbers), send)
            with self._lock:
                self._present += 1
                if self._timer is not None:
                    self._timer.cancel()
            try:
                client.write({"pid": os.getpid(), "client": client.number})
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    self._attend(client, lines(connection))
            finally:
                self._leave(client)
                with self._lock:
                    self._present -= 1
                    self._wait_for_the_next()

    def _is_expected(self, greeting: bytes) -> bool:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return hmac.compare_digest(str(json.loads(greeting)["token"]), self._token)
        return False

    def _wait_for_the_next(self) -> None:
        if self._present == 0:
            self._timer = threading.Timer(LINGER_SECONDS, self._end)
            self._timer.daemon = True
            self._timer.start()

    def _end(self) -> None:
        """End the process, and leave no trace unless somebody is about to join or start one."""
        with contextlib.suppress(HomeError), locked(self._place.lock, _LEAVE_SECONDS):
            self._end_unless_joined(self._remove_files)
        self._end_unless_joined(lambda: None)  # who holds the lock finds nobody and starts one

    def _end_unless_joined(self, prepare: Callable[[], None]) -> None:
        with self._lock:
            if self._present == 0:
                prepare()
                os._exit(0)

    def _remove_files(self) -> None:
        found = read_json(self._place.address)
        gone = [self._place.note(os.getpid())]
        if isinstance(found, dict) and found.get("token") == self._token:
            gone += [self._place.address, *([self._socket] if self._socket else [])]
        for file in gone:
            with contextlib.suppress(OSError):  # Windows keeps the note while it is open
                file.unlink()


def lines(connection: socket.socket) -> Iterator[bytes]:
    """What arrives, line by line, until the connection ends; a time limit is for writing only."""
    begun: list[bytes] = []
    while True:
        try:
            data = connection.recv(1 << 16)
        except TimeoutError:
            continue
        if not data:
            return
        *whole, rest = data.split(b"\n")
        if whole:
            yield b"".join([*begun, whole[0]])
            yield from whole[1:]
            begun = []
        begun.append(rest)


def _greeting(connection: socket.socket) -> bytes:
    """The first line of a client, which says nothing more until it is answered."""
    data = b""
    while not data.endswith(b"\n") and len(data) < _LONGEST_GREETING:
        more = connection.recv(_LONGEST_GREETING)
        if not more:
            return b""
        data += more
    return data


def _listen_at(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of an engine that was killed
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    return listening


def _listen_on_loopback() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
