"""Fetching a base: from a hub on loopback that breaks off, lies, refuses, or is not there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gguf_maker import make_base
from hub_server import COMMIT, REPOSITORY, FakeHub
from neuralforge_adapters.base import open_base
from neuralforge_adapters.bases import BaseList, locate
from neuralforge_adapters.errors import BaseFileError, HomeError, HubError
from neuralforge_adapters.home import Home, locked
from neuralforge_adapters.hub import Hub, Source, fetch, parse_source, pull
from neuralforge_adapters.presets import presets
from neuralforge_server.base_rows import base_rows

NAME = "tiny-Q8_0.gguf"
CHUNK = 10 * 2**20
"""What huggingface_hub writes at once: a break costs less than that."""


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the trainer, which fetches nothing and shows no bar, may have run here before."""
    for name in [name for name in os.environ if name.startswith(("HF_", "TQDM_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A base of 26 MB, so that half of it is more than one chunk."""
    path = make_base(tmp_path_factory.mktemp("hub") / NAME, layers=2, width=512, heads=8,
                     kv_heads=2, hidden=2048, vocabulary=32_000)  # fmt: skip
    return path.read_bytes()


@pytest.fixture
def server(content: bytes) -> Iterator[FakeHub]:
    with FakeHub(files={NAME: content}) as server:
        yield server


@pytest.fixture
def hub(server: FakeHub, tmp_path: Path) -> Hub:
    return Hub(server.endpoint, tmp_path / "cache")


def leftovers(hub: Hub) -> list[Path]:
    """Everything that lies in the cache's blobs."""
    return sorted(hub.cache.glob("models--*/blobs/*"))


def command(
    arguments: list[str], tmp_path: Path, endpoint: str, prelude: str = ""
) -> tuple[str, ...]:
    """The real command, as a process: (status, stdout, stderr)."""
    script = prelude + "from neuralforge_server.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "bases", *arguments],
        env=os.environ
        | {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "TQDM_POSITION": "-1",  # huggingface_hub then shows its bars without a terminal too
        },
        capture_output=True,
        text=True,
    )
    return str(done.returncode), done.stdout, done.stderr


def test_a_connection_that_breaks_half_way_is_taken_up_from_there(
    server: FakeHub, hub: Hub, home: Home, content: bytes
) -> None:
    server.break_after = [len(content) // 2]
    fetched = fetch(Source(REPOSITORY, NAME), hub, home)
    assert fetched.path.read_bytes() == content
    assert server.ranges == ["", f"bytes={CHUNK}-"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(
    server: FakeHub, hub: Hub, home: Home, content: bytes
) -> None:
    server.break_after, server.fails_after_break = [len(content) // 2], True
    with pytest.raises(HubError, match=r"answered .* with 500.*goes on from there"):
        fetch(Source(REPOSITORY, NAME), hub, home)
    server.refuse = None
    (partial,) = leftovers(hub)
    assert partial.suffix == ".incomplete" and partial.stat().st_size == CHUNK
    server.requests.clear()
    assert fetch(Source(REPOSITORY, NAME), hub, home).path.read_bytes() == content
    assert server.ranges == [f"bytes={CHUNK}-"]
    assert [path.suffix for path in leftovers(hub)] == [""]


def test_what_is_in_the_cache_is_not_fetched_again(server: FakeHub, hub: Hub, home: Home) -> None:
    first = fetch(Source(REPOSITORY, NAME), hub, home)
    server.requests.clear()
    second = fetch(Source(REPOSITORY, NAME), hub, home)
    assert (first.own, second.own) == (True, False) and first.path == second.path
    assert server.ranges == []


def test_a_wrong_checksum_is_refused_and_deleted(server: FakeHub, hub: Hub, home: Home) -> None:
    server.stated_digest = "ab" * 32
    with pytest.raises(HubError, match=r"abababababab.*was deleted"):
        fetch(Source(REPOSITORY, NAME), hub, home)
    assert leftovers(hub) == []


@pytest.mark.parametrize("digest", ["1234", "../" * 21 + "x", "Z" * 64])
def test_a_checksum_that_is_none_is_refused(
    server: FakeHub, hub: Hub, home: Home, digest: str
) -> None:
    server.stated_digest = digest
    with pytest.raises(HubError, match="states no size, commit or SHA-256"):
        fetch(Source(REPOSITORY, NAME), hub, home)
    assert leftovers(hub) == [] and server.ranges == []


def test_what_is_no_gguf_is_deleted(server: FakeHub, hub: Hub, home: Home) -> None:
    server.files["page.gguf"] = b"<html>please log in</html>"
    with pytest.raises(BaseFileError, match=r"page\.gguf is no GGUF"):
        fetch(Source(REPOSITORY, "page.gguf"), hub, home)
    assert leftovers(hub) == []


def test_a_base_larger_than_the_disk_is_refused_before_anything_is_fetched(
    server: FakeHub, hub: Hub, home: Home
) -> None:
    server.stated_size = 10**18
    with pytest.raises(HubError, match="make room, or set HF_HOME"):
        fetch(Source(REPOSITORY, NAME), hub, home)
    assert server.ranges == []


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on file sizes")
def test_a_disk_that_fills_up_leaves_a_part_to_go_on_from(
    server: FakeHub, tmp_path: Path, content: bytes, home: Home
) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (15_000_000,) * 2)\n"
    arguments = ["pull", f"{REPOSITORY}:{NAME}"]
    status, _, said = command(arguments, tmp_path, server.endpoint, limit)
    assert status == "1" and "the disk is full" in said and "Traceback" not in said
    hub = Hub(server.endpoint, tmp_path / "hf" / "hub")
    (partial,) = leftovers(hub)
    assert partial.suffix == ".incomplete"
    assert BaseList(home).all() == []
    assert fetch(Source(REPOSITORY, NAME), hub, home).path.read_bytes() == content
    assert server.ranges[-1].startswith("bytes=1")


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((401, "RepoNotFound"), "has no repository"),
        ((403, "GatedRepo"), "accept its licence"),
        ((404, "RepoNotFound"), "has no repository"),
        ((404, "EntryNotFound"), "no such file"),
        ((403, ""), "answered .* with 403"),
    ],
)
def test_a_refusal_says_what_to_do(
    server: FakeHub, hub: Hub, home: Home, refusal: tuple[int, str], words: str
) -> None:
    server.refuse = refusal
    with pytest.raises(HubError, match=words):
        fetch(Source(REPOSITORY, NAME), hub, home)
    assert leftovers(hub) == []


def test_a_dead_host_is_named(tmp_path: Path, content: bytes) -> None:
    with FakeHub() as gone:
        endpoint = gone.endpoint
    status, _, said = command(["pull", f"{REPOSITORY}:{NAME}"], tmp_path, endpoint)
    assert status == "1" and f"{endpoint} cannot be reached" in said and "Traceback" not in said


def test_two_pulls_of_one_file_do_not_mix(
    server: FakeHub, hub: Hub, home: Home, content: bytes
) -> None:
    digest = hashlib.sha256(content).hexdigest()
    with (
        locked(home.cache / "pulls" / f"{digest}.lock", timeout=1),
        pytest.raises(HomeError, match="another process"),
    ):
        fetch(Source(REPOSITORY, NAME), hub, home)


def test_without_a_file_the_only_q8_0_is_taken_and_a_choice_is_asked_for(
    server: FakeHub, hub: Hub, home: Home, content: bytes
) -> None:
    server.files["tiny-Q4_0.gguf"] = content
    assert fetch(Source(REPOSITORY), hub, home).file == NAME
    server.files["other-q8_0.gguf"] = content
    with pytest.raises(HubError, match=rf"{NAME}.*name one: {REPOSITORY}:FILE"):
        fetch(Source(REPOSITORY), hub, home)


def test_a_pulled_base_is_listed_under_its_name_with_its_digest_known(
    server: FakeHub, hub: Hub, home: Home, content: bytes
) -> None:
    base = pull(f"{REPOSITORY}:{NAME}", hub, home)
    assert (base.name, base.revision, base.own) == ("tiny-Q8_0", COMMIT, True)
    assert BaseList(home).all() == [base]
    digests = json.loads((home.cache / "base-digests.json").read_text())
    assert list(digests.values()) == [base.digest]
    assert open_base(locate("tiny-Q8_0", home), home).digest == base.digest
    assert pull(f"{REPOSITORY}:{NAME}", hub, home).own, "pulled again, it is still to be deleted"


def test_a_name_never_means_another_base_than_it_did(server: FakeHub, hub: Hub, home: Home) -> None:
    """Files of one name in two repositories, and of the name of a preset or the embedded base."""
    preset = next(iter(presets()))
    server.files |= {f"{name}.gguf": server.files[NAME] for name in (preset, "embedded")}
    server.files[f"small/{NAME}"] = server.files[NAME]
    first = pull(f"{REPOSITORY}:{NAME}", hub, home)
    beside = pull(f"{REPOSITORY}:small/{NAME}", hub, home)
    assert beside.name == f"{REPOSITORY}/small/tiny-Q8_0".replace("/", "-")
    server.repository = "another/tiny-GGUF"
    names = [
        pull(f"another/tiny-GGUF:{file}", hub, home).name
        for file in (NAME, f"{preset}.gguf", "embedded.gguf")
    ]
    assert names == [f"another-tiny-GGUF-{n}" for n in ("tiny-Q8_0", preset, "embedded")]
    assert BaseList(home).find("tiny-Q8_0") == first
    rows = {row["name"]: row for row in base_rows(home)}
    assert rows[f"another-tiny-GGUF-{preset}"]["licence"] == ""
    assert rows[preset]["state"] == "to be pulled"


def test_a_users_own_file_of_a_listed_bases_name_is_not_removed(
    server: FakeHub, hub: Hub, home: Home
) -> None:
    pull(f"{REPOSITORY}:{NAME}", hub, home)
    server.repository = "another/tiny-GGUF"
    theirs = fetch(Source("another/tiny-GGUF", NAME), hub, home)
    assert theirs.own and not pull(f"another/tiny-GGUF:{NAME}", hub, home).own
    BaseList(home).remove("tiny-Q8_0")
    assert theirs.path.is_file()


def test_the_command_honours_hf_endpoint_and_hf_home_and_shows_a_bar(
    server: FakeHub, tmp_path: Path, home: Home
) -> None:
    status, said, bar = command(["pull", f"{REPOSITORY}:{NAME}"], tmp_path, server.endpoint)
    assert status == "0" and "neuralforge bases use tiny-Q8_0" in said
    assert NAME in bar and "100%" in bar
    (base,) = BaseList(home).all()
    assert Path(base.path).is_relative_to(tmp_path / "hf" / "hub")
    _, said, bar = command(
        ["pull", base.repository + ":" + NAME, "--json"], tmp_path, server.endpoint
    )
    assert json.loads(said)["name"] == "tiny-Q8_0" and "%" not in bar


@pytest.mark.parametrize("text", ["nobody", "a/b/c", "/b", "a/", "a/:x"])
def test_what_names_no_source_is_refused(text: str) -> None:
    with pytest.raises(HubError, match="neither a preset nor"):
        parse_source(text)


def test_presets_and_repositories_are_told_apart() -> None:
    preset = parse_source("qwen2.5-coder-1.5b")
    assert preset.repository == "ggml-org/Qwen2.5-Coder-1.5B-Q8_0-GGUF"
    assert preset.file == "qwen2.5-coder-1.5b-q8_0.gguf"
    assert parse_source("owner/name:file.gguf") == Source("owner/name", "file.gguf")
    assert parse_source("owner/name") == Source("owner/name")
