"""Every setting, its default, its bounds and what it means, in one tree of frozen dataclasses.

Invariant: parsing never fails. A value that cannot be used is named in a problem, and its default
stands. The docs' table and what clients show are made from this tree. Knows no LSP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from neuralforge_adapters.allowance import HOURS_PATTERN, Limits

SECTION = "neuralforge"

Arm = Literal["none", "replay", "ewc", "both"]


def _setting(
    default: Any,
    description: str,
    low: float | None = None,
    high: float | None = None,
    *,
    form: tuple[str, str] | None = None,
) -> Any:
    """A field with what a reader of the docs wants to know.

    Args:
        form: what a text must match, as a regular expression and in words.
    """
    bounds = {"low": low, "high": high, "form": form}
    return field(default=default, metadata={"description": description, **bounds})


@dataclass(frozen=True)
class CompletionSettings:
    """What is suggested, and when."""

    enabled: bool = _setting(
        True, "Suggest anything at all; `false` leaves no engine and no base in memory."
    )
    languages: Mapping[str, bool] = field(
        default_factory=dict,
        metadata={
            "description": (
                "Languages, by their LSP ids, in which to suggest or not; `*` stands for those "
                "that are not named."
            ),
            "low": None,
            "high": None,
        },
    )
    max_lines: int = _setting(
        8, "Lines of one suggestion at most, where a block begins; elsewhere it is one.", 1, 20
    )
    max_tokens: int = _setting(96, "Tokens of one suggestion at most.", 1, 512)
    deadline_ms: int = _setting(
        1500,
        "Milliseconds after which a suggestion ends with what it has. A first line that is "
        "complete is given sooner, within what such lines usually take on this machine.",
        20,
        60_000,
    )
    candidates: int = _setting(3, "Suggestions to choose from when you ask for one.", 1, 8)
    prefetch: bool = _setting(
        True, "While a suggestion is on show, compute what would come after it."
    )
    popup: bool = _setting(
        False,
        "Also answer `textDocument/completion` where the client has inline completion. "
        "Read when the server starts.",
    )


@dataclass(frozen=True)
class EngineSettings:
    """What computes the suggestions. A change restarts the engine."""

    base: str = _setting("", "Path of a GGUF base; empty for that of `neuralforge bases use`.")
    endpoint: str = _setting(
        "",
        "Address of a llama-server or of an OpenAI-compatible server that computes instead of "
        "this machine; its key stands in the environment variable `NEURALFORGE_ENGINE_KEY`. "
        "`base` then names the file that it serves, where you have it too.",
    )
    remote_model: str = _setting(
        "", "Model or adapter that the endpoint is asked for; empty for its own."
    )
    context_tokens: int = _setting(1024, "Tokens of context that the base sees.", 256, 131_072)
    threads: int = _setting(0, "Threads to compute with; 0 for all physical cores but one.", 0, 256)
    gpu_layers: int = _setting(
        -1, "Layers for the GPU, where llama.cpp was built for one; -1 for all.", -1, 1000
    )
    batch: int = _setting(256, "Tokens of a prompt that are computed at once.", 16, 4096)
    share: bool = _setting(
        False,
        "Use one engine for all windows whose base and engine settings are the same: each further "
        "one then needs no cache of its own and, on a GPU, no base of its own. They wait for each "
        "other, and a crash reaches them all.",
    )
    idle_minutes: float = _setting(
        30.0,
        "The base leaves the memory after so many minutes without typing; 0: never.",
        0,
        10_000,
    )

    def restarts(self, other: EngineSettings) -> bool:
        """Whether the engine must be started anew to go over to `other`."""
        return replace(self, idle_minutes=other.idle_minutes) != other


@dataclass(frozen=True)
class ContextSettings:
    """What the base is shown besides the file itself."""

    enabled: bool = _setting(True, "Show the base fitting pieces of other files of the repository.")


@dataclass(frozen=True)
class MemorySettings:
    """The fast memory: what you wrote, mixed into what the base suggests."""

    enabled: bool = _setting(True, "Remember what you write in open files as you write it.")
    scale: float = _setting(1.0, "How strongly it is mixed in; 0 leaves it out.", 0, 4)


@dataclass(frozen=True)
class IndexSettings:
    """The index of the workspace's files, for context and fast memory."""

    enabled: bool = _setting(
        True, "Index the workspace folders, in a process of its own at idle priority."
    )


@dataclass(frozen=True)
class LearningSettings:
    """When the personal adapter is trained on its own."""

    enabled: bool = _setting(True, "Train in the background when there is something to learn.")
    author: str = _setting(
        "",
        "Whose commits to learn from (name or e-mail); empty for the git identity. Where that "
        "wrote none, nothing is learnt.",
    )
    quiet_seconds: float = _setting(
        5.0, "A running training computes again after so many seconds without typing.", 0, 3600
    )
    idle_seconds: float = _setting(
        120.0, "A training starts after so many seconds without typing.", 0, 86_400
    )
    min_new_samples: int = _setting(
        50, "New samples of editing sessions that are worth a training.", 1, 1_000_000
    )
    min_new_commits: int = _setting(
        1, "New commits in a repository that are worth a training.", 1, 100_000
    )
    on_battery: bool = _setting(False, "Also train while the machine runs on its battery.")
    hours: str = _setting(
        "",
        "When trainings may run, such as `22:00-06:00` (local time); empty for always.",
        form=(rf"({HOURS_PATTERN})?", "a span such as '22:00-06:00'"),
    )
    minutes_per_day: float = _setting(
        0.0, "Minutes of training a day at most, pauses not counted; 0: no limit.", 0, 1440
    )
    cpu_minutes_per_day: float = _setting(
        0.0,
        "Minutes of processor time a day at most, over all cores: at 10 W a core, six of them are "
        "one watt-hour. 0: no limit.",
        0,
        100_000,
    )
    threads: int = _setting(
        0, "Threads that a training computes with; 0 for all physical cores but one.", 0, 256
    )
    nice: int = _setting(
        19, "How far a training gives way to other programs: from 0, not at all, to 19.", 0, 19
    )
    arm: Arm = _setting("both", "What guards against forgetting.")  # noqa: RUF009 - a field
    replay_capacity: int = _setting(
        0,
        "Samples that the replay buffer holds, spread over what you wrote; 0: as many as were set "
        "last, 1,000 at first.",
        0,
        100_000,
    )
    replay_share: float = _setting(
        0.2, "Of your own code in a training, how much is replayed.", 0, 0.9
    )
    distillation: float = _setting(
        0.0, "Weight of what the version before said of replayed samples; 0: none.", 0, 10
    )
    fast_share: float = _setting(
        1.0,
        "How far a new version goes from the one before to what was trained; 1: all the way.",
        0.01,
        1,
    )
    preferences: bool = _setting(
        False, "Also learn from suggestions that you dismissed or changed after accepting."
    )
    min_preferences: int = _setting(
        1000, "New suggestions of that kind that are worth learning from.", 1, 1_000_000
    )
    progressive: bool = _setting(
        False,
        "Train an adapter for each repository, `personal-<repository>`, and leave the others as "
        "they are; the stack serves them together.",
    )

    @property
    def memory(self) -> dict[str, Any]:
        """How what was learnt is kept, by the names of the trainer's settings."""
        return {
            "replay_capacity": self.replay_capacity,
            "replay_share": self.replay_share,
            "distillation": self.distillation,
            "fast_share": self.fast_share,
            "preferences": self.preferences,
            "least_preferences": self.min_preferences,
            "progressive": self.progressive,
        }

    @property
    def limits(self) -> Limits:
        """What holds for trainings that nobody asked for."""
        return Limits(self.hours, self.on_battery, self.minutes_per_day, self.cpu_minutes_per_day)


@dataclass(frozen=True)
class LogSettings:
    """What is remembered."""

    enabled: bool = _setting(True, "Keep a session log.")
    exclude: tuple[str, ...] = _setting(
        (),
        "Files that are never read for the log or for learning, as gitignore patterns. Commands "
        "in a terminal do not know them: give those `--pattern '!PATTERN'`.",
    )
    max_mb: float = _setting(64.0, "Megabytes of the log at most; the oldest go first.", 1, 10_000)
    max_days: float = _setting(180.0, "Days after which a row is deleted.", 1, 36_500)


@dataclass(frozen=True)
class Settings:
    """The whole tree."""

    completion: CompletionSettings = field(default_factory=CompletionSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    log: LogSettings = field(default_factory=LogSettings)
    context: ContextSettings = field(default_factory=ContextSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    stacks: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict,
        metadata={
            "description": (
                "Which adapters serve which files instead of the stack in force: a language id or "
                "a pattern of absolute paths (`*.sql`, `/home/me/work/**`) to a list of "
                "`name`, `name@v0003` or a path, each with `*0.5` for a scale. The first key that "
                "fits a file counts."
            ),
            "low": None,
            "high": None,
        },
    )
    profile: str = _setting(
        "", "Profile whose log and adapters are used; empty for the default. Read at the start."
    )


def parse(raw: Any) -> tuple[Settings, list[str]]:
    """Settings from what a client sent, and a sentence for everything in it that is wrong."""
    problems: list[str] = []
    if isinstance(raw, Mapping) and isinstance(raw.get(SECTION), Mapping):
        raw = raw[SECTION]
    return _parse_branch(Settings, raw, SECTION, problems), problems


def describe() -> list[dict[str, Any]]:
    """One row for each setting: name, type, default, bounds or choices, description."""
    return list(_describe_branch(Settings, SECTION))


def docs_table() -> str:
    """The content of `docs/settings.md`."""
    rows = "\n".join(
        f"| `{r['name']}` | {r['type']} | `{json.dumps(r['default'])}` | {r['description']} |"
        for r in describe()
    )
    return (
        "# Settings\n\n"
        "Made from `settings.py` by `make docs`; a test fails when it is stale.\n\n"
        f"Clients give them as the section `{SECTION}` of `workspace/configuration`, by "
        "`workspace/didChangeConfiguration`, or as `initializationOptions`. A value that cannot "
        "be used is named to you, and the default stands.\n\n"
        f"| setting | type | default | meaning |\n|---|---|---|---|\n{rows}\n"
    )


def _parse_branch(kind: type[Any], raw: Any, path: str, problems: list[str]) -> Any:
    if raw is None:
        return kind()
    if not isinstance(raw, Mapping):
        problems.append(f"{path} must be an object, not {_shown(raw)}; its defaults are used")
        return kind()
    types, known = get_type_hints(kind), {f.name: f for f in fields(kind)}
    problems += [
        f"{path}.{key} is no setting; there is: {', '.join(known)}"
        for key in raw
        if key not in known
    ]
    values: dict[str, Any] = {}
    for name in known.keys() & raw.keys():
        if is_dataclass(types[name]):
            values[name] = _parse_branch(types[name], raw[name], f"{path}.{name}", problems)
        elif raw[name] is not None:
            _parse_leaf(known[name], types[name], raw[name], f"{path}.{name}", problems, values)
    return kind(**values)


def _parse_leaf(
    known: Any, kind: Any, raw: Any, path: str, problems: list[str], values: dict[str, Any]
) -> None:
    low, high = known.metadata["low"], known.metadata["high"]
    form = known.metadata.get("form")
    try:
        value = _convert(kind, raw)
        if low is not None and not low <= value <= high:
            raise ValueError
        if form is not None and not re.fullmatch(form[0], value):
            raise ValueError
    except (ValueError, OverflowError):
        expected = _kind_name(kind, low, high) if form is None else form[1]
        problems.append(
            f"{path} is {_shown(raw)}, but must be {expected}; the default "
            f"{_default(known)!r} is used"
        )
    else:
        values[known.name] = value


def _convert(kind: Any, raw: Any) -> Any:
    """`raw` as `kind`.

    Raises:
        ValueError: it is something else.
    """
    if get_origin(kind) is Literal:
        if isinstance(raw, str) and raw in get_args(kind):
            return raw
    elif get_origin(kind) is tuple:
        if isinstance(raw, list | tuple) and all(isinstance(item, str) for item in raw):
            return tuple(raw)
    elif get_origin(kind) is Mapping:
        if isinstance(raw, Mapping):
            return {str(key): _convert(get_args(kind)[1], value) for key, value in raw.items()}
    elif kind is float and isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    elif kind is int and isinstance(raw, float) and raw.is_integer():
        return int(raw)
    elif type(raw) is kind:
        return raw
    raise ValueError


def _kind_name(kind: Any, low: float | None, high: float | None) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    if get_origin(kind) is tuple:
        return "list of strings"
    if get_origin(kind) is Mapping:
        return f"object of {'true or false' if get_args(kind)[1] is bool else 'lists of strings'}"
    name = {bool: "true or false", int: "integer", float: "number", str: "string"}[kind]
    return name if low is None else f"{name} from {low:g} to {high:g}"


def _default(known: Any) -> Any:
    return known.default if known.default is not MISSING else known.default_factory()


def _shown(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= 60 else text[:57] + "..."


def _describe_branch(kind: type[Any], path: str) -> list[dict[str, Any]]:
    types, rows = get_type_hints(kind), []
    for known in fields(kind):
        name, hint = f"{path}.{known.name}", types[known.name]
        if is_dataclass(hint):
            rows += _describe_branch(hint, name)  # type: ignore[arg-type]
            continue
        low, high = known.metadata["low"], known.metadata["high"]
        default = _default(known)
        rows.append(
            {
                "name": name,
                "type": _kind_name(hint, low, high),
                "default": list(default) if isinstance(default, tuple) else default,
                "description": known.metadata["description"],
            }
        )
    return rows
