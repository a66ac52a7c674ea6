"""Endpoints: what is asked of them, and what becomes of typing when they fail.

Failures come from a small socket server that does what it is told (tests/endpoint.py). What works
is tested against a real llama-server, which `python tests/llama_server.py` builds; where there is
none, those tests say so and skip.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from endpoint import (
    Answer,
    Endpoint,
    Exchange,
    broken_events,
    endless_line,
    ends_in_the_middle,
    hang,
    healthy,
    nonsense,
    reset,
    reset_while_answering,
    running,
)  # fmt: skip
from gguf_maker import make_adapter
from llama_server import LlamaServer, cached_llama_server
from neuralforge_adapters.base import Base, embedded_base
from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.stack import ResolvedAdapter, ResolvedStack
from neuralforge_server.engine import remote
from neuralforge_server.engine.protocol import CompleteRequest, Snippet, Surroundings
from neuralforge_server.engine.remote import KEY_VARIABLE, RemoteEngine, remote_options
from neuralforge_server.engine.remote_api import LlamaServer as LlamaDialect
from neuralforge_server.engine.remote_api import Offer, OpenAi
from neuralforge_server.engine.stopping import StopRules
from neuralforge_server.errors import EngineError
from neuralforge_server.notice import Notice

KEY = "sk-very-secret"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with running() as served:
        yield served


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PROBE_SECONDS", 0.3)
    monkeypatch.setattr(remote, "_FIRST_PAUSE", 0.02)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


class Served:
    """A remote engine with what it told."""

    def __init__(self, url: str, model: str = "") -> None:
        self.notices: list[Notice] = []
        self.ready = asyncio.Event()
        self.engine = RemoteEngine(remote_options(url, model, None, 1024), self.notices.append)
        self.engine.on_ready = self.ready.set

    @property
    def messages(self) -> list[str]:
        return [notice.message for notice in self.notices]


@asynccontextmanager
async def connected(url: str, model: str = "") -> AsyncIterator[Served]:
    served = Served(url, model)
    try:
        await served.engine.start()
        yield served
    finally:
        await served.engine.stop()


def request(prefix: str = "pri", suffix: str = "", **more: Any) -> CompleteRequest:
    return CompleteRequest(prefix, suffix, **{"deadline_ms": 2000.0, **more})


async def test_a_completion_goes_on_from_the_cursor_with_the_endpoints_own_counts(
    endpoint: Endpoint,
) -> None:
    async with connected(endpoint.url) as served:
        result = await served.engine.generate(request()).result()
    assert (result.text, result.stop) == ("nt(1)", "end")
    assert (result.evaluated_tokens, result.cached_tokens) == (9, 30)
    body = endpoint.received[-1].body
    assert body["grammar"].startswith('root ::= "pri"')
    assert body["input_prefix"] + body["prompt"] == ""


@pytest.mark.parametrize("failure", [hang, reset, nonsense])
async def test_an_endpoint_that_fails_at_the_start_is_named_once_and_tried_again(
    endpoint: Endpoint, failure: Answer
) -> None:
    endpoint.answer = failure
    async with connected(endpoint.url) as served:
        assert served.engine.state == "restarting"
        with pytest.raises(EngineError, match="restarting"):
            await served.engine.generate(request()).result()
        endpoint.answer = healthy
        await asyncio.wait_for(served.ready.wait(), 10)
        assert (await served.engine.generate(request()).result()).text == "nt(1)"
    (message,) = served.messages
    assert endpoint.url in message and "tried again" in message


@pytest.mark.parametrize(
    "failure", [reset, nonsense, broken_events, endless_line, ends_in_the_middle,
                reset_while_answering]
)  # fmt: skip
async def test_an_endpoint_that_fails_while_typing_is_named_once_and_tried_again(
    endpoint: Endpoint, failure: Answer
) -> None:
    async with connected(endpoint.url) as served:
        served.ready.clear()
        endpoint.answer = failure
        many = [served.engine.generate(request(p, deadline_ms=5000.0)) for p in ("p", "pr", "")]
        for generation in many:
            with pytest.raises(EngineError):
                await generation.result()
        assert served.engine.state == "restarting"
        endpoint.answer = healthy
        await asyncio.wait_for(served.ready.wait(), 10)
        assert (await served.engine.generate(request()).result()).text == "nt(1)"
    assert len(served.messages) == 1
    assert served.engine.restarts == 1


async def test_an_endpoint_that_hangs_while_typing_costs_no_more_than_deadlines(
    endpoint: Endpoint,
) -> None:
    async with connected(endpoint.url) as served:
        endpoint.answer = hang
        for _ in range(2):
            result = await served.engine.generate(request(deadline_ms=30.0)).result()
            assert (result.text, result.stop) == ("", "deadline")
        assert served.engine.state == "restarting"
    assert "said nothing within 0.03 s" in served.messages[0]


async def test_a_deadline_keeps_what_has_come(endpoint: Endpoint) -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.events({"content": "print", "stop": False})
        await hang(exchange)

    async with connected(endpoint.url) as served:
        endpoint.answer = slow
        result = await served.engine.generate(request("", deadline_ms=150.0)).result()
    assert (result.text, result.stop) == ("print", "deadline")
    assert served.messages == []


async def test_a_cancel_closes_the_stream(endpoint: Endpoint) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def stream(exchange: Exchange) -> None:
        await exchange.events({"content": "p", "stop": False})
        begun.set()
        await exchange.writer.wait_closed() if exchange.writer.is_closing() else None
        try:
            while True:
                exchange.writer.write(b"\n")
                await exchange.writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            closed.set()
            raise

    async with connected(endpoint.url) as served:
        endpoint.answer = stream
        generation = served.engine.generate(request(""))
        await asyncio.wait_for(begun.wait(), 5)
        generation.cancel()
        result = await asyncio.wait_for(generation.result(), 5)
        await asyncio.wait_for(closed.wait(), 5)
    assert result.stop == "cancelled"
    assert served.messages == []


async def test_a_cancel_before_the_request_is_sent_still_gives_a_result(
    endpoint: Endpoint,
) -> None:
    async with connected(endpoint.url) as served:
        generation = served.engine.generate(request())
        generation.cancel()
        result = await asyncio.wait_for(generation.result(), 5)
    assert (result.text, result.stop) == ("", "cancelled")


async def test_a_prefetch_gives_way_to_somebody_who_waits(endpoint: Endpoint) -> None:
    async with connected(endpoint.url) as served:
        endpoint.answer = hang
        ahead = served.engine.generate(request("ahead", background=True))
        await asyncio.sleep(0)
        endpoint.answer = healthy
        wanted = served.engine.generate(request())
        assert (await asyncio.wait_for(ahead.result(), 5)).stop == "cancelled"
        assert (await wanted.result()).text == "nt(1)"


async def test_stop_rules_end_the_stream_early(endpoint: Endpoint) -> None:
    async def babbles(exchange: Exchange) -> None:
        await exchange.events(*[{"content": "x = 1\n", "stop": False}] * 50)
        await hang(exchange)

    async with connected(endpoint.url) as served:
        endpoint.answer = babbles
        result = await served.engine.generate(request("", rules=StopRules(max_lines=1))).result()
    assert (result.text, result.stop) == ("x = 1", "line")


async def test_an_answer_that_disagrees_with_the_typed_word_is_no_text(
    endpoint: Endpoint,
) -> None:
    async def disagrees(exchange: Exchange) -> None:
        await exchange.events({"content": "return", "stop": True})

    async with connected(endpoint.url) as served:
        endpoint.answer = disagrees
        result = await served.engine.generate(request("pri")).result()
    assert (result.text, result.stop) == ("", "constraint")


@pytest.mark.parametrize("before", [0, 170, 200, 230])
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_key_comes_from_the_environment_and_stands_in_no_message(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, streamed: bool, before: int
) -> None:
    async def tells(exchange: Exchange) -> None:
        error = {"error": {"message": "x" * before + f" {KEY} is no good key"}}
        if streamed:
            await exchange.events(error)
        else:
            await exchange.send_json(error, "400 Bad Request")

    monkeypatch.setenv(KEY_VARIABLE, KEY)
    async with connected(endpoint.url) as served:
        endpoint.answer = tells
        with pytest.raises(EngineError) as caught:
            await served.engine.generate(request()).result()
    assert all(f"authorization: bearer {KEY}" in e.head.lower() for e in endpoint.received)
    (message,) = served.messages
    assert "sk-v" not in str(caught.value) + message
    assert len(message) < 500


async def test_a_refused_key_names_the_variable(endpoint: Endpoint) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.send_json({"error": "who are you?"}, "401 Unauthorized")

    endpoint.answer = refuses
    async with connected(endpoint.url) as served:
        pass
    assert KEY_VARIABLE in served.messages[0]


def test_an_address_with_a_key_in_it_is_refused_without_repeating_it() -> None:
    for address in (f"http://user:{KEY}@host:8080", f"http://host/v1?api_key={KEY}"):
        with pytest.raises(EngineError) as caught:
            remote_options(address, "", None, 1024)
        assert KEY not in str(caught.value) and KEY_VARIABLE in str(caught.value)
    with pytest.raises(EngineError, match="is no endpoint"):
        remote_options("gpu-box", "", None, 1024)


def test_two_endpoints_never_share_a_cache_key() -> None:
    one, other = (remote_options(f"http://{h}:1/v1/", "", None, 1024) for h in ("a", "b"))
    assert one.endpoint == "http://a:1"
    assert one.base.digest != other.base.digest


async def test_an_adapter_goes_by_its_name_on_the_endpoint(endpoint: Endpoint) -> None:
    async with connected(endpoint.url) as served:
        await served.engine.set_stack(stack_of("team@v0003", 0.5))
        await served.engine.generate(request()).result()
        assert endpoint.received[-1].body["lora"] == [{"id": 0, "scale": 0.5}]
        with pytest.raises(AdapterError, match=r"no adapter 'mine'; it serves: team"):
            await served.engine.set_stack(stack_of("mine"))
        assert served.engine.stack == stack_of("team@v0003", 0.5)
        await served.engine.set_stack(ResolvedStack())
        await served.engine.generate(request()).result()
        assert endpoint.received[-1].body["lora"] == [{"id": 0, "scale": 0.0}]


async def test_vllm_serves_an_adapter_as_a_model(endpoint: Endpoint) -> None:
    async def vllm(exchange: Exchange) -> None:
        if exchange.path == "/v1/models":
            root = {"id": "Qwen/Qwen2.5-Coder-7B", "parent": None, "max_model_len": 4096}
            await exchange.send_json({"data": [root, {"id": "team", "parent": root["id"]}]})
        elif exchange.path == "/v1/completions":
            usage = {"prompt_tokens": 40, "completion_tokens": 2}
            await exchange.events(
                {"choices": [{"text": "nt(1)", "finish_reason": None}]},
                {"choices": [{"text": "", "finish_reason": "stop"}]},
                {"choices": [], "usage": usage},
            )
        else:
            await exchange.send_json({"error": "not found"}, "404 Not Found")

    endpoint.answer = vllm
    async with connected(endpoint.url + "/v1") as served:
        assert served.engine.info is not None and served.engine.info.context == 4096
        await served.engine.set_stack(stack_of("team@v0001"))
        result = await served.engine.generate(request("pri", ")")).result()
        with pytest.raises(AdapterError, match="one adapter at scale 1"):
            await served.engine.set_stack(stack_of("team", 0.5))
    assert (result.text, result.stop, result.evaluated_tokens) == ("nt(1)", "end", 42)
    body = endpoint.received[-1].body
    assert body["model"] == "team"
    assert body["prompt"] == "<|fim_prefix|>pri<|fim_suffix|>)<|fim_middle|>"


def test_a_model_of_an_unknown_family_is_given_the_suffix_as_such() -> None:
    body = OpenAi().ask(request("a = ", "\nb"), Offer("mystery-3b", 0), {"model": "m"}).body
    assert (body["prompt"], body["suffix"]) == ("a = ", "\nb")


def test_other_files_are_shown_with_the_best_one_last() -> None:
    around = Surroundings("app", "c.py", (Snippet("best.py", "b"), Snippet("next.py", "n")))
    asked = LlamaDialect().ask(request(around=around), Offer("m", 0), {})
    assert [e["filename"] for e in asked.body["input_extra"]] == ["next.py", "best.py"]
    prompt = OpenAi().ask(request(around=around), Offer("qwen", 0), {}).body["prompt"]
    assert prompt.startswith(
        "<|repo_name|>app\n<|file_sep|>next.py\nn\n<|file_sep|>best.py\nb\n<|file_sep|>c.py\n"
    )


# a real llama-server


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = cached_llama_server()
    if not binary.exists():
        pytest.skip("there is no llama-server; `python tests/llama_server.py` builds one")
    adapter = make_adapter(tmp_path_factory.mktemp("far") / "team.gguf", strength=0.2)
    flags = ["--ctx-size", "1024", "--threads", "1", "--parallel", "1", "--lora", str(adapter)]
    with LlamaServer(binary, embedded_base(), [*flags, "--slots"]) as server:
        yield server.url


PREFIX = "import os\n\n\ndef parent(path):\n    return os.path.dirna"


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real" in request.fixturenames:
        monkeypatch.setattr(remote, "_PROBE_SECONDS", 20.0)


async def test_llama_server_completes_a_word_that_was_begun(real: str) -> None:
    async with connected(real) as served:
        generation = served.engine.generate(request(PREFIX, "\n", deadline_ms=20_000.0))
        result = await generation.result()
    assert served.messages == []
    assert result.text.startswith("me"), result
    assert "\n" not in result.text and result.stop == "line"
    assert 0 < result.evaluated_tokens < 100


async def test_llama_server_keeps_the_prompt_while_one_types(real: str) -> None:
    async with connected(real) as served:
        for end in ("", "m", "me"):
            long = request("x = 1\n" * 50 + PREFIX + end, "\n", deadline_ms=20_000.0)
            result = await served.engine.generate(long).result()
    assert result.cached_tokens > 5 * (result.evaluated_tokens - result.generated_tokens)


async def test_llama_server_serves_the_adapter_of_the_stack(real: str, base: Base) -> None:
    async with connected(real) as served:
        texts = []
        for stack in (ResolvedStack(), stack_of("team", 4.0), ResolvedStack()):
            await served.engine.set_stack(stack)
            asked = request(PREFIX, "\n", deadline_ms=20_000.0)
            texts.append((await served.engine.generate(asked).result()).text)
    assert texts[0] == texts[2] != texts[1]


async def test_llama_server_stops_computing_when_a_request_is_cancelled(real: str) -> None:
    import httpx2

    async with connected(real) as served, httpx2.AsyncClient(base_url=real) as http:
        begun = asyncio.Event()
        rules = StopRules(max_lines=20)
        asked = request("x = [\n", "", max_tokens=500, rules=rules, deadline_ms=60_000.0)
        generation = served.engine.generate(asked)
        generation.on_text(lambda _: begun.set())
        await asyncio.wait_for(begun.wait(), 20)
        generation.cancel()
        assert (await generation.result()).stop == "cancelled"
        async with asyncio.timeout(20):
            while any(slot["is_processing"] for slot in (await http.get("/slots")).json()):
                pass


def stack_of(name: str, scale: float = 1.0) -> ResolvedStack:
    return ResolvedStack((ResolvedAdapter(name, Path("unused"), scale, f"digest of {name}"),))
