"""Drives a llama-server the way llama.vim does, keystroke by keystroke.

Source: autoload/llama.vim of ggml-org/llama.vim (a1c8e6e), whose functions keep their names here:
the local context, the ring of extra chunks with its evictions, the result cache with its three
shortened keys and its walk back over 128 characters, the request repeated after 100 ms while one
is under way (it never cancels), the speculative request for what would come after acceptance, and
the time limits. Three things differ, each in llama-server's favour: sampling is greedy, requests
go over kept connections of this process instead of a `curl` process each, and neither that work
nor the plugin's own is counted. How a request names its prompt is `llama_prompt`'s. Knows no trace
and no clock of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from llama_prompt import Prompting
from typing_trace import Key, Place, Text

N_PREDICT = 128
_N_PREFIX, _N_SUFFIX = 256, 64
_T_MAX_PROMPT_MS, _T_MAX_PREDICT_MS, _T_FIRST_PREDICT_MS = 500, 1000, 250
_MAX_LINE_SUFFIX, _MAX_CACHE_KEYS, _WALK_BACK = 8, 250, 128
_RING_CHUNKS, _RING_QUEUED, _CHUNK_LINES, _RING_SCOPE = 16, 16, 64, 1024
_RING_SECONDS, _STILL_SECONDS, _RETRY_SECONDS, _ENTER_SECONDS = 1.0, 3.0, 0.1, 0.1


@dataclass
class Counts:
    """What the server computed, by its own timings."""

    runs: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    used: set[str] = field(default_factory=set)
    """Answers of which something was shown."""


@dataclass(frozen=True)
class _Local:
    """`s:fim_ctx_local`."""

    prefix: str
    middle: str
    suffix: str
    indent: int
    line_suffix: str

    def key(self, prefix: str | None = None) -> str:
        return _hash((self.prefix if prefix is None else prefix) + self.middle, self.suffix)


@dataclass(frozen=True)
class _Answer:
    """A result in the cache: its text and the request that it came from."""

    content: str
    run: str


class LlamaVim:
    """One vim with one file at a time open, in insert mode while it is typed in."""

    def __init__(
        self,
        url: str,
        prompting: Prompting,
        show: Callable[[str], None],
        n_predict: int = N_PREDICT,
        seed: int = 0,
    ) -> None:
        """`show` is called with the text that becomes visible at the cursor."""
        self.counts = Counts()
        self._prompting = prompting
        self._http = httpx2.AsyncClient(base_url=url, timeout=60.0)
        self._show = show
        self._n_predict = n_predict
        self._random = random.Random(seed)
        self._path, self._text = "", Text("")
        self._cursor: Place = (0, 0)
        self._insert = self._modified = False
        self._cache: OrderedDict[str, _Answer] = OrderedDict()
        self._ring: list[dict[str, Any]] = []
        self._queued: list[dict[str, Any]] = []
        self._job: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._hint: list[str] | None = None
        self._acceptable = False
        self._indent_last = -1
        self._picked_row = -9999
        self._moved = 0.0
        self._ring_task = asyncio.get_running_loop().create_task(self._ring_update())
        self._background: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Leave."""
        tasks = [task for task in (self._job, self._ring_task, *self._background) if task]
        if self._retry:
            self._retry.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    # what the user does

    def open(self, path: str, text: str, cursor: Place) -> None:
        """Enter a buffer (BufLeave of the one before, BufEnter of this one)."""
        if self._path and self._path != path:
            self._pick_near(no_mod=True)
        self._path, self._text, self._cursor = path, Text(text), cursor
        self._modified = False
        loop = asyncio.get_running_loop()
        loop.call_later(_ENTER_SECONDS, lambda: self._pick_near(no_mod=True))

    def press(self, key: Key) -> None:
        """One edit; CursorMovedI follows it where it was a key."""
        self._insert = self._modified = True
        self._cursor = self._text.apply(key.start, key.end, key.text)
        if key.typed:
            self._on_move()
            self._fim(None, [])

    def save(self) -> None:
        """Leave insert mode and write the buffer."""
        self._insert = self._modified = False
        self._hint = None
        self._pick_near(no_mod=True)

    # s:fim_ctx_local and llama#fim

    def _local(self, cursor: Place, previous: Sequence[str]) -> _Local:
        row, column = cursor
        lines = self._text.lines
        suffix_lines = lines[row + 1 : row + 1 + _N_SUFFIX]
        above = lines[max(0, row - _N_PREFIX) : row]
        if not previous:
            line = lines[row]
            before, after = line[:column], line[column:]
            if not line.strip():
                before, after, indent = "", "", 0
            else:
                indent = len(line) - len(line.lstrip())
        else:
            indent, after = self._indent_last, ""
            before = lines[row] + previous[0] if len(previous) == 1 else previous[-1]
            above = lines[max(0, row - _N_PREFIX + len(previous) - 1) : row]
            if len(previous) > 1:
                above = [*above, lines[row] + previous[0], *previous[1:-1]]
        prefix = "\n".join(above) + "\n"
        suffix = after + "\n" + "\n".join(suffix_lines) + "\n"
        return _Local(prefix, before, suffix, indent, after)

    def _fim(self, cursor: Place | None, previous: Sequence[str]) -> None:
        if self._job is not None:
            if self._retry is not None:
                self._retry.cancel()
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(_RETRY_SECONDS, self._fim, cursor, previous)
            return
        place = self._cursor if cursor is None else cursor
        if place[0] >= len(self._text.lines):
            return
        local = self._local(place, previous)
        if len(local.line_suffix) > _MAX_LINE_SUFFIX:
            return
        keys = [local.key(), *map(local.key, _shortened(local.prefix))]
        if any(key in self._cache for key in keys):
            return
        self._indent_last = local.indent
        self._evict_similar()
        request = self._request(local, _T_MAX_PREDICT_MS if previous else _T_FIRST_PREDICT_MS)
        self._job = asyncio.get_running_loop().create_task(self._ask(request, keys))
        if abs(place[0] - self._picked_row) > 32:
            self._pick_around(place[0])

    def _request(self, local: _Local, predict_ms: int) -> dict[str, Any]:
        return {
            **self._prompting.fields(
                local.prefix, local.middle, local.suffix, self._ring, self._path
            ),
            "id_slot": 0,
            "n_predict": self._n_predict,
            "stop": [],
            "n_indent": local.indent,
            "top_k": 1,  # llama.vim: 40; greedy here
            "top_p": 0.90,
            "samplers": ["top_k", "top_p", "infill"],
            "stream": False,
            "cache_prompt": True,
            "t_max_prompt_ms": _T_MAX_PROMPT_MS,
            "t_max_predict_ms": predict_ms,
            "response_fields": ["content", "timings/prompt_n", "timings/predicted_n"],
        }

    async def _ask(self, request: dict[str, Any], keys: Sequence[str]) -> None:
        """`s:fim_on_response`, then `s:fim_on_exit`."""
        try:
            self.counts.runs += 1
            response = (await self._http.post(self._prompting.path, json=request)).json()
            if "content" not in response:  # llama.vim takes no notice of it
                print(f"llama-server refuses: {response}", file=sys.stderr)
                return
            self._count(response)
            answer = _Answer(response["content"], keys[0])
            for key in keys:
                self._remember(key, answer)
            if self._hint is None or not self._acceptable:
                self._try_hint()
        finally:
            self._job = None

    def _count(self, response: dict[str, Any]) -> None:
        self.counts.prompt_tokens += int(response["timings/prompt_n"])
        self.counts.generated_tokens += int(response["timings/predicted_n"])

    # the result cache and the hint

    def _remember(self, key: str, answer: _Answer) -> None:
        if len(self._cache) > _MAX_CACHE_KEYS - 1:
            self._cache.popitem(last=False)
        self._cache[key] = answer
        self._cache.move_to_end(key)

    def _cached(self, key: str) -> _Answer | None:
        answer = self._cache.get(key)
        if answer is not None:
            self._cache.move_to_end(key)
        return answer

    def _on_move(self) -> None:
        self._moved = time.monotonic()
        self._hint = None
        self._try_hint()

    def _try_hint(self) -> None:
        """`s:fim_try_hint`: show what the cache has for here, or for some characters before."""
        if not self._insert:
            return
        local = self._local(self._cursor, [])
        found = self._cached(local.key()) or self._walk_back(local)
        if found is not None:
            self._render(found)
            if self._hint is not None:
                self._fim(self._cursor, self._hint)

    def _walk_back(self, local: _Local) -> _Answer | None:
        before, best = local.prefix + local.middle, None
        for typed in range(1, min(_WALK_BACK, len(before) - 1) + 1):
            answer = self._cached(_hash(before[:-typed], local.suffix))
            if answer is None or answer.content[:typed] != before[-typed:]:
                continue
            rest = answer.content[typed:]
            if rest and (best is None or len(rest) > len(best.content)):
                best = _Answer(rest, answer.run)
        return best

    def _render(self, answer: _Answer) -> None:
        """`s:fim_render`, up to the text that is displayed."""
        content = answer.content.split("\n")
        while content and not content[-1]:
            content.pop()
        content = content or [""]
        row, column = self._cursor
        lines = self._text.lines
        line = lines[row]
        if not line.strip():
            lead = min(len(content[0]) - len(content[0].lstrip()), len(line))
            line, content[0] = content[0][:lead], content[0][lead:]
        content = _without_repetition(content, line[:column], line[column:], lines, row)
        text = "\n".join(content)
        self._hint = [*content[:-1], content[-1] + line[column:]]
        self._acceptable = bool("\n".join(self._hint).strip())
        if text.strip():
            self.counts.used.add(answer.run)
            self._show(text)

    # the ring of extra chunks

    def _pick_near(self, *, no_mod: bool) -> None:
        row, half = self._cursor[0], _CHUNK_LINES // 2
        lines = self._text.lines[max(0, row - half) : row + half + 1]
        self._pick(lines, no_mod=no_mod, evict=True)

    def _pick_around(self, row: int) -> None:
        lines = self._text.lines
        self._pick(lines[max(0, row - _RING_SCOPE) : max(1, row - _N_PREFIX)])
        self._pick(lines[row + _N_SUFFIX : row + _N_SUFFIX + _CHUNK_LINES + 1])
        self._picked_row = row

    def _pick(self, lines: list[str], *, no_mod: bool = False, evict: bool = False) -> None:
        """`s:pick_chunk`."""
        if (no_mod and self._modified) or len(lines) < 3:
            return
        chunk = lines if len(lines) + 1 < _CHUNK_LINES else self._random_part(lines)
        if any(chunk == known["lines"] for known in (*self._ring, *self._queued)):
            return
        for known in (self._queued, self._ring):
            for index in range(len(known) - 1, -1, -1):
                if _similarity(known[index]["lines"], chunk) > 0.9:
                    if not evict:
                        return
                    del known[index]
        if len(self._queued) == _RING_QUEUED:
            del self._queued[0]
        text = "\n".join(chunk) + "\n"
        self._queued.append({"lines": chunk, "text": text, "filename": self._path})

    def _random_part(self, lines: list[str]) -> list[str]:
        half = _CHUNK_LINES // 2
        first = self._random.randint(0, max(0, len(lines) - half))
        return lines[first : min(first + half, len(lines)) + 1]

    def _evict_similar(self) -> None:
        """Chunks like the text around the cursor would make the model repeat it."""
        row, half = self._cursor[0], _CHUNK_LINES // 2
        here = self._random_part(self._text.lines[max(0, row - half) : row + half + 1])
        self._ring = [c for c in self._ring if _similarity(c["lines"], here) <= 0.5]

    async def _ring_update(self) -> None:
        while True:
            await asyncio.sleep(_RING_SECONDS)
            still = time.monotonic() - self._moved >= _STILL_SECONDS
            if not self._queued or (self._insert and not still):
                continue
            if len(self._ring) == _RING_CHUNKS:
                del self._ring[0]
            self._ring.append(self._queued.pop(0))
            task = asyncio.get_running_loop().create_task(self._warm())
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _warm(self) -> None:
        request = {
            **self._request(_Local("", "", "", 0, ""), 1),
            "n_predict": 0,
            "t_max_prompt_ms": 1,
            "temperature": 0.0,
            "samplers": [],
        }
        del request["top_k"], request["top_p"], request["n_indent"], request["stop"]
        response = (await self._http.post(self._prompting.path, json=request)).json()
        self._count(response)


def _without_repetition(
    content: list[str], before: str, after: str, lines: list[str], row: int
) -> list[str]:
    """The rules of `s:fim_render` against saying what stands below already."""
    count = len(content)
    if count > 1 and not content[0] and content[1:] == lines[row + 1 : row + count]:
        return [""]
    if content == [after]:
        return [""]
    below = row + 1
    while below < len(lines) - 1 and not lines[below].strip():
        below += 1
    if below >= len(lines) or before + content[0] != lines[below]:
        return content
    following = lines[below + 1 : below + count]
    if count == 1:
        return [""]
    if count == 2 and following and content[1] == following[0][: len(content[1])]:
        return [""]
    return [""] if count > 2 and content[1:] == following else content


def _shortened(prefix: str) -> list[str]:
    """The prefix without its first one, two and three lines."""
    shortened: list[str] = []
    for _ in range(3):
        _, _, prefix = prefix.partition("\n")
        if not prefix:
            break
        shortened.append(prefix)
    return shortened


def _hash(before: str, suffix: str) -> str:
    return hashlib.sha256(f"{before}\u00ce{suffix}".encode()).hexdigest()


def _similarity(one: Sequence[str], other: Sequence[str]) -> float:
    """`s:chunk_sim`."""
    first, second = (re.split(r"\W+", "\n".join(lines)) for lines in (one, other))
    if not first and not second:
        return 1.0
    known = set(first)
    return 2.0 * sum(word in known for word in second) / (len(first) + len(second))
