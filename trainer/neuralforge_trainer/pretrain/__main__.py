"""`python -m neuralforge_trainer.pretrain`: the stages of pretraining as commands.

Invariant: every stage reads what the one before left in the run's folder, can be run again, and
goes on where it was interrupted. Knows no stage's inside.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

import click

from neuralforge_adapters.command_line import run_command
from neuralforge_adapters.home import Home
from neuralforge_server.engine.protocol import EngineInfo
from neuralforge_trainer.pretrain.config import config_path, load_config

Paths = tuple[Path, ...]


@click.group(epilog="Example: neuralforge pretrain train embedded")
def group() -> None:
    """Make a base: fetch, corpus, tokenizer, train, export, card."""


run_argument = click.argument("run", default="embedded")
manifest_option = click.option(
    "--manifest", type=click.Path(path_type=Path), help="The manifest (beside the run file)."
)
folder_option = click.option(
    "--folder", "folders", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Source code of your own to learn from (repeatable).",
)  # fmt: skip
clone_option = click.option(
    "--held-out", "clones", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="A clone of a repository used to evaluate: files near to its stay out (repeatable).",
)  # fmt: skip


@group.command()
@run_argument
@manifest_option
def fetch(run: str, manifest: Path | None) -> None:
    """Download the packages of the run file."""
    from neuralforge_trainer.pretrain import fetch as stage
    from neuralforge_trainer.pretrain.manifest import read_manifest

    config = load_config(run)
    packages = stage.packages_of(config, read_manifest(_manifest(run, manifest)))
    absent = stage.fetch(config, packages)
    click.echo(f"{len(packages) - len(absent)} packages are there, {len(absent)} could not be had")
    if absent:
        click.echo("not to be had: " + " ".join(absent), err=True)


@group.command()
@run_argument
@manifest_option
@folder_option
@clone_option
def corpus(run: str, manifest: Path | None, folders: Paths, clones: Paths) -> None:
    """Clean, deduplicate and decontaminate what was fetched."""
    from neuralforge_trainer.pretrain.corpus import build_corpus

    build_corpus(load_config(run), _manifest(run, manifest), folders, clones, click.echo)


@group.command()
@run_argument
def tokenizer(run: str) -> None:
    """Train the tokenizer on the corpus."""
    from neuralforge_trainer.pretrain.tokenizer import train_tokenizer

    click.echo(f"{train_tokenizer(load_config(run)).size} tokens")


@group.command()
@run_argument
@click.option("--shards", type=click.IntRange(1), required=True, help="From the first on.")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count(),
              show_default="every core")  # fmt: skip
def pack(run: str, shards: int, workers: int) -> None:
    """Make batches ahead, where training is faster than one core makes them."""
    from neuralforge_trainer.pretrain.pack import pack_ahead

    config = load_config(run)
    pack_ahead(config, range(shards), workers)
    click.echo(f"{shards} shards of {config.pack.shard_tokens} tokens are there")


@group.command()
@run_argument
@click.option("--steps", type=click.IntRange(1), help="Stop after so many more steps.")
@click.option(
    "--from-gguf",
    "start_from",
    type=click.Path(exists=True, path_type=Path),
    help="Begin a run without a checkpoint with the weights of this base.",
)
def train(run: str, steps: int | None = None, start_from: Path | None = None) -> bool:
    """Train, from the newest checkpoint on; Ctrl-C saves and stops."""
    from neuralforge_trainer.pretrain import run as stages

    finished = stages.train(load_config(run), steps, start_from, _say)
    click.echo("the run is finished" if finished else "stopped; run it again to go on")
    return finished


@group.command(name="all")
@run_argument
@manifest_option
@folder_option
@clone_option
@click.pass_context
def everything(context: click.Context, /, run: str, manifest: Path | None, **given: Paths) -> None:
    """Every stage that is still to do, from nothing to a GGUF with its card."""
    from neuralforge_trainer.pretrain.corpus import corpus_file
    from neuralforge_trainer.pretrain.tokenizer import tokenizer_file

    config = load_config(run)
    if corpus_file(config).is_file() and any(given.values()):
        raise click.UsageError(
            f"{corpus_file(config)} is there already; leave out --folder and --held-out to go on "
            "with it, or run the stage `corpus` with them to build another"
        )
    if not corpus_file(config).is_file():
        if config.corpus.packages:
            context.invoke(fetch, run=run, manifest=manifest)
        context.invoke(corpus, run=run, manifest=manifest, **given)
    if not tokenizer_file(config).is_file():
        context.invoke(tokenizer, run=run)
    if context.invoke(train, run=run):
        context.invoke(export, run=run)
        context.invoke(card, run=run, manifest=manifest)


@group.command()
@run_argument
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True)
def decay(run: str, steps: int) -> None:
    """Branch off a copy and let its rates fall to zero, for a better export of a moment."""
    from neuralforge_trainer.pretrain import run as stages

    folder, finished = stages.decay(load_config(run), steps, _say)
    click.echo(folder if finished else "stopped; run it again to go on")


@group.command()
@run_argument
@click.option("--precision", type=click.Choice(["q8_0", "f16"]), default="q8_0", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="The file to write.")
def export(run: str, precision: Literal["q8_0", "f16"], output: Path | None) -> None:
    """Write the newest weights to a GGUF, and check it with llama.cpp and transformers."""
    from neuralforge_trainer.pretrain import run as stages
    from neuralforge_trainer.pretrain.check import check_export
    from neuralforge_trainer.pretrain.tokenizer import load_tokenizer, tokenizer_file

    config, infos = load_config(run), list[EngineInfo]()

    def check(part: Path) -> None:
        infos.append(check_export(part, load_tokenizer(tokenizer_file(config)), Home.find()))

    path = stages.export_run(config, precision, output, check)
    (info,) = infos
    click.echo(
        f"{path}: {info.parameters / 1e6:.1f} M parameters, {info.file_bytes / 1e6:.1f} MB, "
        f"{info.fim_order}; llama.cpp and transformers read the same token ids"
    )


@group.command()
@run_argument
@manifest_option
@click.option("--output", type=click.Path(path_type=Path), help="The folder to write to.")
@click.option(
    "--evaluation",
    type=click.Path(exists=True, path_type=Path),
    help="A report of `neuralforge bases evaluate`, in Markdown, to quote.",
)
def card(run: str, manifest: Path | None, output: Path | None, evaluation: Path | None) -> None:
    """Write the model card and the plot of the loss."""
    from neuralforge_trainer.pretrain.card import write_card

    config = load_config(run)
    folder = output or config.folder / "exports"
    click.echo(write_card(config, _manifest(run, manifest), folder, evaluation))


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()  # a log that is followed


def _manifest(run: str, given: Path | None) -> Path:
    """Beside the run file; of one that extends another, beside that one, whose corpus it has."""
    path = config_path(load_config(run).extends or run)
    return given or path.with_name(f"{path.stem}.manifest.json")


def main() -> None:
    """Run the command line."""
    _stand_back()
    run_command(group, "neuralforge pretrain")


def _stand_back() -> None:
    """Idle priority, and no spinning while one thread waits for another."""
    import psutil

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported
    if sys.platform == "win32":
        psutil.Process().nice(psutil.IDLE_PRIORITY_CLASS)
    else:
        psutil.Process().nice(19)


if __name__ == "__main__":
    main()
