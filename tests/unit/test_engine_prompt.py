"""What the base is shown: surroundings in its repository format, in a budget, with a still head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import pytest

from gguf_maker import make_base
from neuralforge_adapters.base import embedded_base
from neuralforge_adapters.fim import Window, heal, layout
from neuralforge_server.engine.prompt import Prompts
from neuralforge_server.engine.protocol import Snippet, Surroundings
from neuralforge_server.engine.vocabulary import Vocabulary

CONTEXT = 768
KEPT, SUFFIX = "def load(path):\n    return ", "\n\ndef save(path):\n    pass\n"
HELPER = Snippet("app/helper.py", "def helper(name):\n    return name.strip()\n")
OTHER = Snippet("app/other.py", "def other(name):\n    return name.lower()")
AROUND = Surroundings("app", "app/main.py", (HELPER, OTHER))
NOTHING = Surroundings()


def vocabulary_of(path: Path) -> Vocabulary:
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    return Vocabulary(llama_cpp.llama_model_get_vocab(model))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return vocabulary_of(embedded_base())


@pytest.fixture
def prompts(vocabulary: Vocabulary) -> Prompts:
    return Prompts(vocabulary, "suffix-first", CONTEXT)


def test_with_nothing_around_it_is_the_layout_of_the_window_alone(
    vocabulary: Vocabulary, prompts: Prompts
) -> None:
    wanted = layout(
        "suffix-first", vocabulary.fim, vocabulary.tokenize(KEPT), vocabulary.tokenize(SUFFIX)
    )
    assert prompts.make(KEPT, SUFFIX, NOTHING, 32).tokens == wanted


def test_surroundings_stand_in_front_as_the_base_was_trained(
    vocabulary: Vocabulary, prompts: Prompts
) -> None:
    repository, file = vocabulary.repository_name, vocabulary.file_separator
    assert repository is not None and file is not None
    text = vocabulary.tokenize
    front = [
        repository, *text("app\n"),
        file, *text("app/other.py\ndef other(name):\n    return name.lower()\n"),
        file, *text("app/helper.py\ndef helper(name):\n    return name.strip()\n"),
        file, *text("app/main.py\n"),
    ]  # fmt: skip
    alone = prompts.make(KEPT, SUFFIX, NOTHING, 32).tokens
    assert prompts.make(KEPT, SUFFIX, AROUND, 32).tokens == [*front, *alone]


def test_the_memory_reads_surroundings_suffix_and_prefix_in_this_order(
    vocabulary: Vocabulary, prompts: Prompts
) -> None:
    prompt = prompts.make(KEPT, SUFFIX, AROUND, 32)
    before, after = vocabulary.tokenize(KEPT), vocabulary.tokenize(SUFFIX)
    assert prompt.left[-len(before) - len(after) :] == [*after, *before]
    assert list(prompt.right) == after


def lines(count: int, name: str) -> str:
    return "".join(f"{name}_{n} = compute({n})\n" for n in range(count))


def test_snippets_take_no_more_than_their_share_and_the_best_come_first(
    vocabulary: Vocabulary, prompts: Prompts
) -> None:
    many = tuple(Snippet(f"s{n}.py", lines(12, f"value{n}")) for n in range(9))
    alone = prompts.make(KEPT, SUFFIX, NOTHING, 32).tokens
    around = prompts.make(KEPT, SUFFIX, Surroundings("r", "own.py", many), 32).tokens
    front = around[: -len(alone)]
    assert around[-len(alone) :] == alone
    assert 0.3 * CONTEXT < len(front) <= 0.4 * CONTEXT
    text = spelled(vocabulary, front)
    assert "s0.py" in text and "s8.py" not in text
    assert text.index("s1.py") < text.index("s0.py"), "the best stands nearest the cursor"


def test_a_snippet_that_does_not_fit_is_cut_at_a_line_end(
    vocabulary: Vocabulary, prompts: Prompts
) -> None:
    long = Surroundings("r", "own.py", (Snippet("long.py", lines(400, "value")),))
    text = spelled(vocabulary, prompts.make(KEPT, SUFFIX, long, 32).tokens)
    shown = text.split("long.py\n")[1].split("own.py")[0]
    assert 5 < shown.count("\n") < 100
    assert lines(400, "value").startswith(shown) and shown.endswith("\n")


@pytest.mark.parametrize("reserve", [0, 24, 200, 700])
def test_whatever_is_around_the_prompt_leaves_room_for_what_is_generated(
    prompts: Prompts, reserve: int
) -> None:
    huge = Surroundings("r" * 900, "p" * 900, (Snippet("s" * 900, lines(900, "v")),))
    for around in (huge, AROUND, NOTHING):
        prompt = prompts.make(lines(900, "a"), lines(900, "b"), around, reserve)
        assert 0 < len(prompt.tokens) <= CONTEXT - min(reserve, CONTEXT - 20)


def test_the_head_stays_the_same_while_a_long_file_is_typed(prompts: Prompts) -> None:
    """What a keystroke changes is the end of the prompt, but for one step in many keystrokes."""
    source = Path(json.__file__).read_text("utf-8")
    window = Window(prefix_chars=3000)
    around = Surroundings("app", "main.py", (Snippet("s.py", lines(30, "v")),))
    before: Sequence[int] = []
    moved = 0
    cuts = range(6000, 6300)
    for cut in cuts:
        prefix, _ = window.cut_text(source[:cut], "")
        tokens = prompts.make(heal(prefix)[0], SUFFIX, around, 32).tokens
        same = next(
            (i for i, (a, b) in enumerate(zip(before, tokens, strict=False)) if a != b),
            min(len(before), len(tokens)),
        )
        moved += same < len(before) - 12
        before = tokens
    assert moved <= 6


def test_a_request_for_more_tokens_shares_the_head(prompts: Prompts) -> None:
    one = prompts.make(lines(200, "a"), SUFFIX, AROUND, 16).tokens
    block = prompts.make(lines(200, "a"), SUFFIX, AROUND, 90).tokens
    assert one == block


def test_texts_are_tokenised_by_lines_exactly_as_at_once(
    vocabulary: Vocabulary, prompts: Prompts
) -> None:
    texts = [
        "\n\n  a\n",
        "a\r\n\r\n\tb\r\n",
        "x = 1  \n   \n\n y",
        "名前\n\n日本\n",
        "",
        "\r",
        " \n ",
    ]
    source = Path(json.__file__).read_text("utf-8")
    for text in [*texts, *(source[n : n + 700] for n in range(0, 9000, 331))]:
        assert prompts._tokenize(text) == vocabulary.tokenize(text)


def test_a_base_without_tokens_for_files_gets_snippets_as_plain_text(tmp_path: Path) -> None:
    path = make_base(tmp_path / "plain.gguf", layers=1, width=32, heads=2, kv_heads=1, hidden=64,
                     vocabulary=12288, fim=False)  # fmt: skip
    vocabulary = vocabulary_of(path)
    assert vocabulary.file_separator is None
    prompts = Prompts(vocabulary, "left-to-right", CONTEXT)
    text = spelled(vocabulary, prompts.make(KEPT, SUFFIX, AROUND, 32).tokens)
    assert text.count("\n\n--- snippet ---\n\n") == 2
    assert text.index("app/other.py\n") < text.index("app/helper.py\n") < text.index("def load")


def spelled(vocabulary: Vocabulary, tokens: Sequence[int]) -> str:
    return b"".join(vocabulary.piece(token) for token in tokens).decode()
