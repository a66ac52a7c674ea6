"""What one record of a dataset means: canonical, prompt and completion, instruction, chat, text.

Invariant: the middles of a record are what somebody wrote in answer, cut as `written` says where
they are longer than a completion; a record that teaches nothing is refused with the reason.
Knows no file and no line number.

Formats: `{"context", "completion", "language"}` (ours), `{"prompt", "completion"}`,
`{"instruction", "input"?, "output"}` (Alpaca), `{"messages": [{"role", "content"}]}` (OpenAI) and
`{"text"}`. Each may have suffix, language, path, repository and time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from neuralforge_adapters.fim import Window
from neuralforge_adapters.language import language_of
from neuralforge_trainer.errors import SampleFormatError
from neuralforge_trainer.samples.lines import visible
from neuralforge_trainer.samples.sample import Sample, seconds_field, text_field
from neuralforge_trainer.samples.written import written_spans

_PROSE = "plaintext"
_FENCE = re.compile(r"^```[ \t]*([\w+#.-]*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_FENCE_NAMES = {
    "bash": "shellscript",
    "c++": "cpp",
    "js": "javascript",
    "jsx": "javascriptreact",
    "py": "python",
    "rs": "rust",
    "sh": "shellscript",
    "ts": "typescript",
    "tsx": "typescriptreact",
}
_WINDOW = Window()


@dataclass(frozen=True)
class _Written:
    """`text` was written after `before`, and `after` follows it."""

    before: str
    text: str
    after: str = ""
    language: str = ""


def samples_of_record(record: dict[str, Any]) -> list[Sample]:
    """The samples of one record, cut to the served window; at least one.

    Raises:
        SampleFormatError: of no known format, a field cannot be used, or nothing to learn in it.
    """
    if "context" in record:
        samples = [_shown(Sample.from_record(record))]
        if not visible(samples[0].middle):
            raise SampleFormatError("the sample's completion is empty; leave such lines out")
        return samples
    samples = [sample for written in _written(record) for sample in _cut(record, written)]
    if not samples:
        raise SampleFormatError("nothing in it can be completed; leave such lines out")
    return samples


def _written(record: dict[str, Any]) -> Iterator[_Written]:
    if "messages" in record:
        yield from _of_chat(record["messages"])
    elif "instruction" in record:
        asked = (text_field(record, "instruction"), text_field(record, "input", ""))
        yield _Written(_above(*asked), text_field(record, "output"))
    elif "prompt" in record:
        suffix = text_field(record, "suffix", "")
        yield _Written(text_field(record, "prompt"), text_field(record, "completion"), suffix)
    elif "text" in record:
        yield _Written("", text_field(record, "text"))
    else:
        names = ", ".join(sorted(map(str, record))[:8]) or "no field at all"
        raise SampleFormatError(
            f"of no known format, with {names}; the canonical one is "
            '{"context": …, "completion": …, "language": …}'
        )


def _of_chat(messages: object) -> Iterator[_Written]:
    """What the assistant said: the code in it where there is some, else the whole."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise SampleFormatError(f"the field 'messages' must be a list of objects: {messages!r:.80}")
    before: list[str] = []
    for message in messages:
        said = text_field(message, "content", "")
        if text_field(message, "role") == "assistant":
            yield from _code_in(_above(*before), said)
        before.append(said)


def _code_in(before: str, said: str) -> Iterator[_Written]:
    blocks = list(_FENCE.finditer(said))
    for block in blocks:
        name = block[1].lower()
        above = before + said[: block.start(2)]
        yield _Written(above, block[2], language=_FENCE_NAMES.get(name, name))
    if not blocks:
        yield _Written(before, said)


def _above(*parts: str) -> str:
    """`parts` as they stand above an answer, each with an empty line below it."""
    return "".join(f"{part}\n\n" for part in (part.strip("\r\n") for part in parts) if part)


def _cut(record: dict[str, Any], written: _Written) -> Iterator[Sample]:
    path = text_field(record, "path", "")
    language = text_field(record, "language", "") or written.language
    whole = Sample(
        prefix=written.before,
        middle=written.text,
        suffix=written.after,
        language=language or language_of(path) or _PROSE,
        path=path,
        repository=text_field(record, "repository", ""),
        time=seconds_field(record),
        source="file",
    )
    for start, end in written_spans(written.text):
        yield _shown(
            replace(
                whole,
                prefix=whole.prefix + written.text[:start],
                middle=written.text[start:end],
                suffix=written.text[end:] + whole.suffix,
            )
        )


def _shown(sample: Sample) -> Sample:
    prefix, suffix = _WINDOW.cut_text(sample.prefix, sample.suffix)
    return replace(sample, prefix=prefix, suffix=suffix)
