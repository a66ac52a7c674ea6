"""Bases: which file is meant, and the digest by which adapters and logs name it.

Knows no tensor: whether a base can be served is for the engine to find out, in its own process.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import struct
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.errors import BaseFileError, HomeError
from neuralforge_adapters.home import Home, read_json, write_json

_GGUF_VERSIONS = (2, 3)

logger = logging.getLogger(__name__)


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
    """The base at `path` (the one in use for None), its digest cached in the home.

    Raises:
        BaseFileError: no such file, unreadable, or not GGUF.
    """
    file = (path or base_in_use(home)).expanduser().absolute()
    try:
        check_gguf_header(file)
        return Base(file, _cached_digest(file, home))
    except OSError as error:
        raise BaseFileError(
            f"base {file}: {error.strerror or error}; name an existing GGUF file with --base, "
            "or leave it out for the base in use"
        ) from error


def base_in_use(home: Home) -> Path:
    """What the profile chose; the embedded base where it chose none, or its file is gone."""
    chosen = BaseChoice(home).read().path
    if chosen is None:
        return embedded_base()
    if not Path(chosen).is_file():
        logger.warning(
            "The base %s is gone, and the embedded one is used; choose another with "
            "`neuralforge bases use`.",
            chosen,
        )
        return embedded_base()
    return Path(chosen)


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


def remember_digest(path: Path, digest: str, home: Home) -> None:
    """Note the digest of a file that was just verified, so that it need not be hashed again."""
    digests = _known_digests(home) | {_digest_key(path): digest}
    with contextlib.suppress(HomeError):  # a read-only home only costs hashing again
        write_json(_digest_file(home), digests)


def _cached_digest(path: Path, home: Home) -> str:
    """A base of several gigabytes is hashed once, until its size or time changes."""
    known = _known_digests(home).get(_digest_key(path))
    if known is None:
        known = file_digest(path)
        remember_digest(path, known, home)
    return known


def _digest_file(home: Home) -> Path:
    return home.cache / "base-digests.json"


def _digest_key(path: Path) -> str:
    stat = path.stat()
    return f"{path}|{stat.st_size}|{stat.st_mtime_ns}"


def _known_digests(home: Home) -> dict[str, str]:
    content = read_json(_digest_file(home))
    return content if isinstance(content, dict) else {}
