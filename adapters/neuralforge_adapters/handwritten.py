"""What nobody typed: vendored, generated, minified and oversized files.

Invariant: a file passes only if both its path and its text look written by hand. Knows no git.
"""

from __future__ import annotations

import re

from neuralforge_adapters.fim import split_lines
from neuralforge_adapters.language import language_of

MOST_BYTES = 1_000_000
_MOST_LINES = 20_000  # the line diff needs lines² / 8 bytes
_LONGEST_LINE = 2_000
_LONGEST_MEAN = 200
_HEAD_LINES = 20

_FOREIGN_FOLDERS = frozenset(
    (
        ".eggs",
        ".venv",
        ".yarn",
        "__generated__",
        "__pycache__",
        "_vendor",
        "bower_components",
        "carthage",
        "dist",
        "dist-packages",
        "generated",
        "godeps",
        "jspm_packages",
        "node_modules",
        "pods",
        "site-packages",
        "third-party",
        "third_party",
        "thirdparty",
        "vendor",
        "vendored",
        "vendors",
        "venv",
        "virtualenv",
    )
)
_FOREIGN_NAMES = re.compile(
    r"""(?ix)
    .* [.-] min \. \w+              # minified
    | .* \. (bundle|chunk) \. \w+
    | .* [-.] lock (\. \w+)?  | package-lock\.json | npm-shrinkwrap\.json
    | .* _pb2 (_grpc)? \. pyi?      # protocol buffers
    | .* \. pb (\.gw)? \. \w+
    | .* [._-] generated \. \w+ | zz_generated .* | .* \. gen \. \w+ | .* \. g \. \w+
    | .* \. (designer | freezed) \. \w+
    | moc_ .* | versioneer\.py | jquery .* \.js
    """
)
_COMMENT = re.compile(r"""\s*(\#|//|/\*|\*|--|;|%|<!--|"{3}|'{3})""")
_GENERATED = re.compile(
    r"(?i)@generated|\bdo not (edit|modify)\b|\bauto-?(matically )?generated\b"
    r"|\bgenerated (by|from|with|using)\b|\bthis file (is|was) generated\b"
)


def is_own_path(path: str) -> bool:
    """Whether the file at `path` ('/' between folders) is code that is kept by hand here."""
    *folders, name = path.split("/")
    return (
        language_of(path) is not None
        and not any(folder.lower() in _FOREIGN_FOLDERS for folder in folders)
        and _FOREIGN_NAMES.fullmatch(name) is None
    )


def is_handwritten(text: str) -> bool:
    """Whether `text` looks typed: no generator's mark in its head, no giant lines."""
    lines = [line.rstrip("\r\n") for line in split_lines(text)]
    filled = [line for line in lines if line and not line.isspace()]
    if not filled or len(lines) > _MOST_LINES:
        return False
    if max(map(len, filled)) > _LONGEST_LINE or sum(map(len, filled)) > _LONGEST_MEAN * len(filled):
        return False
    return not any(
        _COMMENT.match(line) and _GENERATED.search(line) for line in filled[:_HEAD_LINES]
    )
