"""Which files of a package may be learned from, by Debian's copyright file.

Invariant: a package passes only if the licence of its files is known to be permissive, and a
file under another licence inside it stays out. Reads the machine-readable format (DEP-5) and,
where a file is not in it, the words of the licence. Knows no archive.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field

_PERMISSIVE = re.compile(
    r"(?i)^\(?(expat|mit|x11|isc|0?bsd|apache|psf|python|zlib|zpl|zope|hpnd|bsl|boost|unlicense"
    r"|public[- ]domain|cc0|unicode|ncsa|curl|postgresql|libpng|blessing|cnri)"
)
_COPYLEFT = re.compile(r"(?i)\b[al]?gpl|general public licen|\bmpl\b|mozilla public|cc-by-(sa|nc)")
_GRANTS = re.compile(
    r"(?i)permission is hereby granted|redistribution and use in source and binary forms"
    r"|apache license|permission to use, copy, modify,? and(/or)? distribute"
)
_HEADING = re.compile(r"^([A-Za-z-]+):[ \t]*(.*)$")


@dataclass(frozen=True)
class Licence:
    """What a copyright file says: the main licence, and patterns of files that stay out."""

    name: str
    permissive: bool
    excluded: tuple[str, ...] = field(default=())

    def allows(self, path: str) -> bool:
        """Whether the file at `path` (as installed) is under a permissive licence."""
        if not self.permissive:
            return False
        return not any(fnmatch.fnmatchcase(f"/{path}", pattern) for pattern in self.excluded)


def read_licence(text: str) -> Licence:
    """The licence that a copyright file states."""
    stanzas = _stanzas(text)
    if "Format" not in (stanzas[0] if stanzas else {}):
        return Licence(*_by_words(text))
    bodies = {s["License"].split("\n")[0].strip(): s["License"] for s in stanzas if "License" in s}
    main, excluded = "", []
    for stanza in (s for s in stanzas if "Files" in s):
        name = stanza.get("License", "").split("\n")[0].strip()
        patterns = stanza["Files"].split()
        if "*" in patterns:
            main = name
        elif not _is_permissive(name, bodies):
            excluded += [
                tail for p in patterns if not p.startswith("debian/") for tail in _tails(p)
            ]
    return Licence(main, bool(main) and _is_permissive(main, bodies), tuple(excluded))


def read_expression(name: str) -> Licence:
    """The licence that an SPDX expression such as `MIT OR Apache-2.0` names."""
    return Licence(name, bool(name) and _is_permissive(name, {}))


def _stanzas(text: str) -> list[dict[str, str]]:
    stanzas: list[dict[str, str]] = []
    for block in re.split(r"\n[ \t]*\n(?=[A-Za-z])", text.replace("\r\n", "\n").strip()):
        fields: dict[str, str] = {}
        key = ""
        for line in block.split("\n"):
            if match := _HEADING.match(line):
                key = match[1]
                fields[key] = match[2]
            elif key:
                fields[key] += "\n" + line
        stanzas.append(fields)
    return stanzas


def _is_permissive(expression: str, bodies: dict[str, str]) -> bool:
    """`A or B` needs one permissive licence, `A and B` and `A, B` all of them."""
    return any(
        all(
            _one_is_permissive(name.strip(" ()"), bodies)
            for name in re.split(r"(?i) and |,", choice)
        )
        for choice in re.split(r"(?i),? or ", expression)
    )


def _one_is_permissive(name: str, bodies: dict[str, str]) -> bool:
    if not name:
        return True
    if _PERMISSIVE.match(name):
        return True
    return _by_words(bodies.get(name, ""))[1] and not _COPYLEFT.search(name)


def _by_words(text: str) -> tuple[str, bool]:
    grant = _GRANTS.search(text)
    copyleft = _COPYLEFT.search(text)
    return (grant[0].lower() if grant else "unknown"), bool(grant) and not copyleft


def _tails(pattern: str) -> list[str]:
    """Patterns for installed paths, which lack the source tree's first folders."""
    short = re.sub(r"^(src|lib)/", "", pattern.removeprefix("./"))
    return [f"*/{pattern}", f"*/{short}"] if short != pattern else [f"*/{pattern}"]
