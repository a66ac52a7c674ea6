"""Secrets out of text, before anything is written to disk.

Invariant: `scrub` is idempotent and never grows a hole: what it replaces is replaced whole
by a placeholder such as `<secret:AWS Access Key>`. Only detect-secrets' patterns and
entropy measures are used, never its scan, which may verify a find over the network.
Does not know files, languages or where the text goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

MAX_LINE = 1_000
"""Characters; a longer line is nobody's typing and is replaced whole (the patterns are
quadratic in a line's length)."""

PRIVATE_KEY = "Private Key"
KEYWORD = "Secret Keyword"
BASIC_AUTH = "Basic Auth Credentials"
LONG_TOKEN = "Base64 High Entropy String"  # noqa: S105 - the name of a kind of secret
LONG_LINE = "Line Too Long To Check"

_NOT_USED = {
    "Public IP (ipv4)",  # no secret, and it fires on version numbers
    BASIC_AUTH,  # stops at passwords with signs in them; `_OWN_PATTERNS` has a wider one
}
_SHORTEST_SECRET_GROUP = 16
"""Characters; a shorter group of detect-secrets' patterns is a token's prefix such as `ghp`."""

_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
_KEY_TAIL = re.compile(r"\A(?s:.*?)-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")

_WORDS = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|(?:api|auth|access|account|private)[_-]?key)"
_OWN_PATTERNS = (
    # NAME=value and name: value as in shell, .ini and YAML: no quotes, so it must look random
    (
        KEYWORD,
        re.compile(
            rf"(?i)^\s*(?:export\s+|set\s+|-\s+)?[\w.-]*{_WORDS}[\w-]*(?:=|:\s+)"
            r"((?=\S*\d)(?=\S*[a-z])[^\s'\"(){}\[\]<>,;$]{8,})\s*$"
        ),
    ),
    # Server=db;Password=value;
    (KEYWORD, re.compile(rf"(?i)\b{_WORDS}\s*=\s*([^;\s'\"{{}}<>$]{{3,}})(?=;)")),
    # scheme://user:password@host, where the password may hold any sign
    (BASIC_AUTH, re.compile(r"://[^\s:/@'\"]*:([^\s'\"/]+)@")),
)
_TOKEN = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
_SUSPECT = re.compile(
    r"(?i)pass|pwd|secret|token|key|auth|cred|private|contrase|://\S*@"
    r"|akc[a-z\d]{10}|ap[\da-f][a-z\d]{8}|eyj"
    r"|(?=[a-z+/=.-]*\d)[\w+/=.-]{8,}|[\"'][\da-f]{8,}[\"']|[\w+/=-]{20,}|.{1000}"
)


@dataclass(frozen=True)
class Secret:
    """One find: characters [start, end) of the text, and detect-secrets' name of its kind."""

    start: int
    end: int
    kind: str

    @property
    def placeholder(self) -> str:
        """What stands in its place; itself never taken for a secret."""
        return f"<secret:{self.kind}>"


def scrub(text: str) -> str:
    """`text` with every secret replaced by its placeholder."""
    return scrub_parts(text)[0]


def scrub_parts(*parts: str) -> tuple[str, ...]:
    """Adjacent pieces of one text, scrubbed as one, so that no cut hides a secret.

    A suggestion's `hunter2"` is only seen to be a password behind its prefix `password = "`.
    """
    secrets = find_secrets("".join(parts))
    scrubbed, offset = [], 0
    for part in parts:
        scrubbed.append(_replace(part, offset, secrets))
        offset += len(part)
    return tuple(scrubbed)


def has_placeholder(text: str) -> bool:
    """Whether `text` was scrubbed of something."""
    return "<secret:" in text


def may_hold_secret(line: str) -> bool:
    """Whether a line has what every pattern needs; to ask them all costs twenty times as much.

    Of a key block it names the first line and the last, not those between.
    """
    return _SUSPECT.search(line) is not None


def find_secrets(text: str) -> list[Secret]:
    """Every secret in `text`, in order, none overlapping another."""
    found = list(_key_blocks(text))
    offset = 0
    for line in text.splitlines(keepends=True):
        found.extend(
            Secret(offset + start, offset + end, kind) for start, end, kind in _in_line(line)
        )
        offset += len(line)
    return _without_overlaps(found)


def _replace(part: str, offset: int, secrets: list[Secret]) -> str:
    pieces, position = [], 0
    for secret in secrets:
        start, end = secret.start - offset, secret.end - offset
        if end <= position or start >= len(part):
            continue
        pieces += [part[position : max(start, 0)], secret.placeholder]
        position = min(end, len(part))
    return "".join([*pieces, part[position:]])


def _without_overlaps(found: list[Secret]) -> list[Secret]:
    kept: list[Secret] = []
    for secret in sorted(found, key=lambda s: (s.start, -s.end)):
        if kept and secret.start < kept[-1].end:
            last = kept.pop()
            secret = Secret(last.start, max(last.end, secret.end), last.kind)
        kept.append(secret)
    return kept


def _key_blocks(text: str) -> Iterator[Secret]:
    if "PRIVATE KEY" not in text:
        return
    for match in _KEY_BLOCK.finditer(text):
        yield Secret(*match.span(), PRIVATE_KEY)
    tail = _KEY_TAIL.search(text)
    if tail and "-----BEGIN" not in tail.group():  # the text begins inside a key
        yield Secret(*tail.span(), PRIVATE_KEY)


def _in_line(line: str) -> Iterator[tuple[int, int, str]]:
    if len(line) > MAX_LINE:
        yield 0, len(line.rstrip("\r\n")), LONG_LINE
        return
    if len(line) < 4 or line.isspace():
        return
    for detector in _detectors():
        yield from detector(line)


Detector = Callable[[str], Iterator[tuple[int, int, str]]]


@cache
def _detectors() -> tuple[Detector, ...]:
    """detect-secrets' plugins as functions of a line, made once per process."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector
    from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin

    detectors: list[Detector] = [_quoted_keywords(), _own_patterns, _long_tokens()]
    for kind, plugin_class in get_mapping_from_secret_type_to_class().items():
        if kind in _NOT_USED:
            continue
        if issubclass(plugin_class, HighEntropyStringsPlugin):
            detectors.append(_high_entropy(plugin_class()))
        elif issubclass(plugin_class, RegexBasedDetector):
            detectors.append(_token_patterns(kind, plugin_class().denylist))
    return tuple(detectors)


def _token_patterns(kind: str, patterns: Any) -> Detector:
    def detect(line: str) -> Iterator[tuple[int, int, str]]:
        for pattern in patterns:
            for match in pattern.finditer(line):
                groups = [
                    group
                    for group in range(1, pattern.groups + 1)
                    if len(match[group] or "") >= _SHORTEST_SECRET_GROUP
                ]
                yield from ((*match.span(group), kind) for group in groups or [0])

    return detect


def _quoted_keywords() -> Detector:
    from detect_secrets.plugins.keyword import QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP

    def detect(line: str) -> Iterator[tuple[int, int, str]]:
        for pattern, group in QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP.items():
            for match in pattern.finditer(line):
                if not _is_template(match[group]):
                    yield *match.span(group), KEYWORD

    return detect


def _high_entropy(plugin: Any) -> Detector:
    from detect_secrets.filters import heuristic

    def is_harmless(value: str, line: str) -> bool:
        return bool(
            heuristic.is_potential_uuid(value)
            or heuristic.is_sequential_string(value)
            or heuristic.is_likely_id_string(value, line)
        )

    def detect(line: str) -> Iterator[tuple[int, int, str]]:
        for match in plugin.regex.finditer(line):
            entropy = plugin.calculate_shannon_entropy(match[2])
            if entropy > plugin.entropy_limit and not is_harmless(match[2], line):
                yield *match.span(2), plugin.secret_type

    return detect


def _long_tokens() -> Detector:
    """Base64 without quotes, such as a line from the middle of a key."""
    from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString

    plugin = Base64HighEntropyString()

    def detect(line: str) -> Iterator[tuple[int, int, str]]:
        for match in _TOKEN.finditer(line):
            if plugin.calculate_shannon_entropy(match[0]) > plugin.entropy_limit:
                yield *match.span(), LONG_TOKEN

    return detect


def _own_patterns(line: str) -> Iterator[tuple[int, int, str]]:
    for kind, pattern in _OWN_PATTERNS:
        for match in pattern.finditer(line):
            if not _is_template(match[1]):
                yield *match.span(1), kind


def _is_template(value: str) -> bool:
    """A reference to a secret (`{password}`, `$TOKEN`, a placeholder), or no value at all."""
    return (
        value.startswith("$")
        or (value[:1], value[-1:]) in {("{", "}"), ("<", ">")}
        or not any(character.isalnum() for character in value)
    )
