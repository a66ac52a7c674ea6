"""Datasets: what is read of every format, and how broken, cut-off and huge files are told."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from neuralforge_trainer.errors import DatasetError
from neuralforge_trainer.samples.dataset import LONGEST_LINE, Dataset, read_dataset
from neuralforge_trainer.samples.sample import Sample

GOOD = {"context": "ship = ", "completion": "launch()", "language": "python"}


def line_of(**changes: Any) -> str:
    return json.dumps(GOOD | changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "samples.jsonl"


def read(file: Path, *lines: str | bytes, end: bytes = b"\n") -> Dataset:
    content = [line.encode() if isinstance(line, str) else line for line in lines]
    file.write_bytes(b"".join(part + end for part in content))
    return read_dataset(file)


def only(file: Path, record: dict[str, Any]) -> Sample:
    (sample,) = read(file, json.dumps(record)).samples
    return sample


def test_broken_lines_are_named_by_number_and_the_rest_is_used(file: Path) -> None:
    dataset = read(file, line_of(), "", '{"context": "x"', b'{"context": "\xff"}', "[1]", line_of())
    assert len(dataset.samples) == 2
    assert [broken.number for broken in dataset.broken] == [3, 4, 5]
    reasons = [broken.reason for broken in dataset.broken]
    assert "not a line of JSON" in reasons[0]
    assert "not UTF-8 (byte 13)" in reasons[1]
    assert "not a JSON object" in reasons[2]
    assert not dataset.truncated
    assert dataset.complaint.startswith("line 3: not a line of JSON")


def test_every_canonical_field_is_read(file: Path) -> None:
    extra = {"suffix": "\n", "path": "a/b.py", "repository": "r", "time": 12.5}
    assert only(file, GOOD | extra) == Sample(
        "ship = ", "launch()", "\n", "python", "a/b.py", "r", 12.5, "file"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (line_of(completion=" \n"), "completion is empty"),
        (line_of(time=float("nan")), "'time' must be seconds"),
        (line_of(time=True), "'time' must be seconds"),
        (line_of(context="\ud83d"), "half a surrogate pair"),
        (line_of(completion=None), "'completion' must be a string"),
        ('{"question": "x", "answer": "y"}', "of no known format, with answer, question"),
        ('{"messages": "hello"}', "'messages' must be a list"),
        ('{"messages": [{"role": "user", "content": "hi"}]}', "nothing in it can be completed"),
        ('{"text": "\\n)\\n"}', "nothing in it can be completed"),
        ("[" * 100_000, "not a line of JSON"),
    ],
)
def test_a_record_that_cannot_be_used_says_why(file: Path, content: str, reason: str) -> None:
    (broken,) = read(file, line_of(), content).broken
    assert reason in broken.reason
    assert len(broken.reason) < 300


def test_an_instruction_stands_above_its_answer(file: Path) -> None:
    record = {"instruction": "Add.", "input": "def add(a, b):", "output": "    return a + b"}
    sample = only(file, record | {"language": "python"})
    assert (sample.prefix, sample.middle) == ("Add.\n\ndef add(a, b):\n\n", "    return a + b")


def test_a_prompt_is_followed_by_its_completion_at_once(file: Path) -> None:
    sample = only(file, {"prompt": "x = ", "completion": "1 + 2", "suffix": "\n", "path": "a.rs"})
    assert (sample.prefix, sample.middle, sample.suffix) == ("x = ", "1 + 2", "\n")
    assert sample.language == "rust"


def test_of_a_chat_the_assistants_code_is_learnt(file: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Print hello."},
        {"role": "assistant", "content": "Here:\n```py\nprint('hello')\n```\nDone."},
        {"role": "user", "content": "And in words?"},
        {"role": "assistant", "content": "It prints hello."},
    ]
    code, words = read(file, json.dumps({"messages": messages})).samples
    assert code.prefix == "Be brief.\n\nPrint hello.\n\nHere:\n```py\n"
    assert (code.middle, code.language) == ("print('hello')", "python")
    assert (words.middle, words.language) == ("It prints hello.", "plaintext")
    assert "And in words?\n\n" in words.prefix


def test_plain_text_is_learnt_line_by_line_in_its_own_context(file: Path) -> None:
    text = "".join(f"line_{number} = {number * 100}\n" for number in range(200))
    samples = read(file, json.dumps({"text": text, "language": "python"})).samples
    assert [sample.middle for sample in samples[:2]] == ["line_0 = 0", "line_1 = 100"]
    assert all(s.prefix + s.middle + s.suffix in text for s in samples)
    assert max(len(sample.prefix + sample.suffix) for sample in samples) <= 2200


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(file: Path) -> None:
    plain = read(file, line_of(), line_of(context="a = "))
    marked = read(file, b"\xef\xbb\xbf" + line_of().encode(), line_of(context="a = "), end=b"\r\n")
    assert marked.samples == plain.samples
    assert not marked.broken


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_file_that_was_cut_off_is_recognised(file: Path, cut: int) -> None:
    file.write_text(f"{line_of()}\n{line_of()}\n"[: -1 - cut])
    dataset = read_dataset(file)
    assert dataset.truncated
    assert len(dataset.samples) == 1
    assert dataset.complaint.startswith("it was cut off")


def test_a_last_line_without_an_end_is_whole(file: Path) -> None:
    file.write_text(f"{line_of()}\n{line_of()}")
    dataset = read_dataset(file)
    assert (len(dataset.samples), dataset.truncated) == (2, False)


def test_zeros_where_a_crash_left_them_are_recognised(file: Path) -> None:
    dataset = read(file, line_of(), b"\0" * 4096)
    assert (len(dataset.samples), dataset.truncated) == (1, True)


def test_gzip_is_read_and_its_truncation_recognised(file: Path) -> None:
    lines = "".join(line_of(context=f"ship_{number} = ") + "\n" for number in range(5000))
    packed = gzip.compress(lines.encode())
    file.write_bytes(packed)
    assert len(read_dataset(file).samples) == 5000
    file.write_bytes(packed[: len(packed) // 2])
    dataset = read_dataset(file)
    assert dataset.truncated
    assert 0 < len(dataset.samples) < 5000


def test_a_huge_line_is_passed_over_in_little_memory(file: Path) -> None:
    with file.open("wb") as output:
        output.write(line_of().encode() + b"\n" + b'{"context": "')
        for _ in range(100):
            output.write(b"x" * 1_000_000)
        output.write(b'"}\n' + line_of().encode() + b"\n")
    tracemalloc.start()
    dataset = read_dataset(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset.samples) == 2
    assert [broken.number for broken in dataset.broken] == [2]
    assert "longer than" in dataset.broken[0].reason
    assert peak < 5 * LONGEST_LINE  # the line is 12 times as long


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"\xff\xfe{\x00", "UTF-16"),
        (b"no json\nat all\n", "line 1: not a line of JSON"),
        (b"\x1f\x8b\x08", "it was cut off"),
    ],
)
def test_a_file_of_no_use_is_refused_with_the_reason(
    file: Path, content: bytes, words: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        read_dataset(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(DatasetError, match="cannot read the dataset"):
            read_dataset(path)
