"""What end-to-end tests put into a home and read out of it, beside the server that uses it."""

from __future__ import annotations

import shutil
from pathlib import Path

from gguf_maker import make_adapter
from neuralforge_adapters.base import open_base
from neuralforge_adapters.home import Home
from neuralforge_adapters.store import GGUF_FILE, AdapterStore, AdapterVersion, Manifest
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.rows import LoggedSuggestion


def publish(home: Home, name: str, *, seed: int = 0, strength: float = 0.02) -> AdapterVersion:
    """A random adapter as the next version of `name`; from a strength of 0.2 on, it babbles."""
    store, digest = AdapterStore(home), open_base(None, home).digest
    with store.staging(name) as folder:
        make_adapter(folder / GGUF_FILE, seed=seed, strength=strength, base_digest=digest)
        return store.publish(folder, Manifest(name, digest, rank=8, alpha=8.0))


def publish_again(home: Home, name: str) -> AdapterVersion:
    """What is current of `name`, once more as its next version."""
    store = AdapterStore(home)
    current = store.current(name)
    assert current is not None
    with store.staging(name) as folder:
        shutil.copytree(current.path, folder, dirs_exist_ok=True)
        return store.publish(folder, current.manifest)


def rows(home: Home, path: Path | None = None) -> list[LoggedSuggestion]:
    """The suggestions in the log, of one file or of all, oldest first."""
    with SessionLog.open_to_read(home.session_log) as log:
        found = reversed(log.show(1000))
    return [row for row in found if path is None or row.path == str(path)]
