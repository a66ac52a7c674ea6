"""An engine on another machine: llama-server, or anything OpenAI-compatible, such as vLLM.

Invariant: typing never waits for it. What cannot be had within a request's deadline is left; an
endpoint that hangs, breaks off or answers nonsense is named once, left alone for a pause that
doubles, and then tried again. Cancelling closes the stream, upon which such servers stop
computing. The key comes from the environment and stands in no message. The fast memory, several
candidates and warming belong to the local engine; here they are left out. Runs in one asyncio
loop. Knows no documents and no LSP.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from neuralforge_adapters.base import Base
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.generation import Generation
from neuralforge_server.engine.interface import EngineOptions, State
from neuralforge_server.engine.protocol import (
    CompleteRequest,
    Completion,
    EngineInfo,
    RememberRequest,
    StopReason,
    WarmRequest,
)
from neuralforge_server.engine.remote_api import DIALECTS, Dialect, EndpointError, Event, Offer
from neuralforge_server.engine.stopping import Stopper
from neuralforge_server.errors import EngineError
from neuralforge_server.notice import Notice

if TYPE_CHECKING:
    import httpx2

KEY_VARIABLE = "NEURALFORGE_ENGINE_KEY"
"""The environment variable that holds the endpoint's key."""

_PROBE_SECONDS = 5.0
_REQUEST_SECONDS = 30.0
"""Of a request without a deadline."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_SILENCES = 2
"""Deadlines in a row by which nothing at all had come, until the endpoint counts as hanging."""
_LONGEST_REASON = 240
"""Characters of a message that an endpoint may fill."""
_LARGEST_EVENT = 1 << 20
"""Bytes of one line of an answer."""


@dataclass(frozen=True)
class RemoteOptions(EngineOptions):
    """Which endpoint; `base` only names what it serves in cache keys and logs."""

    endpoint: str = ""
    model: str = ""
    """The model or adapter that it is asked for; empty for its own."""


def remote_options(endpoint: str, model: str, base: Base | None, context: int) -> RemoteOptions:
    """Options for `endpoint`; `base` is the file that it serves, where the user has it too.

    Raises:
        EngineError: the address cannot be used.
    """
    url = clean_url(endpoint)
    if base is None:
        digest = hashlib.sha256(f"{url}\n{model}".encode()).hexdigest()
        base = Base(Path(model or urlsplit(url).netloc), digest)
    return RemoteOptions(base, context, threads=0, endpoint=url, model=model)


def clean_url(endpoint: str) -> str:
    """The address without `/v1` at its end.

    Raises:
        EngineError: it is no HTTP address, or has a password in it.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EngineError(
            f"{endpoint!r} is no endpoint; give an address such as http://127.0.0.1:8080"
        )
    if parts.username or parts.password or parts.query:
        raise EngineError(
            f"the endpoint at {parts.hostname} is given with a key in its address; put it "
            f"into the environment variable {KEY_VARIABLE} and leave it out here"
        )
    return endpoint.rstrip("/").removesuffix("/v1").rstrip("/")


class RemoteEngine:
    """The engine of a language server where another machine computes."""

    def __init__(self, options: RemoteOptions, notify: Callable[[Notice], None]) -> None:
        self.options: EngineOptions = options
        self.state: State = "stopped"
        self.info: EngineInfo | None = None
        self.stack = ResolvedStack()
        self.restarts = 0
        """Outages of the endpoint."""
        self.on_ready: Callable[[], None] = lambda: None
        self._notify = notify
        self._key = os.environ.get(KEY_VARIABLE, "")
        self._http: httpx2.AsyncClient | None = None
        self._dialect: Dialect = DIALECTS[0]
        self._offer = Offer("", 0)
        self._served: dict[str, tuple[ResolvedStack, dict[str, Any]]] = {}
        """What puts a stack in force, by the stack's digest."""
        self._running: dict[Generation, asyncio.Task[None]] = {}
        self._recovery: asyncio.Task[None] | None = None
        self._failures = self._silences = 0

    @property
    def pid(self) -> int | None:
        """None: it is no process of this machine."""
        return None

    @property
    def _remote(self) -> RemoteOptions:
        assert isinstance(self.options, RemoteOptions)
        return self.options

    def prepare(self) -> None:
        """Nothing: there is no process to start."""

    async def start(self) -> EngineInfo:
        """Find out what the endpoint serves; where it does not answer, go on trying.

        Raises:
            EngineError: it answers, but serves no such model, or refuses the key.
        """
        self.state = "starting"
        self._http = self._http or _client(self._remote.endpoint, self._key)
        try:
            self.info = await self._probe()
        except EndpointError as error:
            self.info = self._describe()
            self._begin_outage(self._public(error))
        else:
            self._is_ready()
        return self.info

    async def set_stack(self, stack: ResolvedStack) -> None:
        """Put `stack` in force: the endpoint serves its adapters by name.

        Raises:
            AdapterError: it does not.
        """
        chosen = self._dialect.choose(stack, self._offer) if self.state == "ready" else {}
        self._served[stack.digest] = (stack, chosen)
        self.stack = stack

    async def serve_beside(self, stacks: Sequence[ResolvedStack]) -> None:
        """Have these stacks at hand besides the one in force.

        Raises:
            AdapterError: one of them is not served; those before it are at hand.
        """
        current = self._served.get(self.stack.digest)
        self._served = {} if current is None else {self.stack.digest: current}
        for stack in stacks:
            chosen = self._dialect.choose(stack, self._offer) if self.state == "ready" else {}
            self._served[stack.digest] = (stack, chosen)

    def tell(self, request: WarmRequest | RememberRequest) -> None:
        """Nothing: the endpoint has no fast memory, and others may be waiting for it."""

    def generate(self, request: CompleteRequest) -> Generation:
        """Start a completion; one that somebody waits for ends those that nobody does."""
        generation = Generation(request, lambda: self._cancel(generation))
        if self.state != "ready":
            generation.receive({"error": f"the endpoint is {self.state}"})
            return generation
        if not request.background:
            for running in list(self._running):
                if running.request.background:
                    running.cancel()
        answer = _Answer(generation, self.stack.digest)
        task = asyncio.get_running_loop().create_task(self._answer(generation, answer))
        self._running[generation] = task
        task.add_done_callback(lambda _: self._finish(generation, answer))
        return generation

    def _finish(self, generation: Generation, answer: _Answer) -> None:
        """Also of a task that was cancelled before it began."""
        del self._running[generation]
        answer.finish()

    def _cancel(self, generation: Generation) -> None:
        if generation in self._running:
            self._running[generation].cancel()

    async def stop(self) -> None:
        """Close all streams; `start` begins anew."""
        self.state = "stopped"
        tasks = [*self._running.values(), *([self._recovery] if self._recovery else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        http, self._http, self._recovery = self._http, None, None
        if http is not None:
            await http.aclose()

    # one completion

    async def _answer(self, generation: Generation, answer: _Answer) -> None:
        """Stream the answer into `generation`, whatever comes of it."""
        deadline = generation.request.deadline_ms
        seconds = _REQUEST_SECONDS if deadline is None else deadline / 1000
        try:
            async with asyncio.timeout(seconds):
                await self._stream(generation.request, answer)
            self._failures = self._silences = 0
        except TimeoutError:
            answer.stop = "deadline"
            self._heard(answer, seconds)
        except EndpointError as error:
            generation.receive({"error": self._public(error)})
            self._begin_outage(self._public(error))

    async def _stream(self, request: CompleteRequest, answer: _Answer) -> None:
        import httpx2

        assert self._http is not None
        _, chosen = self._served.get(request.stack or self.stack.digest, (None, None))
        if chosen is None:
            chosen = self._dialect.choose(ResolvedStack(), self._offer)
        ask = self._dialect.ask(request, self._offer, chosen)
        answer.wanted = ask.healed
        try:
            async with self._http.stream("POST", ask.path, json=ask.body) as response:
                if response.status_code != 200:
                    raise self._refusal(response.status_code, await _beginning(response))
                async for data in _events(response):
                    if answer.take(self._dialect.event(data)):
                        return
        except httpx2.HTTPError as error:
            raise EndpointError(f"it broke off ({type(error).__name__})") from error
        if answer.stop is None:
            raise EndpointError("its answer ended in the middle")

    def _heard(self, answer: _Answer, seconds: float) -> None:
        """Count the deadlines by which nothing came."""
        self._silences = 0 if answer.events else self._silences + 1
        if self._silences >= _SILENCES:
            self._silences = 0
            self._begin_outage(f"it said nothing within {seconds:g} s")

    def _refusal(self, status: int, body: str) -> EndpointError:
        if status in (401, 403):
            return EndpointError(
                f"it refuses the key (status {status}); set {KEY_VARIABLE} in the environment"
            )
        return EndpointError(f"it answers with status {status}: {body}")

    def _public(self, error: EndpointError) -> str:
        """What may be shown of words that an endpoint chose: no key, and not many."""
        text = str(error).replace(self._key, "…") if self._key else str(error)
        text = " ".join(text.split())
        return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"

    # outages

    def _begin_outage(self, reason: str) -> None:
        """Say once what happened, and try again after a pause."""
        if self.state not in ("starting", "ready"):
            return
        self.state = "restarting"
        self.restarts += 1
        self._notify(
            Notice(
                "warning",
                f"The endpoint {self._remote.endpoint} cannot be used: {reason}. "
                "It is tried again; suggestions come back when it answers.",
            )
        )
        self._recovery = asyncio.get_running_loop().create_task(self._recover())

    async def _recover(self) -> None:
        while self.state == "restarting":
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**self._failures)
            self._failures = min(self._failures + 1, 16)
            await asyncio.sleep(pause)
            try:
                self.info = await self._probe()
            except EndpointError:
                continue
            self._choose_again()
            self._is_ready()

    def _is_ready(self) -> None:
        self.state = "ready"
        self.on_ready()

    def _choose_again(self) -> None:
        """An endpoint that was away may serve other adapters now."""
        served, self._served = self._served, {}
        for digest, (stack, _) in served.items():
            try:
                self._served[digest] = (stack, self._dialect.choose(stack, self._offer))
            except AdapterError as error:
                self._notify(Notice("error", f"Served without its adapters: {error}"))

    async def _probe(self) -> EngineInfo:
        """Find the endpoint's dialect and offer.

        Raises:
            EndpointError: it did not answer as any known kind does.
        """
        reasons = []
        for dialect in DIALECTS:
            try:
                async with asyncio.timeout(_PROBE_SECONDS):
                    probed = await self._get(dialect.probe)
                    listed = await self._get(dialect.adapters_path) if dialect.adapters_path else []
                self._offer = dialect.offer(probed, listed, self._remote.model)
            except TimeoutError:
                raise EndpointError(f"it said nothing within {_PROBE_SECONDS:g} s") from None
            except EndpointError as error:
                reasons.append(str(error))
                continue
            self._dialect = dialect
            return self._describe()
        raise EndpointError(reasons[-1])

    async def _get(self, path: str) -> Any:
        """The JSON at `path`.

        Raises:
            EndpointError: there is none.
        """
        import httpx2

        assert self._http is not None
        try:
            async with self._http.stream("GET", path) as response:
                body = await _beginning(response)
        except httpx2.HTTPError as error:
            raise EndpointError(f"it cannot be reached ({type(error).__name__})") from error
        if response.status_code != 200:
            raise self._refusal(response.status_code, body)
        try:
            return json.loads(body)
        except ValueError as error:
            raise EndpointError(f"{path} is no JSON") from error

    def _describe(self) -> EngineInfo:
        context = self._offer.context
        return EngineInfo(
            name=self._offer.model or self._remote.model or self._remote.endpoint,
            architecture="remote",
            parameters=0,
            trained_context=context,
            context=context,
            vocabulary=0,
            fim_order="prefix-first",
            file_bytes=0,
        )


class _Answer:
    """One answer as it comes in: healed text off, stop rules applied, tokens counted."""

    def __init__(self, generation: Generation, stack: str) -> None:
        self.wanted = ""
        """Text that still has to be said again."""
        self.stop: StopReason | None = None
        self.events = 0
        self._generation = generation
        self._request = generation.request
        self._stack = generation.request.stack or stack
        self._stopper = Stopper(generation.request.rules)
        self._raw = ""
        self._evaluated: int | None = None
        self._cached = 0
        self._started = time.perf_counter()

    def take(self, event: Event) -> bool:
        """Add an event; whether the text is complete."""
        self.events += 1
        self._evaluated = event.evaluated if event.evaluated is not None else self._evaluated
        self._cached = event.cached if event.cached is not None else self._cached
        self.stop = self.stop or event.stop
        self._raw += event.text
        said = self._raw[: len(self.wanted)]
        if not self.wanted.startswith(said):
            self.stop = "constraint"
            return True
        return self._grow(self._raw[len(self.wanted) :])

    def finish(self) -> None:
        """Give the result, unless an error was given."""
        if self._generation.done:
            return
        generated = max(0, self.events - 1)
        completion = Completion(
            text=self._generation.text,
            stop=self.stop or "cancelled",
            stack=self._stack,
            generated_tokens=generated,
            evaluated_tokens=generated if self._evaluated is None else self._evaluated,
            cached_tokens=self._cached,
            milliseconds=(time.perf_counter() - self._started) * 1000,
            mean_logprob=None,
        )
        self._generation.receive({"result": asdict(completion)})

    def _grow(self, text: str) -> bool:
        end = self._stopper.end(text)
        new = text[:end][len(self._generation.text) :]
        if new:
            self._generation.receive({"piece": new})
        if end is not None:
            self.stop = "line"
        elif self.events > self._request.max_tokens + len(self.wanted) + 8:
            self.stop = "length"  # an endpoint that does not keep to what was asked
        return end is not None or self.stop == "length"


def _client(endpoint: str, key: str) -> httpx2.AsyncClient:
    """Connections to `endpoint`; deadlines are the requests' own."""
    import httpx2

    headers = {"Accept-Encoding": "identity"}  # nothing small that unfolds into gigabytes
    if key:
        headers["Authorization"] = f"Bearer {key}"
    loopback = urlsplit(endpoint).hostname in ("127.0.0.1", "::1", "localhost")
    return httpx2.AsyncClient(
        base_url=endpoint,
        headers=headers,
        timeout=httpx2.Timeout(None, connect=_PROBE_SECONDS),
        trust_env=not loopback,
    )


async def _events(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events.

    Raises:
        EndpointError: something else stands in it.
    """
    async for line in _lines(response):
        if not line.startswith(b"data:"):
            if line.lstrip().startswith((b"<", b"{")):
                raise EndpointError("it answers with something that is no stream of events")
            continue
        content = line[5:].strip()
        if content == b"[DONE]":
            return
        try:
            data = json.loads(content)
        except ValueError as error:
            raise EndpointError("it sends events that are no JSON") from error
        if not isinstance(data, dict):
            raise EndpointError("it sends events that are no objects")
        yield data


async def _lines(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Whole lines; one that does not end is refused.

    Raises:
        EndpointError: a line is too long.
    """
    held = b""
    async for chunk in response.aiter_bytes():
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(held) > _LARGEST_EVENT:
            raise EndpointError("it sends a line without an end")
    if held:
        yield held


async def _beginning(response: httpx2.Response) -> str:
    """The body, or as much of it as an answer may have."""
    held = b""
    async for chunk in response.aiter_bytes():
        held += chunk
        if len(held) > _LARGEST_EVENT:
            break
    return held[:_LARGEST_EVENT].decode("utf-8", "replace")
