"""Reads files out of packages and folders without unpacking or running anything.

Invariant: an archive is only ever read as data; links and special files are passed over, and no
archive, however well packed, becomes more text than a limit. Of a folder, nothing is read that is
ignored by git or secret by its name. Knows no licence and no language.
"""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from neuralforge_server.session.exclude import Exclusions
from neuralforge_trainer.errors import CorpusError

_MOST_BYTES = 1_000_000
"""A larger member is no file that anybody typed."""
_MOST_TOGETHER = 250_000_000
"""Bytes read of one package."""

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


def read_files(package: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Paths ('/' between folders) and contents of the wanted files in a .deb, a tar or a folder.

    Raises:
        CorpusError: the archive cannot be read, or unpacks to too much.
    """
    room = _MOST_TOGETHER
    try:
        for path, content in _files(package, wanted):
            if (room := room - len(content)) < 0:
                raise CorpusError(
                    f"{package} holds more than {_MOST_TOGETHER / 1e6:.0f} MB of source code; "
                    "leave it out, or name folders in it one by one"
                )
            yield path, content
    except (OSError, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError) as error:
        raise CorpusError(
            f"{package} cannot be read: {error}; delete it and fetch again"
        ) from error


def _files(package: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    if package.is_dir():
        return _folder(package.resolve(), wanted)
    if package.suffix == ".deb":
        return _tar(_deb_member(package, "data.tar"), wanted)
    return _tar(io.BytesIO(package.read_bytes()), wanted)


def _folder(top: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    exclusions = Exclusions()
    for name, folders, files in os.walk(top):
        folder = Path(name)
        folders[:] = sorted(f for f in folders if not exclusions.is_folder_excluded(folder / f))
        for path in (folder / file for file in sorted(files)):
            relative = path.relative_to(top).as_posix()
            if path.is_symlink() or not path.is_file() or not wanted(relative):
                continue
            if path.stat().st_size <= _MOST_BYTES and not exclusions.is_excluded(path):
                yield relative, path.read_bytes()


def _tar(stream: io.BytesIO, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=stream) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if member.isfile() and member.size <= _MOST_BYTES and wanted(path):
                file = archive.extractfile(member)
                if file is not None:
                    yield path, file.read()


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
