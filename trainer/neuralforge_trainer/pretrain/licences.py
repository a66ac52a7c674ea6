"""Which files of a package may be learned from, by Debian's copyright file.

Invariant: a package passes only if the licence of its files is known to be permissive, and a
file under another licence inside it stays out. Reads the machine-readable format (DEP-5) and,
where a file is not in it, the words of the licence. Knows no archive.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass, field

_PERMISSIVE = re.compile(
    r"(?i)^\(?(expat|mit|x11|isc|0?bsd|apache|psf|python|zlib|zpl|zope|hpnd|bsl|boost|unlicense"
    r"|public[- ]domain|cc0|unicode|ncsa|curl|postgresql|libpng|blessing|cnri)"
)
_COPYLEFT = re.compile(r"(?i)\b[al]?gpl|general public licen|\bmpl\b|mozilla public|cc-by-(sa|nc)")
_RESTRICTED = re.compile(
    r"(?i)commons[- ]clause|\bnc\b|non-?commercial|\bbsl-1\.1|-protection\b|-no-"
)
"""What takes back a part of what the name before it gives."""
_SIGN = re.compile(r"(?i)([()]|,\s*(?:and|or)(?=\s)|,|(?<=[\s)])(?:and|or|[&+])(?=[\s(]))")
"""Brackets and connectives of an expression; `or` and `and` within a name are none."""
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
    bodies = _bodies(stanzas)
    main, main_is_permissive, excluded = "", False, []
    for stanza in (s for s in stanzas if "Files" in s):
        name, own = _name_and_body(stanza)
        permissive = bool(name) and _is_permissive(name, bodies, own)
        patterns = stanza["Files"].split()
        if "*" in patterns:
            main, main_is_permissive = name, permissive
        elif not permissive:
            excluded += [
                tail for p in patterns if not p.startswith("debian/") for tail in _tails(p)
            ]
    return Licence(main, main_is_permissive, tuple(excluded))


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


def _name_and_body(stanza: dict[str, str]) -> tuple[str, str]:
    """What a stanza calls its licence, and the words that it gives for it there and then."""
    name, _, body = stanza.get("License", "").partition("\n")
    return name.strip(), body.strip()


def _bodies(stanzas: list[dict[str, str]]) -> dict[str, str]:
    """The words of the stanzas that are about a licence alone; of one name, those of all."""
    bodies: dict[str, str] = {}
    for stanza in stanzas:
        if "License" in stanza and "Files" not in stanza:
            name, body = _name_and_body(stanza)
            bodies[name] = f"{bodies.get(name, '')}\n{body}"
    return bodies


def _is_permissive(expression: str, bodies: dict[str, str], own: str = "") -> bool:
    """`A or B` needs one permissive licence, `A and B` and `A, B` all of them.

    `own` are the words beside the expression, which go before those under the same name elsewhere.
    """
    signs = [part.strip() for part in _SIGN.split(expression) if part.strip()]

    def is_permissive(name: str) -> bool:
        return _one_is_permissive(name, own or bodies.get(name, ""))

    return _judge(signs, is_permissive) and not signs


def _judge(signs: list[str], is_permissive: Callable[[str], bool]) -> bool:
    """Judges an expression, and takes its signs away up to the bracket that closes it.

    `and` binds closer than `or`, which binds closer than a comma, as Debian's format has it.
    """
    parts: list[list[list[bool]]] = [[[]]]  # all of them; of each, one choice; of that, all
    while signs and (sign := signs.pop(0)) != ")":
        connective = sign.lower().lstrip(", ")
        if sign == "(":
            parts[-1][-1].append(_judge(signs, is_permissive))
        elif connective == "or":
            parts[-1].append([])
        elif sign.startswith(","):
            parts.append([[]])
        elif connective not in ("and", "&", "+"):
            parts[-1][-1].append(is_permissive(sign))
    return all(any(choice and all(choice) for choice in part) for part in parts)


def _one_is_permissive(name: str, body: str) -> bool:
    if _COPYLEFT.search(name) or _RESTRICTED.search(name):
        return False
    return _PERMISSIVE.match(name) is not None or _by_words(body)[1]


def _by_words(text: str) -> tuple[str, bool]:
    grant = _GRANTS.search(text)
    copyleft = _COPYLEFT.search(text)
    return (grant[0].lower() if grant else "unknown"), bool(grant) and not copyleft


def _tails(pattern: str) -> list[str]:
    """Patterns for installed paths, which lack any number of the source tree's first folders.

    The file's own folder remains, lest every file of its name stay out; only `src` and `lib` are
    no such folder. A tail of wildcards alone would name every file, and is none.
    """
    path = pattern.removeprefix("./")
    parts = path.split("/")
    tails = ["/".join(parts[first:]) for first in range(1, len(parts) - 1)]
    named = [tail for tail in tails if re.search(r"\w", tail)]
    short = re.sub(r"^(src|lib)/", "", path)
    return [f"*/{tail}" for tail in dict.fromkeys([path, *named, short])]
