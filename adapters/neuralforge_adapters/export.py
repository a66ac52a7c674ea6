"""An adapter version outside of the store: a folder or a zip file that other programs read.

It holds what PEFT reads (`adapter_config.json`, `adapter_model.safetensors`), what llama.cpp reads
(`adapter.gguf`), and the manifest.

Invariant: the target appears whole, in one rename, or not at all; what it was trained from stays at
home: the manifest that leaves names no repository, commit or person. Knows no tensor.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path

from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.store import GGUF_FILE, MANIFEST_FILE, AdapterVersion

_FILES = (GGUF_FILE, "adapter_config.json", "adapter_model.safetensors")
_TOLD = ("source", "commits", "events", "samples", "from", "to", "steps", "arm")
"""What the manifest's `data` may say outside."""


def export_version(version: AdapterVersion, target: Path) -> Path:
    """Write `version` to `target`: a zip file where it ends in `.zip`, else a folder.

    An existing zip file is replaced, as dialogues that ask for a path expect; a folder is not.

    Raises:
        AdapterError: the target exists, or cannot be written; nothing is left of it.
    """
    target = target.expanduser().absolute()
    if target.is_dir():
        target = target / f"{version.name}-{version.version}"
    if target.exists() and target.suffix != ".zip":
        raise AdapterError(f"{target} exists already; name another target, or delete it first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as temporary:
            _move(_filled(version, Path(temporary) / version.reference), target)
    except OSError as error:
        raise AdapterError(
            f"{version.reference} cannot be written to {target}: {error.strerror}; "
            "free some room there, or name another target"
        ) from error
    return target


def _filled(version: AdapterVersion, folder: Path) -> Path:
    folder.mkdir()
    for name in _FILES:
        if (version.path / name).is_file():
            shutil.copyfile(version.path / name, folder / name)
    manifest = asdict(version.manifest)
    manifest["data"] = {key: manifest["data"][key] for key in _TOLD if key in manifest["data"]}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return folder


def _move(folder: Path, target: Path) -> None:
    if target.suffix != ".zip":
        folder.rename(target)
        return
    packed = folder.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{target.stem}/{file.name}")
    packed.replace(target)
