"""The model card: what a base is made of, how it was trained, what it is known to do.

Invariant: every figure is read from the run's own files; evaluation is quoted only where a report
of it is given. Markdown and one plot.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from neuralforge_adapters.home import private_dir, read_json, write_atomic
from neuralforge_trainer.pretrain.config import RunConfig
from neuralforge_trainer.pretrain.manifest import Entry, read_manifest
from neuralforge_trainer.pretrain.run import newest_folder, trunk
from neuralforge_trainer.pretrain.state import Point, load_progress, read_points

_LICENCES = 20
"""That are named; the others are counted."""
_LANGUAGES = ["python", "javascript", "typescript", "go", "rust", "java", "c"]


def write_card(config: RunConfig, manifest: Path, folder: Path, evaluation: Path | None) -> Path:
    """Write `card.md` and `loss.svg` into `folder`; returns the card.

    Raises:
        PretrainError: there is no checkpoint yet.
        CorpusError: the manifest cannot be read.
    """
    points = curve(config)
    private_dir(folder)
    plot(points, folder / "loss.svg")
    made_of = read_manifest(manifest)
    entries = list(made_of.packages.values())
    parts = [
        f"# {config.name}\n",
        _model(config),
        _training(config, points),
        _data(config, entries, len(made_of.held_out)),
        "## Evaluation\n",
        evaluation.read_text("utf-8") if evaluation else "Not measured yet.\n",
    ]
    path = folder / "card.md"
    write_atomic(path, "\n".join(parts))
    return path


def curve(config: RunConfig) -> list[Point]:
    """The trunk's points up to where the newest branch, if any, leaves it, and the branch's."""
    newest = newest_folder(config)
    own = read_points(newest / "loss.jsonl")
    if newest == trunk(config):
        return own
    start = own[0].step if own else 0
    return [p for p in read_points(trunk(config) / "loss.jsonl") if p.step < start] + own


def plot(points: list[Point], path: Path) -> None:
    """Loss against tokens as an SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([p.tokens / 1e6 for p in points], [p.loss for p in points], lw=0.8, label="training")
    checked = [(p.tokens / 1e6, p.validation) for p in points if p.validation is not None]
    if checked:
        axes.plot(*zip(*checked, strict=True), "o-", ms=3, label="held-out documents")
    axes.set(xlabel="million tokens", ylabel="nats per token", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _model(config: RunConfig) -> str:
    shape = config.model
    return (
        "## Model\n\n"
        f"qwen2 architecture, {shape.layers} layers, width {shape.width}, {shape.heads} heads "
        f"({shape.kv_heads} key-value), feed-forward {shape.hidden}, tied embeddings, vocabulary "
        f"{shape.vocabulary}, context {shape.context}. Byte-level BPE with the Qwen2 pre-tokenizer "
        "and Qwen2.5-Coder's special tokens. Fills in the middle suffix first "
        "(`<|fim_prefix|><|fim_suffix|>S<|fim_middle|>P`), less well prefix first.\n"
    )


def _training(config: RunConfig, points: list[Point]) -> str:
    last = points[-1] if points else Point(0, 0, float("nan"), 0.0)
    checked = [p.validation for p in points if p.validation is not None]
    validation = f"{checked[-1]:.3f}" if checked else "not measured"
    train = config.train
    before = load_progress(newest_folder(config)).before
    begun = f", {before / 1e6:.1f} M of them before, in the base it began with" if before else ""
    return (
        "## Training\n\n"
        f"{last.tokens / 1e6:.1f} M tokens{begun}; "
        f"{last.step} steps of {train.batch_tokens} tokens; bf16; "
        f"Muon at {train.matrix_rate:g} for matrices, AdamW at {train.vector_rate:g} for the "
        f"rest; {_schedule(points)}. Training loss {last.loss:.3f}, on held-out documents "
        f"{validation} nats a token.\n\n![loss](loss.svg)\n"
    )


def _schedule(points: list[Point]) -> str:
    """When the rate fell; a run may go on from a decayed state (Wen et al. 2024, «WSD-S»)."""
    falls = " and ".join(f"{first} to {last}" for first, last in decays(points))
    return f"warm-up, stable, and a decay in steps {falls}" if falls else "warm-up, then stable"


def decays(points: list[Point]) -> list[tuple[int, int]]:
    """(first, last) step of every stretch below the full rate, the warm-up left out."""
    found: list[tuple[int, int]] = []
    risen = falling = False
    for point in points:
        if point.scale >= 1:
            risen, falling = True, False
        elif falling:
            found[-1] = (found[-1][0], point.step)
        elif risen:
            falling = True
            found.append((point.step, point.step))
    return found


def _data(config: RunConfig, entries: list[Entry], near: int) -> str:
    counts = read_json(config.data_folder / "corpus.json") or {}
    languages = [(name, counts[name]) for name in _LANGUAGES if name in counts]
    licences = Counter(entry.licence for entry in entries if entry.files).most_common()
    shown, others = licences[:_LICENCES], licences[_LICENCES:]
    rest = [f"| {len(others)} others | {sum(count for _, count in others)} |"] if others else []
    lines = [
        "## Data\n",
        f"{sum(1 for entry in entries if entry.files)} packages with permissive licences; name, "
        "version, licence and checksum of each are in the manifest. No source text is kept here.\n",
        "| language | million characters |",
        "|---|---|",
        *(f"| {name} | {size / 1e6:.1f} |" for name, size in languages),
        "",
        "| licence | packages |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in shown),
        *rest,
        "",
        f"Held out by name, and {near} files by likeness to their histories (MinHash): "
        + ", ".join(entry["repository"] for entry in config.corpus.held_out)
        + ". Not held out: Python's standard library and packages that many have installed, which "
        "are also the general code that the gate and the proof measure forgetting on, so the level "
        "of those figures flatters this base; what an adapter changes in them is not affected.\n",
    ]
    return "\n".join(lines)
