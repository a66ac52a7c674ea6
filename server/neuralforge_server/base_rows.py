"""The bases that there are to choose from, and the state of each.

Invariant: nothing is fetched, and no weight is read. Knows no terminal and no editor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuralforge_adapters.base import base_in_use, embedded_base
from neuralforge_adapters.base_choice import BaseChoice
from neuralforge_adapters.bases import EMBEDDED, BaseList
from neuralforge_adapters.home import Home
from neuralforge_adapters.presets import presets


def base_rows(home: Home, used: Path | None = None) -> list[dict[str, Any]]:
    """One row a base: the embedded one, the pulled ones, the presets that were not pulled.

    Args:
        used: the base in use, where it is not the profile's.
    """
    used, awaited = used or base_in_use(home), BaseChoice(home).read().awaited
    own = embedded_base()
    expected = None if awaited is None else Path(awaited.path) if awaited.path else own

    def row(name: str, path: Path | None, state: str, **more: Any) -> dict[str, Any]:
        if path is not None and path == used:
            state = "in use"
        elif awaited is not None and path == expected:
            state = f"refused: {awaited.refused}" if awaited.refused else "awaited"
        elif path is not None and not path.is_file():
            state = "its file is gone"
        return {"name": name, "state": state, "path": None if path is None else str(path), **more}

    rows = [row(EMBEDDED, own, "embedded", bytes=own.stat().st_size, licence="", source="package")]
    known = presets()
    for base in BaseList(home).all():
        preset = known.get(base.name)
        theirs = preset is not None and preset.repository == base.repository
        licence = preset.licence if preset is not None and theirs else ""
        rows.append(row(base.name, Path(base.path), "pulled", bytes=base.bytes, licence=licence,
                        source=base.repository))  # fmt: skip
    if str(used) not in {r["path"] for r in rows}:
        size = used.stat().st_size if used.is_file() else 0
        rows.append(row(used.stem, used, "", bytes=size, licence="", source="file"))
    here = {r["name"] for r in rows}
    return rows + [
        row(p.name, None, "to be pulled", bytes=p.shape.file_bytes, licence=p.licence,
            source=p.repository)
        for p in known.values() if p.name not in here
    ]  # fmt: skip
