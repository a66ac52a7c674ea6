"""What pickers show of adapters and stacks: one row of plain values for each.

Invariant: reads files alone, loads nothing, and a damaged version or stack is a row that says so
or none, never an error. Knows no editor and no terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuralforge_adapters.base import Base, embedded_base, open_base
from neuralforge_adapters.bases import EMBEDDED, BaseList
from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.home import Home
from neuralforge_adapters.named_stacks import NamedStack, NamedStacks
from neuralforge_adapters.stack import Entries, ResolvedStack, StackFile, is_path, resolve
from neuralforge_adapters.store import AdapterStore, AdapterVersion

_HELD_OUT = ("candidate", "held-out")


@dataclass(frozen=True)
class Shelf:
    """Everything that there is to choose from, for a base and a stack in force."""

    home: Home
    base: Base
    serving: ResolvedStack

    def adapters(self) -> list[dict[str, Any]]:
        """A row for each version of each adapter, by name, oldest first."""
        store, names = AdapterStore(self.home), base_names(self.home, self.base)
        rows = []
        for name in store.names():
            current = store.current(name)
            rows += [self._version(v, v == current, names) for v in store.versions(name)]
        return rows

    def stacks(self) -> list[dict[str, Any]]:
        """A row for each named stack, by name."""
        names, in_force = base_names(self.home, self.base), StackFile(self.home).read()
        return [self._stack(stack, in_force, names) for stack in NamedStacks(self.home).all()]

    def _version(
        self, version: AdapterVersion, current: bool, names: Mapping[str, str]
    ) -> dict[str, Any]:
        manifest = version.manifest
        scales = {a.reference: a.scale for a in self.serving.adapters}
        return {
            "adapter": version.reference,
            "name": version.name,
            "version": version.version,
            "current": current,
            "scale": scales.get(version.reference),
            "base": names.get(manifest.base_digest, manifest.base_digest[:12]),
            "base_digest": manifest.base_digest,
            "fits": manifest.base_digest == self.base.digest,
            "rank": manifest.rank,
            "parent": manifest.parent,
            "created": manifest.created,
            "bytes": version.gguf.stat().st_size,
            **_measured(manifest.metrics),
            "data": manifest.data,
            "metrics": manifest.metrics,
        }

    def _stack(
        self, stack: NamedStack, in_force: Entries, names: Mapping[str, str]
    ) -> dict[str, Any]:
        adapters, problem = self._entries(stack.entries)
        return {
            "name": stack.name,
            "adapters": adapters,
            "base": names.get(stack.base_digest, stack.base_digest[:12]),
            "base_digest": stack.base_digest,
            "fits": not problem,
            "problem": problem,
            "in_force": stack.entries == in_force,
            "saved": stack.saved,
        }

    def _entries(self, entries: Entries) -> tuple[list[dict[str, Any]], str]:
        """Each entry with what it means now, and the first thing that is wrong with one."""
        store, rows, problem = AdapterStore(self.home), [], ""
        for entry in entries:
            row: dict[str, Any] = {"adapter": entry.adapter, "scale": entry.scale, "means": None}
            try:
                found = resolve((entry,), store, self.base.digest).adapters
                row["means"] = found[0].reference if found else None
                if found and not is_path(entry.adapter):
                    row |= _measured(store.get(found[0].reference).manifest.metrics)
            except NeuralForgeError as error:
                problem = problem or str(error)
            rows.append(row)
        return rows, problem


def base_names(home: Home, used: Base) -> dict[str, str]:
    """The names that the user knows bases by, by digest."""
    pulled = {base.digest: base.name for base in BaseList(home).all()}
    return {used.digest: used.name, **pulled, open_base(embedded_base(), home).digest: EMBEDDED}


def _measured(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """EM and ES (0..1) on what was held out, as the gate measured them; None where it did not."""
    rows = metrics.get("rows")
    for row in rows if isinstance(rows, list | tuple) else ():
        if isinstance(row, Mapping) and (row.get("system"), row.get("items")) == _HELD_OUT:
            return {"em": row.get("em"), "es": row.get("es")}
    return {"em": None, "es": None}
