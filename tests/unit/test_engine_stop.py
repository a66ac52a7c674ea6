"""Stopping the engine: cancels within a generation and within prompt evaluation, and no orphans.

Measured in the engine, by its own counters and processor time, on a base of the shape of
Qwen2.5-Coder-0.5B with random weights, where a prompt takes seconds.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from gguf_maker import make_base
from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.home import Home
from neuralforge_server.engine.interface import EngineOptions
from neuralforge_server.engine.protocol import CompleteRequest, WarmRequest
from neuralforge_server.engine.stop import StopFlag
from neuralforge_server.engine.stopping import StopRules
from neuralforge_server.engine.supervisor import EngineSupervisor

LONG = "".join(f"value_{i} = compute_{i * 7}(argument_{i * 3})\n" for i in range(100))


@pytest.fixture(scope="module")
def half_billion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(
        tmp_path_factory.mktemp("base") / "half-billion.gguf",
        layers=24, width=896, heads=14, kv_heads=2, hidden=4864, vocabulary=151_936,
    )  # fmt: skip


@pytest.fixture
async def slow(half_billion: Path, home: Home) -> AsyncIterator[EngineSupervisor]:
    supervisor = EngineSupervisor(
        EngineOptions(open_base(half_billion, home), 1024, 1), home, lambda notice: None
    )
    await supervisor.start()
    yield supervisor
    await supervisor.stop()


def cpu_seconds(supervisor: EngineSupervisor) -> float:
    times = psutil.Process(supervisor.pid).cpu_times()
    return times.user + times.system


async def assert_idle(supervisor: EngineSupervisor) -> None:
    """Over half a second of wall time the engine uses next to no processor time."""
    before, started = cpu_seconds(supervisor), time.perf_counter()
    while time.perf_counter() - started < 0.5:
        pass
    assert cpu_seconds(supervisor) - before <= 0.05


@pytest.mark.slow
async def test_cancel_reaches_prompt_evaluation_and_leaves_the_engine_idle(
    slow: EngineSupervisor,
) -> None:
    """The prompt takes many seconds; the answer to a cancel comes within a graph node's time."""
    generation = slow.generate(CompleteRequest(LONG, "", max_tokens=200, rules=StopRules(99)))
    before = cpu_seconds(slow)
    while cpu_seconds(slow) - before < 0.3:  # until it computes
        assert not generation.done
    started = time.perf_counter()
    generation.cancel()
    completion = await generation.result()
    assert completion.stop == "cancelled"
    assert completion.generated_tokens == 0, "it was still reading the prompt"
    assert time.perf_counter() - started < 1.0
    await assert_idle(slow)


@pytest.mark.slow
async def test_cancel_between_tokens_leaves_the_engine_idle_and_right(
    slow: EngineSupervisor,
) -> None:
    request = CompleteRequest("x = ", "", max_tokens=200, rules=StopRules(99))
    generation = slow.generate(request)
    grown: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    generation.on_text(lambda text: grown.done() or grown.set_result(text))
    await grown
    generation.cancel()
    completion = await generation.result()
    assert completion.stop == "cancelled" and completion.generated_tokens < 200
    await assert_idle(slow)
    again = await slow.generate(
        CompleteRequest("x = ", "", max_tokens=4, rules=StopRules(99))
    ).result()
    assert again.stop in ("length", "end")


@pytest.mark.slow
async def test_a_request_cancelled_while_it_waits_is_never_computed(slow: EngineSupervisor) -> None:
    first = slow.generate(CompleteRequest(LONG, "", max_tokens=1))
    waiting = slow.generate(CompleteRequest(LONG[:-60], "", max_tokens=200))
    waiting.cancel()
    first.cancel()
    assert (await waiting.result()).evaluated_tokens == 0
    assert (await first.result()).stop == "cancelled"


@pytest.mark.slow
async def test_a_burst_of_requests_each_stopped_by_the_next_key_gets_through_the_prompt(
    slow: EngineSupervisor,
) -> None:
    """No request lives long enough for the whole prompt, but each leaves a chunk of it."""
    text, known = LONG[:400], 0
    for key in range(6):
        generation = slow.generate(CompleteRequest(text + "x" * key, "", max_tokens=9))
        before = cpu_seconds(slow)
        while cpu_seconds(slow) - before < 0.06:
            assert not generation.done
        generation.cancel()
        stopped = await generation.result()
        assert stopped.stop == "cancelled" and stopped.generated_tokens == 0
        assert stopped.cached_tokens >= known, "what the one before had finished stands"
        assert stopped.evaluated_tokens >= 16
        known = stopped.cached_tokens + stopped.evaluated_tokens
    last = await slow.generate(CompleteRequest(text + "x" * 6, "", max_tokens=1)).result()
    assert last.cached_tokens >= known >= 96 and last.generated_tokens == 1


@pytest.mark.slow
async def test_background_work_stops_for_a_request_and_keeps_what_it_finished(
    half_billion: Path, home: Home
) -> None:
    """Measured in the engine: the prompt in the background takes seconds, the request does not."""
    options = EngineOptions(open_base(half_billion, home), 1024, 1, batch=32)
    supervisor = EngineSupervisor(options, home, lambda notice: None)
    await supervisor.start()
    background = supervisor.generate(CompleteRequest(LONG, "", max_tokens=9, background=True))
    waiting = supervisor.generate(CompleteRequest("y = ", "", max_tokens=1, background=True))
    before = cpu_seconds(supervisor)
    while cpu_seconds(supervisor) - before < 2.0:  # some batches of the prompt
        assert not background.done
    urgent = supervisor.generate(CompleteRequest("x = ", "", max_tokens=1))
    stopped, answer = await background.result(), await urgent.result()
    assert stopped.stop == "cancelled" and stopped.generated_tokens == 0
    assert answer.generated_tokens == 1
    assert not waiting.done, "which nobody waits for: it comes after the request"
    assert (await waiting.result()).generated_tokens == 1, (
        "and is not stopped, since it only waited"
    )
    again = supervisor.generate(CompleteRequest(LONG, "", max_tokens=1))
    while cpu_seconds(supervisor) - before < 4.0:
        assert not again.done
    again.cancel()
    assert (await again.result()).cached_tokens >= 32, "finished batches stand in the cache"
    await supervisor.stop()


@pytest.mark.slow
async def test_warming_gives_way_to_newer_warming_and_to_requests(
    half_billion: Path, home: Home
) -> None:
    options = EngineOptions(open_base(half_billion, home), 1024, 1, batch=32)
    supervisor = EngineSupervisor(options, home, lambda notice: None)
    await supervisor.start()
    before = cpu_seconds(supervisor)
    supervisor.tell(WarmRequest(LONG, ""))
    while cpu_seconds(supervisor) - before < 1.0:
        pass
    for text in ("a = ", "b = ", "c = "):
        supervisor.tell(WarmRequest(LONG[:-60] + text, ""))
    answer = await supervisor.generate(CompleteRequest("x = ", "", max_tokens=1)).result()
    assert answer.generated_tokens == 1
    assert cpu_seconds(supervisor) - before < 4.0, "no prompt of ten seconds was computed"
    await supervisor.stop()


def test_a_deadline_is_not_overtaken_by_a_later_cancel() -> None:
    flag = StopFlag()
    flag.begin(1, deadline_ms=0.0)
    while not flag.raised:
        time.sleep(0)
    assert flag.reason == "deadline"
    flag.end()
    flag.cancel(1)
    flag.begin(2, None)
    assert not flag.raised, "a cancel that comes too late stops nothing else"


def test_a_cancel_that_overtakes_its_request_counts() -> None:
    flag = StopFlag()
    flag.cancel(7)
    flag.begin(6, None)
    assert not flag.raised
    flag.end()
    flag.begin(7, None)
    assert flag.reason == "cancelled"


_PARENT = """
import sys, time
from pathlib import Path
from neuralforge_adapters.base import Base
from neuralforge_server.engine.client import EngineClient
client = EngineClient(Base(Path(sys.argv[1]), "0" * 64))
print(client.pid, flush=True)
time.sleep(600)
"""


def test_no_engine_outlives_a_killed_parent(base: Base) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(base.path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        engine = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([engine], timeout=10)
    assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE
