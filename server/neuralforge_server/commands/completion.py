"""The command that switches suggestions: everywhere, in a language, in a folder, in a document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuralforge_server.app import App
from neuralforge_server.commands.arguments import options, text
from neuralforge_server.documents import uri_path
from neuralforge_server.errors import CommandError

_SCOPES = ("global", "language", "workspace", "document")


async def toggle(app: App, arguments: list[Any]) -> Any:
    """`[{scope, target?, enabled?}]` → `scope`, `target`, `enabled`: the other way, or as given.

    `scope` is `global`, `language` (`target`: its id), `workspace` (a folder) or `document` (its
    URI). It holds until the server ends; the settings `completion.enabled` and
    `completion.languages` last.
    """
    given = options(arguments, {"scope", "target", "enabled"})
    scope, wanted = given.get("scope", "global"), given.get("enabled")
    if scope not in _SCOPES or not (wanted is None or isinstance(wanted, bool)):
        raise CommandError(
            f"scope must be one of {', '.join(_SCOPES)}, and enabled true or false if given"
        )
    if scope == "global":
        enabled = not app.settings.completion.enabled if wanted is None else wanted
        await app.switch(enabled)
        return {"scope": scope, "target": None, "enabled": enabled}
    target = text([given.get("target")], 0, "target")
    return {"scope": scope, "target": target, "enabled": _toggle(app, scope, target, wanted)}


def _toggle(app: App, scope: str, target: str, wanted: bool | None) -> bool:
    """Switch one scope; returns what holds for it now."""
    toggles, setting = app.host.service.asking.toggles, app.settings.completion.languages
    if scope == "language":
        enabled = not toggles.language(target, setting) if wanted is None else wanted
        toggles.languages[target] = enabled
    elif scope == "workspace":
        folder = Path(uri_path(target) or target)
        enabled = not toggles.folder(folder) if wanted is None else wanted
        toggles.folders[folder] = enabled
    else:
        if (document := app.documents.get(target)) is None:
            raise CommandError(f"{target} is not open; give the URI of an open document")
        enabled = not toggles.allow(document, setting) if wanted is None else wanted
        toggles.documents[target] = enabled
    return enabled
