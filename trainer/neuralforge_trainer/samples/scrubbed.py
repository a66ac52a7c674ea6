"""Takes secrets out of samples.

Invariant: no sample that leaves here holds a secret that the session log's scrubbing knows, and
none teaches to write one. Knows no source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from neuralforge_adapters.fim import Window
from neuralforge_server.session.scrub import has_placeholder, scrub_parts
from neuralforge_trainer.samples.sample import Sample

_WINDOW = Window()


def prepare(samples: Iterable[Sample]) -> list[Sample]:
    """The samples that can be learnt, cut to the served window and scrubbed, in their order."""
    return [kept for sample in samples if (kept := scrubbed(sample)) is not None]


def scrubbed(sample: Sample) -> Sample | None:
    """`sample` cut to the served window, without secrets; None where its middle held one."""
    shown = _WINDOW.cut_text(sample.prefix, sample.suffix)
    prefix, middle, suffix = scrub_parts(shown[0], sample.middle, shown[1])
    if has_placeholder(middle):
        return None
    return replace(sample, prefix=prefix, middle=middle, suffix=suffix)
