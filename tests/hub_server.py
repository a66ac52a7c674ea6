"""A server on loopback that speaks as much of the Hugging Face Hub as fetching a file takes.

It serves `/api/models/<repository>/tree/<revision>`, and HEAD and GET, with ranges, of
`/<repository>/resolve/<revision>/<file>`; on demand it breaks connections off, lies about
checksums, or refuses.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c" * 40
REPOSITORY = "someone/tiny-GGUF"


@dataclass
class FakeHub:
    """What the server holds, how it misbehaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    stated_digest: str = ""
    """Of every file, in place of the true one."""
    stated_size: int = 0
    """Likewise."""
    refuse: tuple[int, str] | None = None
    """Status and the hub's error code for every request."""
    break_after: list[int] = field(default_factory=list)
    """Bytes of the body after which each GET of a file is broken off, in turn."""
    stall_after: int = 0
    """Bytes of the body after which a GET of a file waits for the end of the server."""
    fails_after_break: bool = False
    """Whether every request after a break is answered with an error."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path, and the Range header."""
    endpoint: str = ""
    repository: str = REPOSITORY
    """The only one that it has."""

    @property
    def ranges(self) -> list[str]:
        """The Range headers of the GETs of files, in order."""
        return [r for method, path, r in self.requests if method == "GET" and "/resolve/" in path]

    def __enter__(self) -> FakeHub:
        self.ended = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub, asked = self.hub, self.headers.get("Range", "")
        hub.requests.append((self.command, self.path, asked))
        if hub.refuse is not None:
            status, code = hub.refuse
            return self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": "no"})
        if self.path.startswith("/api/models/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in hub.files.items()
            ]
            return self._send(200, json.dumps(tree).encode(), {})
        name = self.path.rpartition("/")[2]
        if not self.path.startswith(f"/{hub.repository}/resolve/"):
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if name not in hub.files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        return self._file(hub.files[name], asked, with_body=with_body)

    def _file(self, content: bytes, asked: str, *, with_body: bool) -> None:
        digest = self.hub.stated_digest or hashlib.sha256(content).hexdigest()
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        headers = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{digest}"',
            "ETag": f'"{digest}"',
            "X-Linked-Size": str(self.hub.stated_size or len(content)),
            "Accept-Ranges": "bytes",
        }
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if asked else 200, content[start:], headers, with_body=with_body)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body or self.command == "HEAD":
            return
        if "X-Repo-Commit" in headers and self.hub.break_after:
            self.wfile.write(body[: self.hub.break_after.pop(0)])
            self.wfile.flush()
            if self.hub.fails_after_break:
                self.hub.refuse = (500, "")
            self.close_connection = True
            self.connection.close()
            return
        if "X-Repo-Commit" in headers and self.hub.stall_after:
            self.wfile.write(body[: self.hub.stall_after])
            self.wfile.flush()
            self.hub.ended.wait()
            self.close_connection = True
            return
        self.wfile.write(body)
