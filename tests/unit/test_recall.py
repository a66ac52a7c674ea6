"""The fast memory as a generation sees it: what is mixed in, drafted, forgotten, kept out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralforge_server.engine.recall import Recall
from neuralforge_server.memory.blend import mixed, weigh
from neuralforge_server.memory.evidence import LENGTHS, Level
from neuralforge_server.memory.writer import MemoryWriter

SIZE = 256
FLAT = np.zeros(SIZE, dtype=np.float32)


class Bytes:
    """A vocabulary whose tokens are bytes."""

    size = SIZE

    def __init__(self) -> None:
        self.tokenized: list[str] = []

    def tokenize(self, text: str) -> list[int]:
        self.tokenized.append(text)
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return bytes([token])


def stand(recall: Recall, left: str, right: str = "") -> None:
    recall.start(list(left.encode()), list(right.encode()))


def probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64))
    return np.asarray(powers / powers.sum())


def likeliest(recall: Recall, scale: float = 1.0) -> str:
    return chr(int(np.argmax(recall.mix(FLAT, scale))))


def drafted(recall: Recall, limit: int = 40) -> str:
    return bytes(recall.draft(limit)).decode()


def index(folder: Path, repository: str = "r", **texts: str) -> MemoryWriter:
    writer = MemoryWriter(folder / repository, Bytes().tokenize)
    for path, text in texts.items():
        writer.put(path, text)
    writer.commit()
    return writer


def test_a_saved_line_counts_at_the_next_request_and_a_forgotten_one_no_more(
    tmp_path: Path,
) -> None:
    recall = Recall(tmp_path, Bytes())
    stand(recall, "self.frob")
    assert recall.mix(FLAT, 1.0) is FLAT and recall.draft(8) == []
    writer = index(tmp_path, a="x = self.frobnicate(y)\n")
    stand(recall, "self.frob")
    assert likeliest(recall) == "n"
    assert drafted(recall) == "nicate(y)\n"
    writer.forget()
    stand(recall, "self.frob")
    assert recall.mix(FLAT, 1.0) is FLAT and recall.draft(8) == []


def test_an_open_document_counts_unsaved_and_is_forgotten_when_empty() -> None:
    recall = Recall(None, Bytes())
    recall.remember("a", "x = self.frobnicate(y)\n")
    stand(recall, "self.frob")
    assert (likeliest(recall), drafted(recall, 3)) == ("n", "nic")
    recall.remember("a", "x = self.frobbed\n")
    stand(recall, "self.frob")
    assert likeliest(recall) == "b"
    recall.remember("a", "")
    stand(recall, "self.frob")
    assert recall.mix(FLAT, 1.0) is FLAT


def test_the_prompt_itself_is_a_source_and_so_is_what_was_generated() -> None:
    recall = Recall(None, Bytes())
    stand(recall, "alpha beta gamma alp")
    assert drafted(recall, 7) == "ha beta"
    for token in b"ine beta delta alpi":
        recall.extend(token)
    assert drafted(recall, 3) == "ne "


def test_the_scale_is_that_of_the_memory_and_zero_is_off(tmp_path: Path) -> None:
    index(tmp_path, a="self.frobnicate")
    recall = Recall(tmp_path, Bytes())
    stand(recall, "self.frob")
    assert recall.mix(FLAT, 0.0) is FLAT
    shares = [probabilities(recall.mix(FLAT, scale))[ord("n")] for scale in (0.01, 0.5, 1.0, 9.0)]
    assert shares == sorted(shares) and shares[0] < 0.05 and 0.5 < shares[2] < shares[3] < 1


def test_a_longer_match_is_trusted_more(tmp_path: Path) -> None:
    index(tmp_path, a="abcdefghijklmnopq!", b="q?q?q?q?q?")
    recall = Recall(tmp_path, Bytes())
    stand(recall, "abcdefghijklmnopq")
    assert likeliest(recall) == "!"
    stand(recall, " q")
    assert likeliest(recall) == "?"


LEVELS = st.lists(
    st.builds(
        lambda length, tokens, more: Level(length, np.array(tokens), len(tokens) * more),
        st.sampled_from(LENGTHS),
        st.lists(st.integers(0, 9), min_size=1, max_size=6),
        st.sampled_from([1.0, 7.5]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=80, deadline=None)
@given(stored=LEVELS, near=LEVELS, scale=st.floats(0.05, 3.0))
def test_the_mixture_is_a_distribution_between_model_and_memory(
    stored: list[Level], near: list[Level], scale: float
) -> None:
    logits = np.random.default_rng(0).normal(size=12).astype(np.float32) * 3
    before = logits.copy()
    evidence = weigh(stored, near, vocabulary=12)
    assert evidence is not None
    expected = probabilities(logits)
    for share, trust in zip(evidence.shares, evidence.trusts, strict=True):
        part = min(scale * trust, 0.999)
        expected = (1 - part) * expected
        expected[evidence.tokens] += part * share
    assert np.allclose(probabilities(mixed(logits, evidence, scale)), expected, atol=1e-5)
    assert (logits == before).all()


def test_a_healed_words_constraint_leaves_the_odds_as_they_are(tmp_path: Path) -> None:
    """The engine masks what does not fit: the memory must have said all that may follow."""
    index(tmp_path, a="get(alpha) get(alpha) get(beta)")
    recall = Recall(tmp_path, Bytes())
    stand(recall, "get(")
    logits = recall.mix(FLAT, 1.0)
    fitting = [ord("b"), ord("c")]
    assert fitting[int(np.argmax(logits[fitting]))] == ord("b")


@pytest.mark.parametrize("saved", ["    value = sel", "    value = self.al", "    value = "])
def test_the_line_being_typed_is_no_evidence_against_its_own_end(
    tmp_path: Path, saved: str
) -> None:
    above = "def first(it):\n    return self.alpha\n\n\ndef second(it):\n"
    below = "\n    return value\n\n\ndef third(it):\n    pass\n"
    index(tmp_path, a=above + saved + below)
    recall = Recall(tmp_path, Bytes())
    left = above + "    value = self"
    recall.remember("a", left + below)
    stand(recall, left, below)
    assert likeliest(recall) == "."
    assert drafted(recall, 6) == ".alpha"
    stand(recall, left)  # without the text on the right, it would say that the line ends here
    assert likeliest(recall) != "." or drafted(recall, 6) != ".alpha"


@pytest.mark.parametrize("end", ["", "\n"])
def test_nor_is_it_in_a_document_that_is_only_begun(end: str) -> None:
    recall = Recall(None, Bytes())
    recall.remember("b", "from x import say\nsay(x)\nshout(x)\n")
    recall.remember("a", f"say(1)\nzu{end}")
    stand(recall, "say(1)\n", end)  # what is healed, «zu», is not part of the context
    assert likeliest(recall) != "z"
    assert drafted(recall, 4) == ""


def test_going_on_token_by_token_is_like_standing_there(tmp_path: Path) -> None:
    index(tmp_path, a="one two three four two three five")
    recall, fresh = Recall(tmp_path, Bytes()), Recall(tmp_path, Bytes())
    text = "one two three f"
    stand(recall, text[:2])
    for end in range(3, len(text) + 1):
        recall.extend(ord(text[end - 1]))
        stand(fresh, text[:end])
        assert (recall.mix(FLAT, 1.0) == fresh.mix(FLAT, 1.0)).all()
        assert recall.draft(5) == fresh.draft(5)


def test_a_change_of_an_open_document_tokenises_only_new_lines() -> None:
    vocabulary = Bytes()
    recall = Recall(None, vocabulary)
    recall.remember("a", "one\n\ntwo\nthree\n")
    vocabulary.tokenized.clear()
    recall.remember("a", "one\n\ntwo!\nthree\n")
    assert vocabulary.tokenized == ["two!\n"]


def test_the_documents_changed_last_are_kept_when_there_are_too_many() -> None:
    recall = Recall(None, Bytes())
    recall.remember("old", "alpha=beta " + "x" * 75_000)
    recall.remember("new", "gamma=delta " + "y" * 75_000)
    stand(recall, "alpha")
    assert recall.draft(4) == []
    stand(recall, "gamma")
    assert drafted(recall, 5) == "=delt"


def test_a_huge_document_is_no_source_and_costs_no_tokenising() -> None:
    vocabulary = Bytes()
    recall = Recall(None, vocabulary)
    recall.remember("a", "text " * 1_000_000)
    assert vocabulary.tokenized == []


def test_all_repositories_count_and_the_one_written_last_is_never_left_out(
    tmp_path: Path,
) -> None:
    for number in range(12):
        index(tmp_path, f"r{number}", a=f"name{number}=value")
        recall = Recall(tmp_path, Bytes())
        stand(recall, f"name{number}")
        assert drafted(recall, 6) == "=value"
    stand(recall, "name8")
    assert drafted(recall, 6) == "=value"


def test_a_small_vocabulary_is_never_given_tokens_that_it_lacks(tmp_path: Path) -> None:
    index(tmp_path, a="abc\u00e9")
    vocabulary = Bytes()
    vocabulary.size = 128
    recall = Recall(tmp_path, vocabulary)
    stand(recall, "abc")
    logits = np.zeros(128, dtype=np.float32)
    assert len(recall.mix(logits, 1.0)) == 128
    assert recall.draft(4) == []
