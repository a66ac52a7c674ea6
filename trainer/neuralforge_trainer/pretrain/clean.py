"""What of a package is worth learning from: hand-written code, in a known language, no secrets.

Invariant: a document that leaves here is UTF-8 text without secrets that any detector names, from
a file that looks written by hand. Knows no licence and no other document.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from neuralforge_adapters.handwritten import is_handwritten, is_own_path
from neuralforge_adapters.language import language_of
from neuralforge_server.session.scrub import may_hold_secret, scrub

_LEAST, _MOST = 120, 200_000
"""Characters of a document."""

_DATA_FOLDERS = frozenset(
    ("testdata", "test-data", "test_data", "fixtures", "data", "datasets", "corpus", "snapshots",
     "__snapshots__", "locale", "locales", "i18n", "unicode", "l10n", "migrations", "umd", "esm",
     "cjs", "min", "bundles", "_vendored", "_vendored_packages", "extern", "externals")
)  # fmt: skip
_INSTALLED = re.compile(
    r"^usr/(lib/python3(\.\d+)?/(dist-packages/)?|lib/python3/dist-packages/|share/nodejs/"
    r"|share/javascript/|share/gocode/src/|share/cargo/registry/|share/|lib/)"
)
_ALNUM = re.compile(r"[A-Za-z]")
_NUMBERS = re.compile(r"\b(0x[0-9a-fA-F]+|\d+(\.\d+)?)\b")
_FAMILY = {"typescriptreact": "typescript", "javascriptreact": "javascript"}
CLEANER = 3
"""Counts up when the same file would leave here as another text."""


@dataclass(frozen=True)
class Document:
    """One file of the corpus."""

    path: str
    """As in the package, without the folders of the installation."""
    text: str
    language: str
    package: str


def clean(package: str, path: str, content: bytes, languages: frozenset[str]) -> Document | None:
    """The document that a packaged file makes; None where it makes none."""
    if not is_wanted(path, languages):
        return None
    short = _INSTALLED.sub("", path)
    try:
        text = content.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None
    if not _LEAST <= len(text) <= _MOST or not is_handwritten(text) or _is_data(text):
        return None
    return Document(short, _without_secrets(text), _language(short), package)


def is_wanted(path: str, languages: frozenset[str]) -> bool:
    """Whether a packaged file may make a document, by its path alone."""
    short = _INSTALLED.sub("", path)
    return _language(short) in languages and _is_wanted_path(short) and is_own_path(short)


def digest(text: str) -> str:
    """Identifies a text up to white space (hex)."""
    return hashlib.sha256("".join(text.split()).encode("utf-8", "replace")).hexdigest()[:32]


def _language(path: str) -> str:
    language = language_of(path) or ""
    return _FAMILY.get(language, language)


def _is_wanted_path(path: str) -> bool:
    *folders, name = path.lower().split("/")
    if name.endswith((".min.js", ".d.ts", ".pyi", ".umd.js")) or name.startswith("."):
        return False
    return not _DATA_FOLDERS.intersection(folders)


def _is_data(text: str) -> bool:
    """Tables and binary in disguise: few letters, or a number in every other word."""
    head = text[:20_000]
    letters = len(_ALNUM.findall(head))
    numbers = len(_NUMBERS.findall(head))
    words = len(head.split())
    return letters < len(head) * 0.3 or numbers > max(40, words * 0.5)


def _without_secrets(text: str) -> str:
    if "PRIVATE KEY" in text:
        text = scrub(text)
    lines = text.split("\n")
    return "\n".join(scrub(line) if may_hold_secret(line) else line for line in lines)
