"""One training example, and its one-line JSON form.

Invariant: `prefix + middle + suffix` is a stretch of one real text, cut at two cursor positions
and no larger than the served window needs; every string of it can be written as UTF-8;
`from_json(to_json(sample)) == sample`. Knows no tokenizer.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from neuralforge_trainer.errors import SampleFormatError

Source = Literal["git", "session", "file"]


@dataclass(frozen=True)
class Sample:
    """What stands left of the cursor, what the user wrote there, and what stands after it.

    `time` is in seconds since the epoch; `commit` is None outside git.
    """

    prefix: str
    middle: str
    suffix: str
    language: str
    path: str
    repository: str
    time: float
    source: Source
    commit: str | None = None

    def to_json(self) -> str:
        """This sample as one line of JSON in the canonical format."""
        record: dict[str, Any] = {
            "context": self.prefix,
            "completion": self.middle,
            "language": self.language,
            "suffix": self.suffix,
            "path": self.path,
            "repository": self.repository,
            "time": self.time,
            "source": self.source,
            "commit": self.commit,
        }
        return json.dumps(record, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Sample:
        """The sample in one line of JSON; only context, completion and language are required.

        Raises:
            SampleFormatError: not JSON, a required field is missing, or a field cannot be used.
        """
        return cls.from_record(parse_record(line))

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Sample:
        """The sample in a JSON object of the canonical format.

        Raises:
            SampleFormatError: a required field is missing, or a field cannot be used.
        """
        return cls(
            prefix=text_field(record, "context"),
            middle=text_field(record, "completion"),
            suffix=text_field(record, "suffix", ""),
            language=text_field(record, "language"),
            path=text_field(record, "path", ""),
            repository=text_field(record, "repository", ""),
            time=seconds_field(record),
            source=_source(record),
            commit=text_field(record, "commit", "") or None,
        )


def parse_record(line: str) -> dict[str, Any]:
    """The JSON object in `line`.

    Raises:
        SampleFormatError: it holds none.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SampleFormatError(
            f"not a line of JSON: {line[:80]!r}; write one object a line"
        ) from error
    if not isinstance(record, dict):
        raise SampleFormatError(f"not a JSON object: {line[:80]!r}; write one object a line")
    return record


def text_field(record: dict[str, Any], field: str, default: str | None = None) -> str:
    """A string of `record`; `default` where the field is absent or null.

    Raises:
        SampleFormatError: it is no string, or holds half a surrogate pair.
    """
    value = record.get(field)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise SampleFormatError(f"the sample's field {field!r} must be a string, not {value!r:.80}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SampleFormatError(
            f"the sample's field {field!r} holds half a surrogate pair at character {error.start}"
        ) from error
    return value


def seconds_field(record: dict[str, Any]) -> float:
    """The field `time` of `record`, 0 where it is absent.

    Raises:
        SampleFormatError: it is no finite number.
    """
    value = record.get("time") or 0.0
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not math.isfinite(value):
        raise SampleFormatError(f"the sample's field 'time' must be seconds, not {value!r:.80}")
    return float(value)


def _source(record: dict[str, Any]) -> Source:
    value = record.get("source", "file")
    if value not in get_args(Source):
        known = ", ".join(get_args(Source))
        raise SampleFormatError(
            f"the sample's field 'source' must be one of {known}, not {value!r:.80}"
        )
    return cast(Source, value)
