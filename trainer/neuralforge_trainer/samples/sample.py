"""One training example, and its one-line JSON form.

Invariant: `prefix + middle + suffix` is the text of one real file state, cut at two cursor
positions; `from_json(to_json(sample)) == sample`. Knows no tokenizer and no window: the whole
text is kept, and what fits into a context is decided where samples become tokens.
"""

from __future__ import annotations

import json
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
            SampleFormatError: not JSON, a required field is missing, or a field's type is wrong.
        """
        record = _record(line)
        return cls(
            prefix=_text(record, "context"),
            middle=_text(record, "completion"),
            suffix=_text(record, "suffix", ""),
            language=_text(record, "language"),
            path=_text(record, "path", ""),
            repository=_text(record, "repository", ""),
            time=_seconds(record),
            source=_source(record),
            commit=_text(record, "commit", "") or None,
        )


def _record(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise SampleFormatError(
            f"not a line of JSON: {line[:80]!r}; write one object a line"
        ) from error
    if not isinstance(record, dict):
        raise SampleFormatError(f"not a JSON object: {line[:80]!r}; write one object a line")
    return record


def _text(record: dict[str, Any], field: str, default: str | None = None) -> str:
    value = record.get(field)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise SampleFormatError(f"the sample's field {field!r} must be a string, not {value!r:.80}")
    return value


def _seconds(record: dict[str, Any]) -> float:
    value = record.get("time", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
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
