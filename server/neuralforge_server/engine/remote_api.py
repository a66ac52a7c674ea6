"""What endpoints understand: llama-server's own requests, and the OpenAI-compatible ones.

Invariant: pure translation. A dialect turns a completion request into a body and a streamed event
into text and counts; it opens no connection and keeps no state. Sources: llama.cpp's
tools/server/README.md (`/infill`, `/lora-adapters`, `/props`), vLLM's OpenAI-compatible server
(`/v1/completions`, `/v1/models`, an adapter is a model name).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Protocol, TypeGuard

from neuralforge_adapters.errors import AdapterError
from neuralforge_adapters.fim import heal
from neuralforge_adapters.fim_families import FAMILIES, FimFamily
from neuralforge_adapters.stack import ResolvedAdapter, ResolvedStack, adapter_name, is_path
from neuralforge_server.engine.protocol import CompleteRequest, StopReason, Surroundings
from neuralforge_server.errors import EngineError

Json = Mapping[str, Any]

_FAMILY_OF = {
    "qwen": "Qwen, CodeGemma",
    "codegemma": "Qwen, CodeGemma",
    "starcoder": "StarCoder, Granite Code",
    "granite": "StarCoder, Granite Code",
    "deepseek": "DeepSeek",
}
"""Words in a model's name, and the family whose FIM tokens it was trained with."""


class EndpointError(EngineError):
    """An endpoint did not answer, refused, or said something that is no answer."""


@dataclass(frozen=True)
class Offer:
    """What an endpoint serves."""

    model: str
    context: int
    """Tokens; 0 where it does not say."""
    adapters: Mapping[str, Any] = field(default_factory=dict)
    """Adapters by name, with what a request names them by."""


@dataclass(frozen=True)
class Ask:
    """One request as it goes over the wire."""

    path: str
    body: dict[str, Any]
    healed: str = ""
    """Text that the answer says again before it goes on from the cursor."""


@dataclass(frozen=True)
class Event:
    """One piece of a streamed answer."""

    text: str = ""
    stop: StopReason | None = None
    evaluated: int | None = None
    """Tokens computed for the request so far, where the endpoint says."""
    cached: int | None = None


class Dialect(Protocol):
    """How to talk to one kind of endpoint."""

    probe: str
    """What is fetched to find out what the endpoint serves."""
    adapters_path: str
    """What lists its adapters; empty where `probe` does."""

    def offer(self, probed: Any, adapters: Any, model: str) -> Offer:
        """What the endpoint serves, from its answers; `model` is the one asked for, or empty.

        Raises:
            EndpointError: it is no endpoint of this kind, or has no such model.
        """

    def choose(self, stack: ResolvedStack, offer: Offer) -> dict[str, Any]:
        """The fields of a request that put `stack` in force.

        Raises:
            AdapterError: the endpoint does not serve it.
        """

    def ask(self, request: CompleteRequest, offer: Offer, chosen: Json) -> Ask:
        """The request on the wire."""

    def event(self, data: Json) -> Event:
        """One event of the answer.

        Raises:
            EndpointError: it reports a failure, or is none.
        """


class LlamaServer:
    """llama-server: lays the prompt out by the GGUF's own tokens, and heals by a grammar."""

    probe = "/props"
    adapters_path = "/lora-adapters"

    def offer(self, probed: Any, adapters: Any, model: str) -> Offer:
        """From `/props` and `/lora-adapters`, whose adapters go by their files' names."""
        settings = probed.get("default_generation_settings") if _is_map(probed) else None
        if not _is_map(settings):
            raise EndpointError("it is no llama-server")
        name = str(probed.get("model_alias") or PurePath(str(probed.get("model_path", ""))).stem)
        listed = adapters if isinstance(adapters, list) else []
        known = {_stem(str(a["path"])): a["id"] for a in listed if _is_map(a) and "path" in a}
        return Offer(name or "llama-server", _number(settings.get("n_ctx")), known)

    def choose(self, stack: ResolvedStack, offer: Offer) -> dict[str, Any]:
        """Every adapter's scale, since those left out keep what they were started with."""
        scales = dict.fromkeys(offer.adapters.values(), 0.0)
        for adapter in stack.adapters:
            scales[_find(adapter, offer)] = adapter.scale
        return {"lora": [{"id": n, "scale": scale} for n, scale in scales.items()]}

    def ask(self, request: CompleteRequest, offer: Offer, chosen: Json) -> Ask:
        """`/infill`, which lays the prompt out prefix first, whatever order the base knows best."""
        kept, healed = heal(request.prefix)
        above, newline, here = kept.rpartition("\n")
        around = request.around
        body: dict[str, Any] = {
            "input_prefix": above + newline,
            "prompt": here,  # goes to the prefix's end, and is never cut
            "input_suffix": request.suffix,
            "input_extra": [{"filename": s.path, "text": s.text} for s in around.snippets[::-1]],
            "n_predict": request.max_tokens + (1 if healed else 0),
            "temperature": 0.0,
            "samplers": ["top_k"],
            "top_k": 1,
            "cache_prompt": True,
            "timings_per_token": True,
            "stream": True,
            **chosen,
        }
        if healed:
            body["grammar"] = f"root ::= {_quoted(healed)} [^\\x00]*"
        return Ask("/infill", body, healed)

    def event(self, data: Json) -> Event:
        """`content`, and the timings that come with every token."""
        _refuse_errors(data)
        if "content" not in data:
            raise EndpointError("it sends events without text")
        timings = data.get("timings")
        evaluated = cached = None
        if _is_map(timings):
            evaluated = _number(timings.get("prompt_n")) + _number(timings.get("predicted_n"))
            cached = _number(timings.get("cache_n"))
        stop: StopReason | None = None
        if data.get("stop"):
            stop = "length" if data.get("stop_type") == "limit" else "end"
        return Event(str(data["content"]), stop, evaluated, cached)


class OpenAi:
    """`/v1/completions`: the prompt is laid out by us where the model's family is known."""

    probe = "/v1/models"
    adapters_path = ""

    def offer(self, probed: Any, adapters: Any, model: str) -> Offer:
        """From `/v1/models`: adapters are models, too."""
        listed = probed.get("data") if _is_map(probed) else None
        models = [m for m in listed or [] if _is_map(m) and isinstance(m.get("id"), str)]
        if not models:
            raise EndpointError("it lists no models")
        roots = [m for m in models if not m.get("parent")] or models
        found = next((m for m in models if m["id"] == model), None if model else roots[0])
        if found is None:
            names = ", ".join(m["id"] for m in models[:10])
            raise EndpointError(f"it serves no model {model!r}; it serves: {names}")
        adapters = {m["id"]: m["id"] for m in models if m["id"] != found["id"]}
        return Offer(found["id"], _number(found.get("max_model_len")), adapters)

    def choose(self, stack: ResolvedStack, offer: Offer) -> dict[str, Any]:
        """The adapter as the model."""
        if not stack.adapters:
            return {"model": offer.model}
        if len(stack.adapters) > 1 or stack.adapters[0].scale != 1.0:
            raise AdapterError(
                "an OpenAI-compatible endpoint serves one adapter at scale 1; change the stack"
            )
        return {"model": _find(stack.adapters[0], offer)}

    def ask(self, request: CompleteRequest, offer: Offer, chosen: Json) -> Ask:
        """`/v1/completions`, with `suffix` where the model's FIM tokens are not known."""
        body: dict[str, Any] = {
            "max_tokens": request.max_tokens,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **chosen,
        }
        if (family := family_of(offer.model)) is None:
            return Ask(
                "/v1/completions", {**body, "prompt": request.prefix, "suffix": request.suffix}
            )
        front = _front(request.around) if family is FAMILIES[0] else ""
        text = f"{family.prefix}{request.prefix}{family.suffix}{request.suffix}{family.middle}"
        return Ask("/v1/completions", {**body, "prompt": front + text})

    def event(self, data: Json) -> Event:
        """`choices[0].text`, and the usage that comes last."""
        _refuse_errors(data)
        choices, usage = data.get("choices"), data.get("usage")
        evaluated = cached = None
        if _is_map(usage):
            details = usage.get("prompt_tokens_details")
            cached = _number(details.get("cached_tokens")) if _is_map(details) else 0
            total = _number(usage.get("prompt_tokens")) + _number(usage.get("completion_tokens"))
            evaluated = total - cached
        if not isinstance(choices, list):
            raise EndpointError("it sends events without choices")
        if not choices:
            return Event("", None, evaluated, cached)
        text, reason = choices[0].get("text"), choices[0].get("finish_reason")
        stop: StopReason | None = None
        if reason:
            stop = "length" if reason == "length" else "end"
        return Event(text if isinstance(text, str) else "", stop, evaluated, cached)


DIALECTS: Sequence[Dialect] = (LlamaServer(), OpenAi())
"""In the order in which they are tried."""


def family_of(model: str) -> FimFamily | None:
    """The FIM family of a model by its name; None where the name says nothing."""
    name = next((f for word, f in _FAMILY_OF.items() if word in model.lower()), None)
    return next((family for family in FAMILIES if family.name == name), None)


def _front(around: Surroundings) -> str:
    """Repository and other files in Qwen2.5-Coder's repository format, the best last."""
    head = f"<|repo_name|>{around.repository}\n" if around.repository else ""
    files = [f"<|file_sep|>{s.path}\n{s.text.rstrip()}\n" for s in around.snippets[::-1]]
    own = f"<|file_sep|>{around.path}\n" if around.path else ""
    return head + "".join(files) + own


def _find(adapter: ResolvedAdapter, offer: Offer) -> Any:
    """What the endpoint calls an adapter: by version, by name, or by its file's name.

    Raises:
        AdapterError: it serves none of these.
    """
    reference = adapter.reference
    names = [_stem(reference)] if is_path(reference) else [reference, adapter_name(reference)]
    names += [name.replace("@", "-") for name in names if "@" in name]
    for name in names:
        if name in offer.adapters:
            return offer.adapters[name]
    served = ", ".join(sorted(offer.adapters)) or "none"
    raise AdapterError(
        f"the endpoint serves no adapter {names[0]!r}; it serves: {served}. "
        "Give it the adapter under that name, or take it out of the stack."
    )


def _refuse_errors(data: Json) -> None:
    error = data.get("error")
    if error is not None:
        text = error.get("message") if _is_map(error) else error
        raise EndpointError(f"it reports: {text}")


def _quoted(text: str) -> str:
    """`text` as a literal of llama.cpp's grammars."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def _is_map(value: Any) -> TypeGuard[Json]:
    return isinstance(value, Mapping)


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _stem(path: str) -> str:
    return PurePath(path.replace("\\", "/")).stem
