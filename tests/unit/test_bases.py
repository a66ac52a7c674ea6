"""The bases of a user: what there is, what each takes, which one is in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import psutil
import pytest
from click.testing import CliRunner, Result

from gguf_maker import make_adapter, make_base
from neuralforge_adapters import base_memory, machine_memory
from neuralforge_adapters.base import Base, embedded_base, open_base
from neuralforge_adapters.base_choice import Awaited, BaseChoice, Choice
from neuralforge_adapters.base_facts import read_facts
from neuralforge_adapters.base_memory import (
    Shape,
    least_training_bytes,
    serving_bytes,
    training_bytes,
)
from neuralforge_adapters.bases import BaseList, PulledBase, locate
from neuralforge_adapters.errors import BaseFileError
from neuralforge_adapters.fim import FimTokens
from neuralforge_adapters.fim_families import (
    FAMILIES,
    FimFamily,
    fim_tokens,
    named_fim,
    with_family,
)
from neuralforge_adapters.gguf_header import read_gguf_header, read_gguf_strings
from neuralforge_adapters.home import Home
from neuralforge_adapters.presets import INSTEAD, presets
from neuralforge_adapters.store import GGUF_FILE, PERSONAL, AdapterStore, Manifest
from neuralforge_server.base_report import preset_table
from neuralforge_server.cli import group
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.llama import kept_sequences
from neuralforge_server.engine.protocol import CompleteRequest
from neuralforge_server.learning.trainer_process import arguments
from neuralforge_server.learning.trigger import Facts, Job, decide
from neuralforge_server.settings import LearningSettings
from neuralforge_server.training_check import shape_obstacle

NOTHING = FimTokens(None, None, None)


def run(*words: str) -> Result:
    return CliRunner().invoke(group, ["bases", *words], prog_name="neuralforge")


def answer(*words: str) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def refusal(*words: str) -> str:
    result = run(*words)
    assert isinstance(result.exception, BaseFileError), result.output
    return str(result.exception)


def tiny(path: Path, *, fim: bool = True) -> Path:
    return make_base(path, layers=1, width=64, heads=2, kv_heads=1, hidden=128,
                     vocabulary=12_288, fim=fim)  # fmt: skip


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return tiny(tmp_path / "other.gguf")


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes more memory than there is, so that transformers need not be asked."""
    monkeypatch.setattr(base_memory, "_TORCH", 1 << 60)


def listed(home: Home, path: Path, *, own: bool = True) -> PulledBase:
    """The file at `path` as if it had been pulled."""
    base = PulledBase(
        "pulled", str(path), "d" * 64, path.stat().st_size, "o/r", path.name, "c", own
    )
    BaseList(home).add(base)
    return base


# what there is


def test_list_tells_what_is_here_from_what_can_be_pulled(home: Home, other: Path) -> None:
    listed(home, other)
    rows = {row["name"]: row for row in answer("list")}
    assert rows["embedded"]["state"] == "in use"
    assert rows["pulled"]["state"] == "pulled" and rows["pulled"]["bytes"] > 10_000
    assert rows["starcoder2-3b"]["state"] == "to be pulled" and not rows["starcoder2-3b"]["path"]
    answer("use", "pulled")
    rows = {row["name"]: row for row in answer("list")}
    assert (rows["embedded"]["state"], rows["pulled"]["state"]) == ("embedded", "in use")
    assert "to be pulled" in run("list").stdout


def test_list_shows_a_file_in_use_that_was_never_pulled(other: Path) -> None:
    answer("use", str(other))
    assert {"name": "other", "state": "in use"}.items() <= answer("list")[1].items()


def test_list_shows_that_the_embedded_base_is_awaited_or_was_refused(
    home: Home, other: Path
) -> None:
    answer("use", str(other))
    choice = BaseChoice(home)
    choice.wait_for(None, "digest")
    assert answer("list")[0]["state"] == "awaited"
    choice.refuse("digest", "worse")
    states = {row["name"]: row["state"] for row in answer("list")}
    assert states["embedded"] == "refused: worse" and states["other"] == "in use"


def test_every_preset_can_be_described_and_says_its_licence_and_source() -> None:
    assert {f"qwen2.5-coder-{size}" for size in ("0.5b", "1.5b", "3b", "7b")} <= set(presets())
    families = {family.name for family in FAMILIES}
    for preset in presets().values():
        assert preset.licence and preset.source and preset.fim in families
        assert preset.repository.count("/") == 1 and preset.file.endswith(".gguf")
        assert serving_bytes(preset.shape, 1024) > preset.shape.file_bytes
        assert preset.shape.parameters < training_bytes(preset.shape) / 4


def test_the_table_of_presets_says_what_training_would_take_and_where_there_is_none() -> None:
    rows = {name: row for name in presets() for row in preset_table().split("\n") if name in row}
    for preset in presets().values():
        row, estimate = rows[preset.name], f"{training_bytes(preset.shape) / 1e9:.0f} GB"
        trained = preset.architecture == "qwen2"
        assert f"| {estimate} |" in row if trained else f"| {estimate}, but " in row
        assert ("is not trained here" in row) is not trained


def test_show_of_a_preset_needs_no_file() -> None:
    report = answer("show", "starcoder2-3b")
    assert report["path"] is None and report["licence"] == "BigCode OpenRAIL-M"
    assert "starcoder2 cannot be converted" in report["untrainable"]


@pytest.mark.usefixtures("no_room")
def test_show_of_a_file_without_fim_says_that_it_is_blind_to_the_suffix(tmp_path: Path) -> None:
    plain = tiny(tmp_path / "plain.gguf", fim=False)
    assert read_facts(plain).fim == "" and read_facts(plain).order == "left-to-right"
    assert "none: it completes left to right" in run("show", str(plain)).stdout


@pytest.mark.usefixtures("no_room")
def test_show_reads_the_shape_that_the_engine_sees(other: Path, home: Home) -> None:
    report = answer("show", str(other), "--context", "999999")
    with EngineClient(open_base(other, home), context=999_999) as engine:
        info = engine.info
    assert report["shape"]["parameters"] == info.parameters
    assert report["shape"]["vocabulary"] == info.vocabulary
    assert report["order"] == info.fim_order and report["architecture"] == info.architecture
    assert report["context"] == info.trained_context == 2048
    assert report["served_context"] == info.context == 2048, "a longer one is taken down"


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("show", "codet5p-770m"),
        ("use", "CodeT5+"),
        ("pull", "plbart"),
        ("pull", "Salesforce/codet5-base"),
        ("show", "Salesforce/codet5p-220m"),
        ("use", "Salesforce/codet5p-220m"),
    ],
)
def test_an_encoder_decoder_is_named_with_the_reason_and_what_to_take(verb: str, name: str) -> None:
    said = refusal(verb, name)
    assert "encoder–decoder" in said and INSTEAD in said and INSTEAD in presets()


def test_a_file_of_an_encoder_decoder_is_not_used(tmp_path: Path, home: Home) -> None:
    path = tmp_path / "t5.gguf"
    writer = gguf.GGUFWriter(path, "t5")
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "encoder–decoder" in refusal("use", str(path))
    assert "encoder–decoder" in answer("show", str(path))["unservable"]
    assert BaseChoice(home).read() == Choice()


@pytest.mark.parametrize("path", ["models/codet5.gguf", "./codet5p-220m", "~/codet5/base"])
def test_a_missing_file_is_called_missing_whatever_its_name(path: str) -> None:
    assert "encoder–decoder" not in refusal("show", path)


def test_a_file_that_is_there_goes_before_a_repository_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "codet5").mkdir()
    (tmp_path / "codet5" / "mine").touch()
    assert locate("codet5/mine", home) == tmp_path / "codet5" / "mine"


@pytest.mark.parametrize("verb", ["show", "use"])
def test_what_is_no_base_is_named(verb: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"nothing" * 20)
    assert "bad.gguf" in refusal(verb, str(bad))
    assert "gone.gguf" in refusal(verb, str(tmp_path / "gone.gguf"))
    assert "neuralforge bases list" in refusal(verb, "nobody")
    if verb == "use":
        assert "neuralforge bases pull granite-3b-code" in refusal(verb, "granite-3b-code")


# which one is in use


def test_without_a_personal_adapter_a_base_is_used_at_once(home: Home, other: Path) -> None:
    assert answer("use", str(other))["result"] == "switched"
    assert open_base(None, home).path == other
    assert answer("use", str(other))["result"] == "already"
    assert open_base(None, Home(home.root, "work")).path == embedded_base(), "profiles differ"
    assert "is in use now" in run("use", "embedded").stdout
    assert BaseChoice(home).read() == Choice()


def test_a_base_that_the_engine_cannot_serve_changes_nothing(home: Home, tmp_path: Path) -> None:
    content = bytearray(embedded_base().read_bytes())
    at = content.index(b"qwen2")
    content[at : at + 5] = b"qwenX"
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(content)
    assert run("use", str(strange)).exception is not None
    assert open_base(None, home).path == embedded_base()


@pytest.fixture
def personal(home: Home, base: Base, tmp_path: Path) -> AdapterStore:
    store = AdapterStore(home)
    with store.staging(PERSONAL) as staged:
        make_adapter(staged / GGUF_FILE, strength=0.3)
        store.publish(staged, Manifest(PERSONAL, base.digest, 8, 8.0))
    return store


@pytest.mark.usefixtures("no_room", "personal")
def test_a_base_that_cannot_be_trained_does_not_replace_a_trained_pair_unasked(
    home: Home, other: Path
) -> None:
    said = refusal("use", str(other))
    assert "of memory" in said and "--now" in said
    assert BaseChoice(home).read() == Choice()
    assert answer("use", str(other), "--now")["result"] == "switched"


def test_a_base_whose_file_is_gone_falls_back_to_the_embedded_one_and_says_so(
    home: Home, other: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer("use", str(other))
    other.unlink()
    assert open_base(None, home).path == embedded_base()
    assert "is gone" in caplog.text and "neuralforge bases use" in caplog.text


@pytest.mark.parametrize("content", ["", "[]", '{"awaited": 3}', '{"awaited": {"no": 1}}'])
def test_a_damaged_choice_chooses_nothing(home: Home, content: str) -> None:
    choice = BaseChoice(home)
    choice.use(Path("somewhere"))
    choice.path.write_text(content)
    assert choice.read() == Choice()


def test_an_awaited_base_is_used_when_its_own_digest_is_settled(home: Home) -> None:
    choice = BaseChoice(home)
    choice.wait_for(Path("/new.gguf"), "right")
    assert not choice.settle("wrong")
    choice.refuse("wrong", "no")
    assert choice.read() == Choice(None, Awaited("/new.gguf", "right"))
    choice.refuse("right", "worse")
    assert choice.read().awaited == Awaited("/new.gguf", "right", "worse")
    assert choice.settle("right") and choice.read() == Choice("/new.gguf")


def test_an_awaited_base_is_trained_for_before_anything_else() -> None:
    settings = LearningSettings(idle_seconds=60)
    facts = Facts(idle_seconds=61, new_samples=10_000, awaited=Path("/new.gguf"))
    job = decide(settings, facts)
    assert job == Job(base=Path("/new.gguf"))
    words = arguments(job, settings, Path("/old.gguf"))
    assert words[0] == "--again" and words[-2:] == ["--base", "/new.gguf"]
    assert "/old.gguf" not in words


# removing


def test_remove_deletes_what_was_fetched_and_leaves_what_was_there(
    home: Home, tmp_path: Path, other: Path
) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(other)
    listed(home, link, own=False)
    assert "stays" in run("remove", "pulled").stdout and other.is_file()
    listed(home, link)
    assert answer("remove", "pulled")["name"] == "pulled"
    assert not other.exists() and not link.is_symlink() and BaseList(home).all() == []


def test_a_base_in_use_by_any_profile_is_not_removed(home: Home, other: Path) -> None:
    listed(home, other)
    answer("use", "pulled", "--profile", "work")
    assert "profile work" in refusal("remove", "pulled")
    assert other.is_file() and "no pulled base" in refusal("remove", "embedded")
    assert locate("pulled", home) == other


# FIM


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_known_families_fill_in_what_the_metadata_lacks(family: FimFamily) -> None:
    ids = {"x": 0, family.prefix: 7, family.suffix: 8, family.middle: 9}
    assert fim_tokens(ids.get) == with_family(NOTHING, ids.get) == FimTokens(7, 8, 9)
    half = {k: v for k, v in ids.items() if k != family.middle}
    assert with_family(NOTHING, half.get) == NOTHING


def test_what_the_metadata_names_goes_before_the_spelling_but_never_by_halves() -> None:
    ids = {"<fim_prefix>": 1, "<fim_suffix>": 2, "<fim_middle>": 3}
    assert with_family(FimTokens(4, 5, 6), ids.get) == FimTokens(4, 5, 6)
    assert with_family(FimTokens(4, None, 6), ids.get) == FimTokens(1, 2, 3)


def test_the_engine_takes_the_fim_tokens_that_show_and_the_trainer_take(
    tmp_path: Path, home: Home
) -> None:
    """A file that names one of the three alone, and that one wrongly."""
    path = tiny(tmp_path / "half.gguf")
    right = read_facts(path)
    content = path.read_bytes()
    for kind in (b"fim_suf", b"fim_mid"):
        content = content.replace(b"ggml." + kind, b"ggml." + kind[::-1])
    key = content.index(b"fim_pre_token_id") + len(b"fim_pre_token_id") + 4
    path.write_bytes(content[:key] + (100).to_bytes(4, "little") + content[key + 4 :])
    assert named_fim(read_gguf_header(path).metadata) == FimTokens(100, None, None)
    assert read_facts(path).fim == right.fim != ""
    with EngineClient(open_base(path, home)) as engine:
        assert engine.info.fim_order == "prefix-first"
        shown = engine.complete(CompleteRequest("x = ", "\n", max_tokens=4, evaluation=True)).text
    other = tiny(tmp_path / "whole.gguf")
    with EngineClient(open_base(other, home)) as engine:
        wanted = CompleteRequest("x = ", "\n", max_tokens=4, evaluation=True)
        assert shown == engine.complete(wanted).text


@pytest.mark.parametrize(
    "keys", [("fim_pre", "fim_suf", "fim_mid"), ("prefix", "suffix", "middle")]
)
def test_metadata_names_the_tokens_by_todays_keys_or_by_those_of_2023(
    keys: tuple[str, ...],
) -> None:
    metadata = {f"tokenizer.ggml.{key}_token_id": 7 + n for n, key in enumerate(keys)}
    assert named_fim(metadata) == FimTokens(7, 8, 9)
    assert named_fim({**metadata, f"tokenizer.ggml.{keys[1]}_token_id": "x"}).suffix is None


def test_facts_of_an_older_file_know_its_fim_by_the_tokens_texts(tmp_path: Path) -> None:
    content = bytearray(tiny(tmp_path / "old.gguf").read_bytes())
    for new, old in ((b"fim_pre_token", b"fim_xxx_token"), (b"fim_suf_token", b"fim_yyy_token")):
        content[:] = content.replace(new, old)
    path = tmp_path / "unnamed.gguf"
    path.write_bytes(content)
    assert read_facts(path).order == "prefix-first"


def test_only_the_array_that_is_asked_for_is_kept(tmp_path: Path) -> None:
    tokens = read_gguf_strings(embedded_base(), "tokenizer.ggml.tokens")
    assert len(tokens) == read_facts(embedded_base()).shape.vocabulary
    assert "<|fim_middle|>" in tokens
    assert read_gguf_strings(embedded_base(), "no.such.key") == []
    with pytest.raises(ValueError, match="no array of strings"):
        read_gguf_strings(embedded_base(), "tokenizer.ggml.token_type")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(embedded_base().read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"cut off|more than it has bytes"):
        read_gguf_strings(cut, "tokenizer.ggml.tokens")


# memory


def test_memory_for_serving_is_an_estimate_on_the_high_side_but_not_absurd(
    tmp_path: Path, home: Home
) -> None:
    path = make_base(tmp_path / "wide.gguf", layers=8, width=512, heads=8, kv_heads=8, hidden=1408,
                     vocabulary=32_000)  # fmt: skip
    with EngineClient(open_base(path, home), context=2048) as engine:
        resident = psutil.Process(engine.pid).memory_info().rss
    estimate = serving_bytes(read_facts(path).shape, 2048)
    assert resident < estimate < resident * 2


@pytest.mark.parametrize("width", [64, 4096, 40_960])
def test_memory_for_serving_counts_as_many_prompts_as_the_engine_keeps(width: int) -> None:
    shape = Shape(0, 0, layers=32, width=0, kv_width=width, hidden=0, vocabulary=0)
    one = 2 * 2 * 32 * width * 1024
    rest = serving_bytes(shape, 0)
    assert serving_bytes(shape, 1024) - rest == one * kept_sequences(one)


def test_too_little_memory_is_told_before_any_training() -> None:
    huge = Shape(1, 10**13, 1, 1, 1, 1, 1)
    assert "of memory, and there are" in shape_obstacle("qwen2", huge)
    assert "gemma cannot be converted" in shape_obstacle("gemma", huge)


def test_what_trains_with_savings_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = presets()["qwen2.5-coder-0.5b"].shape
    least, most = least_training_bytes(shape), training_bytes(shape)
    there = (least + most) // 2
    assert least < 0.7 * most
    files = (tmp_path / "max", tmp_path / "current")
    monkeypatch.setattr(machine_memory, "CONTAINER", (files,))
    files[1].write_text(f"{1 << 20}\n")
    files[0].write_text(f"{there}\n")
    assert shape_obstacle("qwen2", shape) == ""
    assert machine_memory.available_bytes() <= there - (1 << 20), "what the trainer goes by"
    files[0].write_text(f"{least - 1}\n")
    assert "at least" in shape_obstacle("qwen2", shape)
    files[0].write_text("max\n")
    assert machine_memory.total_bytes() == psutil.virtual_memory().total


def test_a_file_cannot_add_lines_to_what_show_says(tmp_path: Path) -> None:
    path = tmp_path / "forged.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("good\x1b[2K\ntrainable yes")
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    said = run("show", str(path)).stdout
    assert "good" in said and "\x1b" not in said
    assert not [line for line in said.splitlines() if line.startswith("trainable yes")]
