"""Where suggestions are switched off, besides everywhere: a language, a folder, a document.

Invariant: the most specific word counts: what was said of the document, then of the innermost
folder, then of the language, then the setting. What is said here holds for as long as the server
runs. Knows no settings beyond the table of languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from neuralforge_server.documents import Document

_OTHERS = "*"
"""In the setting: every language that is not named."""


class Toggles:
    """What the user switched by command."""

    def __init__(self) -> None:
        self.documents: dict[str, bool] = {}
        """By URI."""
        self.folders: dict[Path, bool] = {}
        self.languages: dict[str, bool] = {}

    def allow(self, document: Document, setting: Mapping[str, bool]) -> bool:
        """Whether anything may be suggested in `document`, under the setting `languages`."""
        said = self.documents.get(document.uri)
        said = self._folder(document.path) if said is None else said
        return self.language(document.language, setting) if said is None else said

    def language(self, language: str, setting: Mapping[str, bool]) -> bool:
        """What holds for a language where nothing more specific was said."""
        said = self.languages.get(language, setting.get(language))
        return setting.get(_OTHERS, True) if said is None else said

    def folder(self, folder: Path) -> bool:
        """What holds for a folder; on where nothing was said."""
        said = self._folder(str(folder))
        return True if said is None else said

    def _folder(self, path: str | None) -> bool | None:
        if path is None or not self.folders:
            return None
        around = [folder for folder in self.folders if Path(path).is_relative_to(folder)]
        return self.folders[max(around, key=lambda f: len(f.parts))] if around else None
