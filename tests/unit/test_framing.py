"""Frames out of a byte stream: cut anywhere, and among nonsense."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_server.framing import FrameReader


def frame(value: object, length: int | None = None) -> bytes:
    body = json.dumps(value).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body) if length is None else length, body)


def read(chunks: list[bytes]) -> Iterator[object]:
    reader = FrameReader()
    for chunk in chunks:
        for body in reader.feed(chunk):
            try:
                yield json.loads(body)
            except ValueError:
                reader.reject(body)


@given(
    values=st.lists(st.text(max_size=30), max_size=5),
    cuts=st.lists(st.integers(1, 40), max_size=30),
)
def test_messages_survive_any_cut_of_the_stream(values: list[str], cuts: list[int]) -> None:
    stream = b"".join(map(frame, values))
    chunks = []
    for cut in cuts:
        chunks.append(stream[:cut])
        stream = stream[cut:]
    assert list(read([*chunks, stream])) == values


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello\r\n\r\n",
        b"\x00\xff" * 5000,
        b"Content-Length: nine\r\n\r\n{}",
        b"Content-Length: -5\r\n\r\n",
        b"Content-Length: 999999999999\r\n\r\n{}",
        frame("cut off", length=4),
        frame("too long by far", length=400),
        frame("too long by little", length=30),
        b"Content-Length: 7\r\nX: y\r\n\r\n{broken",
        b"Content-Length: 0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_what_follows_nonsense_is_still_read(nonsense: bytes, chunk: int) -> None:
    stream = frame(1) + nonsense + frame("after") + frame([2] * 30)
    chunks = [stream[i : i + chunk] for i in range(0, len(stream), chunk)]
    assert [v for v in read(chunks) if v != "cut off"] == [1, "after", [2] * 30]


def test_other_headers_and_cases_are_understood() -> None:
    stream = b"content-type: x\r\nCONTENT-LENGTH:4\r\nContent-Type: y; charset=utf-8\r\n\r\ntrue"
    assert list(read([stream])) == [True]


def test_text_that_speaks_of_headers_is_text() -> None:
    value = "Content-Length: 12\r\n\r\nContent-Length: 3"
    assert list(read([frame(value)])) == [value]
