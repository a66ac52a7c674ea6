"""The settings as JSON Schema, for editors that check them while the user writes them.

Invariant: what the schema allows `settings.parse` takes, and the other way round. Knows no editor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from neuralforge_server.settings import SECTION, Settings

Schema = dict[str, Any]

_TYPES: dict[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}


def properties(kind: type[Any] = Settings, path: str = SECTION) -> dict[str, Schema]:
    """One schema for each setting, by its whole name; descriptions are Markdown."""
    types = get_type_hints(kind)
    found: dict[str, Schema] = {}
    for known in fields(kind):
        name, hint = f"{path}.{known.name}", types[known.name]
        if is_dataclass(hint):
            found |= properties(hint, name)  # type: ignore[arg-type]
        else:
            found[name] = _leaf(known, hint)
    return found


def _leaf(known: Field[Any], hint: Any) -> Schema:
    default = known.default if known.default_factory is MISSING else known.default_factory()
    schema = _kind(hint) | {"default": list(default) if isinstance(default, tuple) else default}
    if (low := known.metadata["low"]) is not None:
        schema |= {"minimum": low, "maximum": known.metadata["high"]}
    return schema | {"description": known.metadata["description"]}


def _kind(hint: Any) -> Schema:
    if get_origin(hint) is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _kind(get_args(hint)[0])}
    if get_origin(hint) is Mapping:
        return {"type": "object", "additionalProperties": _kind(get_args(hint)[1])}
    return {"type": _TYPES[hint]}
