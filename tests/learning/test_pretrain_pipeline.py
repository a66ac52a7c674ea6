"""The whole pretraining pipeline at toy size: from source code to a GGUF that serves and trains."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import neuralforge_server
from git_maker import GitMaker
from neuralforge_adapters.base import open_base
from neuralforge_adapters.errors import HomeError
from neuralforge_adapters.home import Home, locked
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import ScoreRequest
from neuralforge_trainer.errors import ExportError, PretrainError
from neuralforge_trainer.pretrain import export, run, state
from neuralforge_trainer.pretrain.card import write_card
from neuralforge_trainer.pretrain.check import check_export
from neuralforge_trainer.pretrain.config import (
    ROOT_VARIABLE,
    PackConfig,
    RunConfig,
    load_config,
)
from neuralforge_trainer.pretrain.corpus import build_corpus, read_corpus
from neuralforge_trainer.pretrain.loop import weights_of
from neuralforge_trainer.pretrain.manifest import Entry, Manifest, write_manifest
from neuralforge_trainer.pretrain.model import Model, attend, chunk_loss
from neuralforge_trainer.pretrain.pack import Packer, pack_ahead
from neuralforge_trainer.pretrain.rows import RowMaker
from neuralforge_trainer.pretrain.tokenizer import (
    load_tokenizer,
    make_tokenizer,
    tokenizer_file,
    train_tokenizer,
)

CODE = Path(neuralforge_server.__file__).parent


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The toy run, in a folder of its own."""
    os.environ[ROOT_VARIABLE] = str(tmp_path_factory.mktemp("pretrain"))
    return load_config("toy")


@pytest.fixture(scope="module", autouse=True)
def _no_real_folder() -> Iterator[None]:
    before = os.environ.get(ROOT_VARIABLE)
    yield
    os.environ.pop(ROOT_VARIABLE, None)
    if before is not None:
        os.environ[ROOT_VARIABLE] = before


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real code: this project's server, one file of it twice."""
    folder = tmp_path_factory.mktemp("source") / "served"
    shutil.copytree(CODE, folder, ignore=shutil.ignore_patterns("__pycache__", "py.typed"))
    shutil.copyfile(folder / "documents.py", folder / "zz_documents_again.py")
    return folder


@pytest.fixture(scope="module")
def built(config: RunConfig, source: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The corpus and the tokenizer, with one file of the source held out by likeness."""
    clone = GitMaker(tmp_path_factory.mktemp("clone"))
    text = (source / "settings.py").read_text("utf-8")
    clone.commit({"own/options.py": text.replace("settings", "options", 3)})
    build_corpus(config, config.folder / "manifest.json", [source], [clone.root], lambda _: None)
    train_tokenizer(config)
    return config


@pytest.fixture(scope="module")
def trained(built: RunConfig) -> RunConfig:
    """The trunk, trained to its end in one go."""
    assert run.train(built, None, None, lambda _: None)
    return built


def test_the_corpus_holds_each_file_once_and_nothing_held_out(built: RunConfig) -> None:
    paths = [document.path for document in read_corpus(built)]
    assert "documents.py" in paths and "zz_documents_again.py" not in paths
    assert "settings.py" not in paths, "near to a file of the held-out repository"
    assert "engine/llama.py" in paths


def test_fim_rows_are_consecutive_pieces_of_a_document(built: RunConfig) -> None:
    """Put together again, a middle between its prefix and its suffix stands in some file."""
    tokenizer = load_tokenizer(tokenizer_file(built))
    texts = [document.text for document in read_corpus(built)]
    checked = orders = 0
    batches = Packer(built, tokenizer).shard(0)
    rows = [list(map(int, row)) for batch in batches for row in batch]
    for row in rows:
        if tokenizer.middle not in row:
            continue
        start, suffix, middle = map(
            row.index, (tokenizer.prefix, tokenizer.suffix, tokenizer.middle)
        )
        end = row.index(tokenizer.end, middle)
        after = row[suffix + 1 : middle]
        before = row[start + 1 : suffix]
        text = _decode(built, before + row[middle + 1 : end] + after)
        checked += any(text in whole for whole in texts)
        orders += not before
    fim = sum(tokenizer.middle in row for row in rows)
    assert checked == fim > len(rows) / 2
    assert fim / 2 < orders < fim, "both orders, suffix first the more frequent"


def test_pieces_of_neighbouring_files_stand_in_front_as_the_engine_lays_them_out(
    built: RunConfig,
) -> None:
    """Repository, pieces in whole lines behind their paths, the own path, then the sample."""
    tokenizer = load_tokenizer(tokenizer_file(built))
    documents = {document.path: document for document in read_corpus(built)}
    own = documents["documents.py"]
    others = [documents["engine/llama.py"], documents["lsp.py"]]
    maker = RowMaker(tokenizer, PackConfig({1024: 1.0}, fim=1.0), {"python": 2.5})
    rows = [row for seed in range(9) for row in maker.rows(own, others, random.Random(seed))]
    fronts = [row[: row.index(tokenizer.prefix)] for _, row in rows if tokenizer.middle in row]
    fronts = [front for front in fronts if front]
    assert len(rows) > 10 and len(rows) > len(fronts) > len(rows) / 10
    pieces_seen = 0
    for front in fronts:
        assert front[0] == tokenizer.repository and len(front) <= 0.4 * 1024
        marks = [place for place, token in enumerate(front) if token == tokenizer.file]
        parts = [front[a + 1 : b] for a, b in zip(marks, [*marks[1:], len(front)], strict=True)]
        assert _decode(built, parts.pop()) == "documents.py\n"
        for part in parts:
            path, _, piece = _decode(built, part).partition("\n")
            assert path in ("engine/llama.py", "lsp.py") and piece in documents[path].text
            pieces_seen += len(piece) > 100
    assert pieces_seen > len(fronts) / 2


def test_a_shard_is_made_again_the_same(built: RunConfig) -> None:
    tokenizer = load_tokenizer(tokenizer_file(built))
    first = Packer(built, tokenizer).shard(1)
    Packer(built, tokenizer).forget(1)
    again = Packer(built, tokenizer).shard(1)
    assert len(first) == len(again) > 5
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(batch.size == built.train.micro_tokens for batch in first)


def test_shards_made_ahead_by_several_processes_are_the_same(built: RunConfig) -> None:
    one_by_one = [Packer(built, load_tokenizer(tokenizer_file(built))).shard(n) for n in range(3)]
    shutil.rmtree(built.folder / "shards")
    pack_ahead(built, range(3), workers=2)
    made = sorted(path.name for path in (built.folder / "shards").glob("*/*.npz"))
    assert len(made) == 3
    packer = Packer(built, load_tokenizer(tokenizer_file(built)))
    for number, batches in enumerate(one_by_one):
        assert all(map(np.array_equal, batches, packer.shard(number)))


def test_shards_of_another_corpus_or_setting_are_not_taken(built: RunConfig) -> None:
    tokenizer = load_tokenizer(tokenizer_file(built))
    Packer(built, tokenizer).prepare(0)
    (before,) = {path.parent for path in (built.folder / "shards").glob("*/shard-00000.npz")}
    other = dataclasses.replace(built, pack=dataclasses.replace(built.pack, fim=0.1))
    packer = Packer(other, tokenizer)
    packer.prepare(0)
    assert len(list((built.folder / "shards").iterdir())) == 2
    packer.forget_others()
    assert before not in (built.folder / "shards").iterdir()


def test_the_model_computes_what_transformers_computes(built: RunConfig) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = run.model_config(built)
    ours = Model(shape)
    theirs = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            intermediate_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            rms_norm_eps=shape.norm_epsilon,
            rope_theta=shape.rope_base,
            tie_word_embeddings=True,
        )
    )
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not missing.unexpected_keys and missing.missing_keys == ["lm_head.weight"]
    theirs.tie_weights()
    ids = torch.randint(0, shape.vocabulary, (2, 200))
    with torch.no_grad():
        torch.testing.assert_close(
            ours(ids) @ ours.head.T, theirs(ids).logits, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(("heads", "shared", "length"), [(5, 1, 300), (6, 2, 128), (4, 4, 257)])
def test_attention_in_blocks_is_attention(heads: int, shared: int, length: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, heads, length, 16, requires_grad=True)
    key, value = torch.randn(2, 2, shared, length, 16, requires_grad=True)
    upstream = torch.randn(2, heads, length, 16)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, enable_gqa=True
    )
    attended = attend(query, key, value)
    torch.testing.assert_close(attended, expected)
    inputs = (query, key, value)
    for mine, theirs in zip(
        torch.autograd.grad(attended, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_the_chunked_loss_and_its_gradients_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(40, 16, requires_grad=True)
    head = torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(0, 50, (40,))
    targets[::7] = -1
    expected = torch.nn.functional.cross_entropy(
        hidden @ head.T, targets, ignore_index=-1, reduction="sum"
    )
    expected.backward()
    loss, for_hidden, for_head = chunk_loss(hidden.detach(), head.detach(), targets)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(for_hidden, hidden.grad)
    torch.testing.assert_close(for_head, head.grad)


def test_training_learns_and_logs_every_point_once(trained: RunConfig) -> None:
    points = state.read_points(run.trunk(trained) / "loss.jsonl")
    steps = [point.step for point in points]
    assert steps == sorted(set(steps)) and steps[-1] == 20
    validations = [point.validation for point in points if point.validation is not None]
    assert validations[-1] < validations[0] < np.log(trained.model.vocabulary)


def test_an_interrupted_run_ends_with_the_same_weights(trained: RunConfig, tmp_path: Path) -> None:
    whole = state.load(run.trunk(trained))
    assert whole is not None
    kept = tmp_path / "whole"
    run.trunk(trained).rename(kept)
    try:
        assert not run.train(trained, 7, None, lambda _: None)
        assert run.train(trained, None, None, lambda _: None)
        pieced = state.load(run.trunk(trained))
    finally:
        shutil.rmtree(run.trunk(trained), ignore_errors=True)
        kept.rename(run.trunk(trained))
    assert pieced is not None and pieced[0] == whole[0]
    assert all(torch.equal(whole[1][name], pieced[1][name]) for name in whole[1])


@pytest.mark.parametrize("precision", ["f16", "q8_0"])
def test_the_exported_base_serves_and_trains_as_it_was_trained(
    trained: RunConfig, home: Home, precision: export.Precision
) -> None:
    tokenizer = load_tokenizer(tokenizer_file(trained))
    path = run.export_run(trained, precision, None)
    info = check_export(path, tokenizer, home)
    assert (info.fim_order, info.architecture) == ("suffix-first", "qwen2")
    assert info.trained_context == trained.model.context
    with EngineClient(open_base(path, home)) as engine:
        score = engine.score(ScoreRequest("def f(values):\n    ", "\n", "return len(values)"))
    expected = _own_score(trained, "def f(values):\n", "    return len(values)", "\n")
    assert score.nll == pytest.approx(expected, rel=0.002 if precision == "f16" else 0.02)


def test_a_run_goes_on_from_a_gguf_alone(trained: RunConfig, tmp_path: Path) -> None:
    path = run.export_run(trained, "q8_0", tmp_path / "shipped.gguf")
    found = state.load(run.newest_folder(trained))
    assert found is not None
    weights = export.read_weights(path, Model(run.model_config(trained)))
    for name, tensor in weights_of(found[1]).items():
        torch.testing.assert_close(weights[name], tensor, atol=0.01, rtol=0.02)
    fresh = _fresh(trained, "fresh")
    said: list[str] = []
    run.train(fresh, 10, path, said.append)
    first = state.read_points(run.trunk(fresh) / "loss.jsonl")[0]
    last = state.read_points(run.trunk(trained) / "loss.jsonl")[0]
    assert "optimizers fresh" in said[0] and first.loss < last.loss
    assert tokenizer_file(fresh).read_bytes() == tokenizer_file(trained).read_bytes()
    after = state.load(run.trunk(fresh))
    assert after is not None and after[0].before == found[0].tokens < after[0].tokens
    assert after[0].shard > found[0].shard, "the text that comes next, not that of the beginning"
    assert not run.train(fresh, 1, path, said.append), "the schedule's end is that of the beginning"
    assert said[-1] == "going on from step 10"


def test_a_gguf_with_another_tokenizer_or_shape_begins_no_run(
    trained: RunConfig, tmp_path: Path
) -> None:
    path = run.export_run(trained, "q8_0", tmp_path / "shipped.gguf")
    other = _fresh(trained, "other")
    swapped = load_tokenizer(tokenizer_file(trained))
    tokens = swapped.tokens()
    tokens[:2] = reversed(tokens[:2])
    make_tokenizer(tokens, swapped.merges()).save(tokenizer_file(other))
    with pytest.raises(ExportError, match="another tokenizer"):
        run.train(other, 1, path, lambda _: None)
    deeper = dataclasses.replace(trained.model, layers=trained.model.layers + 1)
    flatter = dataclasses.replace(trained.model, layers=trained.model.layers - 1)
    for shape, said in ((deeper, "has no blk.2"), (flatter, "has blk.1")):
        with pytest.raises(ExportError, match=said):
            run.train(
                dataclasses.replace(_fresh(trained, f"of-{shape.layers}"), model=shape),
                1, path, lambda _: None,
            )  # fmt: skip
    with pytest.raises(ExportError, match="cannot be read"):
        run.train(_fresh(trained, "none"), 1, Path(__file__), lambda _: None)


def _fresh(trained: RunConfig, name: str) -> RunConfig:
    """A longer run of the same corpus that has neither a tokenizer nor a checkpoint."""
    length = dataclasses.replace(trained.train, tokens=2 * trained.train.tokens)
    fresh = dataclasses.replace(trained, name=name, train=length)
    fresh.folder.mkdir()
    shutil.copyfile(trained.folder / "corpus.jsonl", fresh.folder / "corpus.jsonl")
    return fresh


def test_what_the_checkpoints_were_trained_with_cannot_be_swapped(
    trained: RunConfig, tmp_path: Path
) -> None:
    """Tokenizer and shape; a swapped one would go on as if nothing were, and spoil the base."""
    file = tokenizer_file(trained)
    right = file.read_bytes()
    tokenizer = load_tokenizer(file)
    tokens = tokenizer.tokens()
    tokens[:2] = reversed(tokens[:2])
    try:
        make_tokenizer(tokens, tokenizer.merges()).save(file)
        for stage in (
            lambda: run.train(trained, 1, None, lambda _: None),
            lambda: run.decay(trained, 1, lambda _: None),
            lambda: run.export_run(trained, "q8_0", tmp_path / "spoilt.gguf"),
        ):
            with pytest.raises(PretrainError, match="another tokenizer"):
                stage()
        with pytest.raises(PretrainError, match="it stays"):
            train_tokenizer(trained)
    finally:
        file.write_bytes(right)
    assert train_tokenizer(trained).tokens() == tokenizer.tokens(), "the same again is no harm"
    for changed in ({"hidden": 2 * trained.model.hidden}, {"layers": 1}, {"heads": 4}):
        shape = dataclasses.replace(trained.model, **changed)
        other = dataclasses.replace(trained, model=shape)
        with pytest.raises(PretrainError, match=f"another {next(iter(changed))} than"):
            run.train(other, 1, None, lambda _: None)
        with pytest.raises(PretrainError, match="run file's `model`"):
            run.export_run(other, "q8_0", tmp_path / "spoilt.gguf")
    assert not (tmp_path / "spoilt.gguf").exists()


def test_a_loss_log_that_was_cut_off_holds_nothing_up(tmp_path: Path) -> None:
    log = tmp_path / "loss.jsonl"
    state.append_point(log, state.Point(10, 99, 2.5, 1.0))
    with log.open("a") as file:
        file.write('{"step": 20, "tok')
    state.rewind_points(log, 50)
    assert state.read_points(log) == [state.Point(10, 99, 2.5, 1.0)]


def test_an_export_that_fails_its_check_replaces_nothing(
    trained: RunConfig, tmp_path: Path
) -> None:
    target = tmp_path / "base.gguf"
    target.write_bytes(b"the good one")

    def refuse(part: Path) -> None:
        assert part.stat().st_size > 10_000
        raise ExportError("other ids")

    with pytest.raises(ExportError, match="other ids"):
        run.export_run(trained, "q8_0", target, refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["base.gguf"]
    assert target.read_bytes() == b"the good one"


def test_a_branch_decays_and_leaves_the_trunk_as_it_was(trained: RunConfig) -> None:
    before = state.load(run.trunk(trained))
    folder, finished = run.decay(trained, 4, lambda _: None)
    assert finished
    after, branched = state.load(run.trunk(trained)), state.load(folder)
    assert before is not None and after is not None and branched is not None
    assert before[0] == after[0] and branched[0].step == before[0].step + 4
    assert run.newest_folder(trained) == folder
    run.discard_branches(trained)
    assert run.newest_folder(trained) == run.trunk(trained)


def test_the_card_says_what_the_base_is_made_of(trained: RunConfig, tmp_path: Path) -> None:
    entry = Entry("shapes", "npm", "1.2.0", "MIT", "0" * 64, files=3, bytes=99)
    write_manifest(tmp_path / "manifest.json", Manifest({"shapes": entry}))
    (tmp_path / "evaluation.md").write_text("| EM | 12.5 % |\n")
    card = write_card(trained, tmp_path / "manifest.json", tmp_path, tmp_path / "evaluation.md")
    text = card.read_text("utf-8")
    found = state.load(run.trunk(trained))
    assert found is not None and f"{found[0].tokens / 1e6:.1f} M tokens; 20 steps" in text
    points = state.read_points(run.trunk(trained) / "loss.jsonl")
    assert f"Training loss {points[-1].loss:.3f}" in text
    assert f"{points[-1].validation:.3f} nats a token" in text
    assert "1 packages" in text and "| MIT | 1 |" in text and "| python | " in text
    assert text.index("## Evaluation") < text.index("| EM | 12.5 % |")
    assert "<svg" in (tmp_path / "loss.svg").read_text("utf-8")


def test_all_stages_in_turn_make_a_base_with_its_card(built: RunConfig, tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text("extends: toy\nname: short\ntrain: {tokens: 8192}\n")
    script = "from neuralforge_server.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, "pretrain", "all", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exports = load_config(str(file)).folder / "exports"
    assert {path.suffix for path in exports.iterdir()} == {".gguf", ".md", ".svg"}
    assert "corpus" not in done.stdout, "what is there is not made again"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a word to it")
def test_a_run_that_is_asked_to_end_saves_first(built: RunConfig, tmp_path: Path) -> None:
    file = tmp_path / "long.yaml"
    file.write_text(
        "extends: toy\nname: long\ntrain: {tokens: 100000000, checkpoint_steps: 100000}"
    )
    script = "from neuralforge_server.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, "pretrain", "train", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.terminate()
        rest = process.stdout.read()
    assert process.returncode == 0 and first.startswith("step 10/"), first + rest
    assert "stopped; run it again" in rest, "the command passes the signal on to the trainer"
    found = state.load(run.trunk(load_config(str(file))))
    assert found is not None and found[0].step >= 10


def test_a_run_has_one_trainer_and_readers_leave_its_checkpoints_alone(
    trained: RunConfig, tmp_path: Path
) -> None:
    folder = run.trunk(trained)
    with locked(folder / ".lock", timeout=1), pytest.raises(HomeError, match="another process"):
        run.train(trained, 1, None, lambda _: None)
    (folder / ".part").mkdir()  # as a trainer has it while it writes
    run.export_run(trained, "q8_0", tmp_path / "meanwhile.gguf")
    assert (folder / ".part").is_dir()
    found = state.load(folder)
    assert found is not None
    state.save(folder, found[0], found[1])
    assert not (folder / ".part").exists() and state.load(folder) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size as POSIX does")
def test_a_full_disk_leaves_the_older_checkpoint(trained: RunConfig) -> None:
    folder = run.trunk(trained)
    before = sorted(path.name for path in folder.iterdir())
    script = (
        "import resource, sys, torch; from pathlib import Path;"
        "from neuralforge_trainer.pretrain import state;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "state.save(Path(sys.argv[1]), state.Progress(step=999), {'a': torch.zeros(9999)})"
    )
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "PretrainError" in done.stderr and "free some room" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size as POSIX does")
def test_a_full_disk_leaves_the_old_export_whole(trained: RunConfig, tmp_path: Path) -> None:
    target = tmp_path / "base.gguf"
    target.write_bytes(b"the old one")
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from neuralforge_trainer.pretrain.__main__ import main;"
        f"sys.argv = ['pretrain', 'export', 'toy', '--output', {str(target)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1 and "free some room" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["base.gguf"]
    assert target.read_bytes() == b"the old one"


def test_a_stage_without_the_one_before_says_which(tmp_path: Path) -> None:
    os.environ[ROOT_VARIABLE], before = str(tmp_path), os.environ[ROOT_VARIABLE]
    try:
        with pytest.raises(PretrainError, match="`tokenizer` first"):
            run.train(load_config("toy"), None, None, lambda _: None)
        with pytest.raises(PretrainError, match="`train` first"):
            run.export_run(load_config("toy"), "f16", None)
    finally:
        os.environ[ROOT_VARIABLE] = before


def _decode(config: RunConfig, ids: list[int]) -> str:
    from tokenizers import Tokenizer

    text: str = Tokenizer.from_file(str(tokenizer_file(config))).decode(ids)
    return text


def _own_score(config: RunConfig, kept: str, target: str, suffix: str) -> float:
    """Negative log likelihood of `target` by the torch model, laid out suffix first."""
    tokenizer = load_tokenizer(tokenizer_file(config))
    found = state.load(run.newest_folder(config))
    assert found is not None
    model = Model(run.model_config(config))
    model.load_state_dict(weights_of(found[1]))
    before = [tokenizer.prefix, tokenizer.suffix, *tokenizer.encode(suffix), tokenizer.middle]
    before += tokenizer.encode(kept)
    wanted = tokenizer.encode(target)
    with torch.no_grad():
        logits = model(torch.tensor([before + wanted])) @ model.head.T
    likely = logits[0].log_softmax(-1)
    places = range(len(before) - 1, len(before) + len(wanted) - 1)
    return -float(sum(likely[at, token] for at, token in zip(places, wanted, strict=True)))
