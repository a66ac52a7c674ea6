"""What `neuralforge bases show` says of a base: from its file, or of a preset from its description.

Invariant: nothing is fetched and no weight is read; what is estimated is called so. Knows no
terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuralforge_adapters.base_facts import read_facts
from neuralforge_adapters.base_memory import (
    Shape,
    least_training_bytes,
    serving_bytes,
    training_bytes,
)
from neuralforge_adapters.bases import BaseList, is_base_path, locate
from neuralforge_adapters.convert import CONVERTIBLE
from neuralforge_adapters.home import Home
from neuralforge_adapters.presets import Preset, presets, refuse_encoder_decoder
from neuralforge_server.training_check import obstacle, shape_obstacle

_DOCS_CONTEXT = 1024


@dataclass(frozen=True)
class Report:
    """One base."""

    name: str
    path: Path | None
    """None for a preset that has not been pulled."""
    architecture: str
    licence: str
    tokenizer: str
    context: int
    served_context: int
    """Tokens of context that the memory is computed for: no more than the base has."""
    fim: str
    order: str
    shape: Shape
    serving_bytes: int
    training_bytes: int
    unservable: str
    untrainable: str
    """Why it cannot be served, or trained here; empty where it can."""


def report_on(text: str, context: int, home: Home) -> Report:
    """The report on the base that `text` names, served with `context` tokens.

    Raises:
        BaseFileError: there is no such base, or its file is damaged.
    """
    refuse_encoder_decoder("" if is_base_path(text) else text)
    preset = presets().get(text)
    if preset is not None and BaseList(home).find(text) is None:
        return _of_preset(preset, context)
    path = locate(text, home)
    facts = read_facts(path)
    served = min(context, facts.context or context)
    return Report(
        name=facts.name,
        path=path,
        architecture=facts.architecture,
        licence=facts.licence or (preset.licence if preset is not None else ""),
        tokenizer=facts.tokenizer,
        context=facts.context,
        served_context=served,
        fim=facts.fim,
        order=facts.order,
        shape=facts.shape,
        serving_bytes=serving_bytes(facts.shape, served),
        training_bytes=training_bytes(facts.shape),
        unservable=facts.unservable,
        untrainable="it cannot be served" if facts.unservable else obstacle(path, home),
    )


def _of_preset(preset: Preset, context: int) -> Report:
    served = min(context, preset.context)
    return Report(
        name=preset.name,
        path=None,
        architecture=preset.architecture,
        licence=preset.licence,
        tokenizer="",
        context=preset.context,
        served_context=served,
        fim=preset.fim,
        order="prefix-first",
        shape=preset.shape,
        serving_bytes=serving_bytes(preset.shape, served),
        training_bytes=training_bytes(preset.shape),
        unservable="",
        untrainable=shape_obstacle(preset.architecture, preset.shape),
    )


def lines(report: Report) -> list[tuple[str, str]]:
    """The report as (what, value) for a terminal; what the file says stays on its line."""
    return [(what, _printable(value)) for what, value in _lines(report)]


def _printable(text: str) -> str:
    """`text` without what could move the cursor or look like a line of ours."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def _lines(report: Report) -> list[tuple[str, str]]:
    shape = report.shape
    fim = f"{report.order}, tokens of {report.fim}"
    return [
        ("base", f"{report.name} ({report.path or 'not pulled yet'})"),
        ("shape", f"{report.architecture}, {shape.parameters / 1e6:,.1f} M parameters, "
                  f"{shape.layers} layers, {shape.file_bytes / 1e6:,.0f} MB"),
        ("context", f"{report.context} tokens; a longer setting is taken down to that"),
        ("tokenizer", f"{report.tokenizer or 'known once it is pulled'}, "
                      f"{shape.vocabulary} tokens"),
        ("fim", fim if report.fim else "none: it completes left to right, blind to what follows"),
        ("licence", report.licence or "not stated in the file"),
        ("serving", report.unservable or f"about {report.serving_bytes / 1e9:.2f} GB of memory "
                                         f"with a context of {report.served_context} tokens"),
        ("training", f"about {report.training_bytes / 1e9:.1f} GB of memory, at least "
                     f"{least_training_bytes(shape) / 1e9:.1f}"),
        ("trainable", f"no: {report.untrainable}" if report.untrainable else "yes"),
    ]  # fmt: skip


def preset_table() -> str:
    """The presets as a Markdown table, for `docs/bases.md`."""
    head = (
        "| name | parameters | file | context | licence | FIM tokens | serving | training "
        "| on the Hub | seen in |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(map(_preset_row, presets().values()))


def _preset_row(preset: Preset) -> str:
    shape = preset.shape
    trained = f"{training_bytes(shape) / 1e9:.0f} GB"
    if preset.architecture not in CONVERTIBLE:
        trained += f", but {preset.architecture} is not trained here"
    return (
        f"| `{preset.name}` | {shape.parameters / 1e9:.2f} B | {shape.file_bytes / 1e9:.2f} GB "
        f"| {preset.context:,} | {preset.licence} | {preset.fim} "
        f"| {serving_bytes(shape, _DOCS_CONTEXT) / 1e9:.1f} GB "
        f"| {trained} | `{preset.repository}:{preset.file}` | {preset.source} |\n"
    )
