"""Reads files out of packages and folders without unpacking or running anything.

Invariant: an archive is only ever read as data; links and special files are passed over. Knows
no licence and no language.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from neuralforge_trainer.errors import CorpusError

_MOST_BYTES = 1_000_000
"""A larger member is no file that anybody typed."""

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


def read_files(package: Path) -> Iterator[tuple[str, bytes]]:
    """Paths ('/' between folders) and contents of the files in a .deb, a tar file or a folder.

    Raises:
        CorpusError: the archive cannot be read.
    """
    try:
        if package.is_dir():
            yield from _folder(package)
        elif package.suffix == ".deb":
            yield from _tar(_deb_member(package, "data.tar"))
        else:
            yield from _tar(io.BytesIO(package.read_bytes()))
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise CorpusError(
            f"{package} cannot be read: {error}; delete it and fetch again"
        ) from error


def _folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _MOST_BYTES:
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _tar(stream: io.BytesIO) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=stream) as archive:
        for member in archive:
            if member.isfile() and member.size <= _MOST_BYTES:
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name.removeprefix("./"), file.read()


def _deb_member(package: Path, prefix: str) -> io.BytesIO:
    """A member of the `ar` archive that a .deb is (deb(5))."""
    with package.open("rb") as file:
        if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
            raise CorpusError(f"{package} is no Debian package; delete it and fetch again")
        while len(header := file.read(_AR_HEADER)) == _AR_HEADER:
            size = int(header[48:58])
            content = file.read(size + size % 2)[:size]
            if header[:16].decode("ascii", "replace").startswith(prefix):
                return io.BytesIO(content)
    raise CorpusError(f"{package} has no {prefix}; delete it and fetch again")
