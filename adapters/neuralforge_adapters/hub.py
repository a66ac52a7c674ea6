"""Fetches a base from the Hugging Face Hub, or a server that speaks like it.

Names, tokens, endpoint and cache are huggingface_hub's (`HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`).
Its own `hf_hub_download` begins anew after a break, since it downloads to a file of a random
name; so the transfer is its `http_get` into `<sha256>.incomplete`, which a later call goes on with.

Invariant: a file appears in the cache only once it is whole and has the SHA-256 that the hub
states; what is wrong is deleted, what is incomplete is kept. Knows no GGUF beyond its magic.
"""

from __future__ import annotations

import contextlib
import errno
import io
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralforge_adapters.base import check_gguf_header, file_digest, remember_digest
from neuralforge_adapters.bases import EMBEDDED, BaseList, PulledBase
from neuralforge_adapters.errors import BaseFileError, HubError
from neuralforge_adapters.home import Home, locked
from neuralforge_adapters.presets import presets, refuse_encoder_decoder

_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_SPARE_BYTES = 200 << 20
"""Of disk that must be left over."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Source:
    """A file of a repository on the hub; without a file, the repository's only or Q8_0 GGUF."""

    repository: str
    file: str | None = None
    revision: str = "main"


@dataclass(frozen=True)
class Hub:
    """Where to fetch from, and the cache to fetch into."""

    endpoint: str
    cache: Path

    @classmethod
    def of_environment(cls) -> Hub:
        """What `HF_ENDPOINT` and `HF_HOME` name, else huggingface_hub's defaults."""
        from huggingface_hub import constants

        return cls(constants.ENDPOINT, Path(constants.HF_HUB_CACHE))


@dataclass(frozen=True)
class Fetched:
    """A verified file in the hub's cache."""

    path: Path
    file: str
    revision: str
    """The commit."""
    digest: str
    bytes: int
    own: bool
    """Whether it was not in the cache before."""


def parse_source(text: str) -> Source:
    """The source that a preset's name or `owner/repository[:file]` means.

    Raises:
        HubError: it is neither.
        BaseFileError: it names an encoder–decoder.
    """
    refuse_encoder_decoder(text)
    if (preset := presets().get(text)) is not None:
        return Source(preset.repository, preset.file)
    repository, _, file = text.partition(":")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise HubError(
            f"{text!r} is neither a preset nor owner/repository[:file] on the hub; "
            f"presets are: {', '.join(presets())}"
        )
    return Source(repository, file or None)


Told = Callable[[int, int], None]
"""Told how many bytes of how many are there."""


def pull(text: str, hub: Hub, home: Home, told: Told = lambda done, of: None) -> PulledBase:
    """Fetch what `text` names (see `parse_source`) and list it among the bases.

    Raises:
        HubError, BaseFileError, HomeError: as `fetch` and `parse_source`.
    """
    source = parse_source(text)
    fetched = fetch(source, hub, home, told)
    name = text if text in presets() else _own_name(source.repository, fetched.file, home)
    known = BaseList(home).find(name)
    base = PulledBase(
        name=name,
        path=str(fetched.path.absolute()),
        digest=fetched.digest,
        bytes=fetched.bytes,
        repository=source.repository,
        file=fetched.file,
        revision=fetched.revision,
        own=fetched.own or (known is not None and _was_fetched(known, fetched.path)),
    )
    remember_digest(Path(base.path), base.digest, home)
    BaseList(home).add(base)
    return base


def _own_name(repository: str, file: str, home: Home) -> str:
    """The file's name, unless a preset, the embedded base or another file has it: a name never
    means another base than it did before."""
    name = Path(file).stem
    known = BaseList(home).find(name)
    other = known is not None and (known.repository, known.file) != (repository, file)
    if not other and name not in {*presets(), EMBEDDED}:
        return name
    return f"{repository}/{file.removesuffix('.gguf')}".replace("/", "-")


def _was_fetched(known: PulledBase, path: Path) -> bool:
    """Whether `path` is the very file that an earlier call fetched, and not only of its name."""
    return known.own and Path(known.path).resolve() == path.resolve()


def fetch(source: Source, hub: Hub, home: Home, told: Told = lambda done, of: None) -> Fetched:
    """Fetch `source` into the hub's cache, going on where an earlier call was interrupted.

    Raises:
        HubError: it cannot be reached, found, stored or verified; the message says which.
        BaseFileError: what was fetched is no GGUF; it was deleted.
        HomeError: another process is fetching the same file.
    """
    with _explained(source, hub):
        file = source.file or _only_gguf(source, hub)
        stated = _stated(source, hub, file)
        with locked(home.cache / "pulls" / f"{stated.digest}.lock", timeout=0):
            blob = _blob(source, hub, stated.digest)
            own = not blob.exists()
            if own:
                _complete(stated, blob, file, told)
            elif file_digest(blob) != stated.digest:
                raise HubError(f"{blob} in the hub's cache is damaged; delete it, and pull again")
            path = _linked(source, hub, file, stated.revision)
    return Fetched(path, file, stated.revision, stated.digest, stated.bytes, own)


@dataclass(frozen=True)
class _Stated:
    """What the hub says of a file, and where exactly this version of it lies."""

    url: str
    revision: str
    digest: str
    bytes: int


def _stated(source: Source, hub: Hub, file: str) -> _Stated:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    def url(revision: str) -> str:
        return str(hf_hub_url(source.repository, file, revision=revision, endpoint=hub.endpoint))

    found = get_hf_file_metadata(url(source.revision), endpoint=hub.endpoint)
    digest, size, commit = found.etag or "", found.size, found.commit_hash
    if size is None or commit is None or not _SHA256.fullmatch(digest):
        raise HubError(
            f"{hub.endpoint} states no size, commit or SHA-256 of {source.repository}:{file}; "
            "fetch it by other means, and name it by its path"
        )
    return _Stated(url(commit), commit, digest, size)


def _complete(stated: _Stated, blob: Path, file: str, told: Told) -> None:
    """Fetch what is missing, verify it all, and let it appear."""
    blob.parent.mkdir(parents=True, exist_ok=True)
    partial = blob.with_name(f"{stated.digest}.incomplete")
    if _size(partial) > stated.bytes:
        partial.unlink()
    _require_room(blob.parent, stated.bytes - _size(partial), file)
    _transfer(stated.url, partial, stated.bytes, file, told)
    if (actual := file_digest(partial)) != stated.digest:
        partial.unlink()
        raise HubError(
            f"{file} has the SHA-256 {actual[:12]}…, but the hub states {stated.digest[:12]}…: "
            "what was fetched is damaged and was deleted; try again"
        )
    try:
        check_gguf_header(partial)
    except BaseFileError as error:
        partial.unlink()
        raise BaseFileError(f"{file} is no GGUF that can be read; it was deleted") from error
    partial.replace(blob)


def _transfer(url: str, partial: Path, size: int, file: str, told: Told) -> None:
    """Append what is missing; connections that break are taken up while they bring something."""
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    while (before := _size(partial)) < size:
        try:
            with _Partial(partial, lambda done: told(done, size)) as out:
                http_get(url, out, resume_size=before, headers=headers, expected_size=size,
                         displayed_filename=file)  # fmt: skip
        except HTTPError:
            if _size(partial) <= before:
                raise


class _Partial(io.BufferedWriter):
    """A file that grows at its end, and tells how far it has come."""

    def __init__(self, path: Path, told: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._told = told

    def write(self, data: Any) -> int:
        written = super().write(data)
        self._told(self.tell())
        return written


def _require_room(folder: Path, missing: int, file: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing + _SPARE_BYTES:
        raise HubError(
            f"{file} needs {missing / 1e9:.2f} GB more, and {folder} has {free / 1e9:.2f} GB free; "
            "make room, or set HF_HOME to a larger disk"
        )


def _linked(source: Source, hub: Hub, file: str, commit: str) -> Path:
    """The file by its name in the cache; the blob is there, so that nothing is fetched."""
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        source.repository, file, revision=commit, endpoint=hub.endpoint, cache_dir=hub.cache
    )
    return Path(path)


def _blob(source: Source, hub: Hub, digest: str) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=source.repository, repo_type="model")
    return hub.cache / str(folder) / "blobs" / digest


def _only_gguf(source: Source, hub: Hub) -> str:
    """The GGUF that is meant without a name: the only one, or the only one in Q8_0."""
    from huggingface_hub import HfApi

    listed = HfApi(endpoint=hub.endpoint).list_repo_files(
        source.repository, revision=source.revision
    )
    files = [name for name in listed if name.endswith(".gguf") and "-of-" not in name]
    choice = files if len(files) == 1 else [name for name in files if "q8_0" in name.lower()]
    if len(choice) != 1:
        raise HubError(
            f"{source.repository} has {', '.join(files) or 'no GGUF file in one piece'}; "
            f"name one: {source.repository}:FILE"
        )
    return str(choice[0])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextlib.contextmanager
def _explained(source: Source, hub: Hub) -> Iterator[None]:
    """huggingface_hub's and the system's errors as ours."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except HubError:
        raise
    except (HTTPError, OSError, ValueError) as error:  # its HFValidationError is the latter
        raise HubError(_message(error, source, hub)) from error


def _message(error: Any, source: Source, hub: Hub) -> str:
    from huggingface_hub import errors

    what = source.repository + (f":{source.file}" if source.file else "")
    kept = "what was fetched so far is kept, and the same command goes on from there"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{what} was not fetched: HF_HUB_OFFLINE is set; unset it"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{what} is gated: accept its licence at {hub.endpoint}/{source.repository}, then log "
            "in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{hub.endpoint} has no repository {source.repository}, or it is private; check the "
            "name, or log in with `hf auth login`"
        )
    if isinstance(error, errors.EntryNotFoundError | errors.RevisionNotFoundError):
        return f"{source.repository} has no such file or revision: {what}; look at its file list"
    if isinstance(error, errors.HfHubHTTPError):
        return f"{hub.endpoint} answered {what} with {error.response.status_code}; {kept}"
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"the disk is full at {hub.cache}: {kept}; make room, or set HF_HOME"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{what} cannot be stored in {hub.cache}: {error.strerror}; set HF_HOME"
    return f"{hub.endpoint} cannot be reached or broke off ({error}); {kept}"
