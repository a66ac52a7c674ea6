"""A package index on loopback (PEP 503) that holds the wheel of this checkout.

It also holds llama-cpp-python as it was built for this environment, so that no installation
compiles it again, and sends whoever asks for anything else on to the index that pip uses here.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

_CHECKOUT = Path(__file__).parents[2]


def build_wheels(folder: Path) -> None:
    """Put our wheel and llama-cpp-python's into a folder."""
    compiled = f"llama-cpp-python=={version('llama-cpp-python')}"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*pip, compiled, str(_CHECKOUT)], check=True)


class PackageIndex:
    """The index, while it is entered; `requests` are the paths that it was asked for."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds wheels."""
        self.requests: list[str] = []
        handler = partial(_Handler, index=self, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/simple"
        self.elsewhere = _configured_index()

    def __enter__(self) -> PackageIndex:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object, index: PackageIndex, directory: str) -> None:
        self.index = index
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.index.requests.append(self.path)
        project = re.fullmatch(r"/simple/([^/]+)/?", self.path)
        if project is None:
            super().do_GET()
        elif files := self._files(project[1]):
            self._send_links(files)
        else:
            self.send_response(302)
            self.send_header("Location", f"{self.index.elsewhere}/{project[1]}/")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _files(self, project: str) -> list[str]:
        wheels = [path.name for path in Path(self.directory).glob("*.whl")]
        return [name for name in wheels if _normal(name.partition("-")[0]) == _normal(project)]

    def _send_links(self, files: list[str]) -> None:
        links = "".join(f'<a href="/{html.escape(n)}">{html.escape(n)}</a>\n' for n in files)
        page = f"<!DOCTYPE html>\n<html><body>\n{links}</body></html>\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _configured_index() -> str:
    """What pip says that it uses; its help states it, wrapped within the address."""
    helped = subprocess.check_output([sys.executable, "-m", "pip", "install", "--help"], text=True)
    stated = re.search(r"--index-url <url>[^(]*\(default([^)]*)\)", helped)
    assert stated, helped
    return "".join(stated[1].split()).rstrip("/")
