"""Bases: which file is meant, and the digest by which adapters and logs name it.

Knows no tensor: whether a base can be served is for the engine to find out, in its own process.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from neuralforge_adapters.errors import BaseFileError, HomeError
from neuralforge_adapters.home import Home, read_json, write_json

_GGUF_VERSIONS = (2, 3)


@dataclass(frozen=True)
class Base:
    """A frozen GGUF model file and the SHA-256 of its content (hex)."""

    path: Path
    digest: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem


def embedded_base() -> Path:
    """The base that ships inside the package."""
    return Path(str(resources.files("neuralforge_adapters") / "data" / "embedded.gguf"))


def open_base(path: Path | None, home: Home) -> Base:
    """The base at `path` (the embedded one for None), its digest cached in the home.

    Raises:
        BaseFileError: no such file, unreadable, or not GGUF.
    """
    file = (path or embedded_base()).expanduser().absolute()
    try:
        check_gguf_header(file)
        return Base(file, _cached_digest(file, home))
    except OSError as error:
        raise BaseFileError(
            f"base {file}: {error.strerror or error}; name an existing GGUF file with --base, "
            "or leave it out for the embedded base"
        ) from error


def check_gguf_header(path: Path) -> None:
    """Look at the first bytes only.

    Raises:
        BaseFileError: the file is no GGUF of a known version, or ends within its header.
    """
    with path.open("rb") as file:
        head = file.read(24)
    if len(head) < 24 or head[:4] != b"GGUF":
        raise BaseFileError(f"{path} is not a GGUF file (or it is cut off); fetch it again")
    version, tensors, _ = struct.unpack("<IQQ", head[4:])
    if version not in _GGUF_VERSIONS:
        raise BaseFileError(
            f"{path} is GGUF version {version}; versions 2 and 3 can be read: convert it again"
        )
    if not 0 < tensors < 1 << 20:
        raise BaseFileError(f"{path} claims {tensors} tensors: the file is damaged; fetch it again")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cached_digest(path: Path, home: Home) -> str:
    """A base of several gigabytes is hashed once, until its size or time changes."""
    stat = path.stat()
    key = f"{path}|{stat.st_size}|{stat.st_mtime_ns}"
    cache_file = home.cache / "base-digests.json"
    known = read_json(cache_file)
    digests: dict[str, str] = known if isinstance(known, dict) else {}
    if key not in digests:
        digests[key] = file_digest(path)
        with contextlib.suppress(HomeError):  # a read-only home only costs hashing again
            write_json(cache_file, digests)
    return digests[key]
