"""The words between an engine process and its clients: one JSON object a line.

Requests go to the child's stdin, replies come from its stdout, matched by `id`. A completion is
answered by any number of `{"id", "piece"}` lines and one `{"id", "result"}` or `{"id", "error"}`.
`{"cancel": id}` stops one. The end of stdin ends the child, whatever it is doing, so that no
engine outlives its parent. A shared engine speaks the same with each of its clients over a
socket, after a greeting (`place`). Knows no llama.cpp and no asyncio.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from neuralforge_adapters.stack import ResolvedStack
from neuralforge_server.engine.stopping import StopRules

StopReason = Literal["line", "end", "length", "deadline", "cancelled", "constraint"]
"""Why a generation ended: the stop rules found it complete, the model's end token, the token cap,
the time limit, a cancel, or no token that fits the healed text."""


@dataclass(frozen=True)
class LoadRequest:
    """Load a base; the first request of every engine."""

    base: str
    digest: str
    """SHA-256 of the base's file, which adapters made for it name."""
    context: int
    """Tokens of the KV cache; taken down to what the base was trained for."""
    threads: int
    gpu_layers: int = 0
    """Layers computed by a GPU, where llama.cpp was built for one; -1 for all."""
    batch: int = 256
    """Tokens evaluated by one call; a cancel is noticed within it, at the next graph node."""
    memory: str = ""
    """Folder of the fast memory's segments for this base; empty for none."""
    op: Literal["load"] = "load"


@dataclass(frozen=True)
class StackRequest:
    """Put a stack in force. Those before it stay loaded for a while, each with its own cache."""

    adapters: list[tuple[str, float]]
    """(path of a GGUF adapter, scale)."""
    digest: str
    """The stack's digest, which every completion made under it carries."""
    op: Literal["stack"] = "stack"


@dataclass(frozen=True)
class Snippet:
    """A piece of another file of the repository, shown to the base before the current one."""

    path: str
    """From the repository's root, with forward slashes."""
    text: str


@dataclass(frozen=True)
class Surroundings:
    """What the base is told besides the text around the cursor, in its own repository format."""

    repository: str = ""
    path: str = ""
    """Of the current file, as in `Snippet`."""
    snippets: tuple[Snippet, ...] = ()
    """Best first; as many are shown as the context has room for, the best nearest the cursor."""


@dataclass(frozen=True)
class CompleteRequest:
    """Go on at the cursor between `prefix` and `suffix` (already windowed, see `fim.Window`)."""

    prefix: str
    suffix: str
    around: Surroundings = Surroundings()
    max_tokens: int = 64
    rules: StopRules = field(default_factory=StopRules)
    """When a text is complete."""
    deadline_ms: float | None = None
    """Milliseconds from the start of evaluation; what was produced by then is the answer."""
    memory: float = 0.0
    """Scale of the fast memory mixed into the base's distribution; 0 leaves it out."""
    candidates: int = 1
    """Different texts wanted; the others come in `Completion.others`."""
    stack: str = ""
    """Digest of a stack put in force before; empty for the last one, of this client's."""
    background: bool = False
    """Nobody waits for it yet: it gives way to any request that is not in the background."""
    evaluation: bool = False
    """Empty cache, fixed batch splits, no deadline: the same prompt gives the same tokens."""
    op: Literal["complete"] = "complete"


@dataclass(frozen=True)
class WarmRequest:
    """Compute a prompt ahead, so that a completion there finds it cached. In the background."""

    prefix: str
    suffix: str
    around: Surroundings = Surroundings()
    stack: str = ""
    op: Literal["warm"] = "warm"


@dataclass(frozen=True)
class RememberRequest:
    """The text of an open document as it is now, for the fast memory; empty to forget it.

    Keys are the client's own; what is remembered for one client of a shared engine is found for
    all, since they are one user's, of one profile.
    """

    key: str
    text: str
    op: Literal["remember"] = "remember"


@dataclass(frozen=True)
class ScoreRequest:
    """Measure how likely the base and stack find `middle` between `prefix` and `suffix`."""

    prefix: str
    suffix: str
    middle: str
    around: Surroundings = Surroundings()
    memory: float = 0.0
    stack: str = ""
    """As in `CompleteRequest`."""
    op: Literal["score"] = "score"


@dataclass(frozen=True)
class Completion:
    """A finished generation. `text` starts at the cursor: healed text is taken off again."""

    text: str
    stop: StopReason
    stack: str
    """Digest of the stack that it was made under."""
    generated_tokens: int
    evaluated_tokens: int
    """Tokens that llama.cpp computed for this request, by its own counters."""
    cached_tokens: int
    """Prompt tokens found in the KV cache."""
    milliseconds: float
    mean_logprob: float | None
    """Nats per generated token; None where nothing was generated."""
    drafted_tokens: int = 0
    """Tokens proposed without the base and checked by it in one batch."""
    accepted_tokens: int = 0
    """Those of them that stood the check."""
    others: tuple[str, ...] = ()
    """More candidates, likelier ones first."""


@dataclass(frozen=True)
class Score:
    """Negative log likelihood of a middle, in nats, over so many tokens (healed ones included)."""

    nll: float
    tokens: int


@dataclass(frozen=True)
class EngineInfo:
    """What the engine found in the base."""

    name: str
    architecture: str
    parameters: int
    trained_context: int
    context: int
    vocabulary: int
    fim_order: str
    file_bytes: int


Request = (
    LoadRequest | StackRequest | CompleteRequest | ScoreRequest | WarmRequest | RememberRequest
)

_REQUESTS: dict[str, type[Request]] = {
    "load": LoadRequest,
    "stack": StackRequest,
    "complete": CompleteRequest,
    "score": ScoreRequest,
    "warm": WarmRequest,
    "remember": RememberRequest,
}


def stack_request(stack: ResolvedStack) -> StackRequest:
    """The request that puts `stack` in force; in one order, whatever that of `stack`."""
    ordered = sorted(stack.adapters, key=lambda a: (a.digest, a.scale))
    return StackRequest([(str(a.path.absolute()), a.scale) for a in ordered], stack.digest)


def encode_request(request_id: int, request: Request) -> bytes:
    """One line for the child's stdin."""
    return json.dumps({"id": request_id, **asdict(request)}).encode() + b"\n"


def encode_cancel(request_id: int) -> bytes:
    """The line that stops a request, or is ignored where it has ended."""
    return json.dumps({"cancel": request_id}).encode() + b"\n"


def decode_request(message: dict[str, Any]) -> tuple[int, Request]:
    """The request in a decoded line.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    fields = dict(message)
    request_id = int(fields.pop("id"))
    if (around := fields.get("around")) is not None:
        snippets = tuple(Snippet(**snippet) for snippet in around["snippets"])
        fields["around"] = Surroundings(around["repository"], around["path"], snippets)
    if (rules := fields.get("rules")) is not None:
        fields["rules"] = StopRules(**rules)
    return request_id, _REQUESTS[fields["op"]](**fields)


def completion_of(result: dict[str, Any]) -> Completion:
    """The completion in a decoded reply.

    Raises:
        TypeError, KeyError: it is none.
    """
    return Completion(**{**result, "others": tuple(result["others"])})
