"""The tokenizer: byte-level BPE, cut and marked exactly as Qwen2.5-Coder's.

Invariant: ids equal those that llama.cpp computes from the exported file; a special token
spelled out in a text stays text. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from neuralforge_adapters.home import write_atomic
from neuralforge_trainer.errors import PretrainError
from neuralforge_trainer.pretrain.clean import Document
from neuralforge_trainer.pretrain.config import RunConfig
from neuralforge_trainer.pretrain.corpus import read_corpus

SPECIAL = (
    "<|endoftext|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""Qwen2.5-Coder's, in its order; they are the last ids of the vocabulary."""

_QWEN2 = (  # the pattern that llama.cpp knows as the pre-tokenizer `qwen2`
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SAMPLE_BYTES = 80_000_000
"""As much text as shows which pairs are frequent; more only takes longer."""


class Tokenizer:
    """A trained tokenizer, with the ids of its special tokens by name."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        inner.encode_special_tokens = True
        self.size: int = inner.get_vocab_size()
        self.end, self.prefix, self.middle, self.suffix, self.pad, self.repository, self.file = (
            inner.token_to_id(name) for name in SPECIAL
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""
        ids: list[int] = self._inner.encode(text, add_special_tokens=False).ids
        return ids

    def tokens(self) -> list[str]:
        """Every token in the order of ids, bytes spelled as GPT-2 spells them."""
        return [self._inner.id_to_token(i) for i in range(self.size)]

    def save(self, path: Path) -> None:
        """Write it in the format of the `tokenizers` library."""
        write_atomic(path, self._inner.to_str())

    def merges(self) -> list[tuple[str, str]]:
        """The merges in the order in which they were learned."""
        import json

        merges = json.loads(self._inner.to_str())["model"]["merges"]
        return [(first, second) for first, second in merges]


def tokenizer_file(config: RunConfig) -> Path:
    """Where the trained tokenizer lies (the format of the `tokenizers` library)."""
    return config.data_folder / "tokenizer.json"


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in `path`.

    Raises:
        PretrainError: it was not trained yet.
    """
    from tokenizers import Tokenizer as Inner

    if not path.is_file():
        raise PretrainError(f"{path} is not there yet; run the stage `tokenizer` first")
    return Tokenizer(Inner.from_file(str(path)))


def train_tokenizer(config: RunConfig) -> Tokenizer:
    """Train on a sample of the corpus in the proportions of the mix, and keep the result.

    Raises:
        PretrainError: the corpus is too small, or a checkpoint needs the tokenizer that is there.
    """
    from tokenizers import trainers

    inner = make_empty()
    trainer = trainers.BpeTrainer(
        vocab_size=config.model.vocabulary - len(SPECIAL),
        initial_alphabet=_alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(_sample(config), trainer)
    missing = config.model.vocabulary - len(SPECIAL) - inner.get_vocab_size()
    if missing > 0:
        raise PretrainError(
            f"the corpus is too small for a vocabulary of {config.model.vocabulary}: "
            f"{missing} tokens are missing; add text or lower model.vocabulary"
        )
    inner.add_special_tokens(list(SPECIAL))
    tokenizer, file = Tokenizer(inner), tokenizer_file(config)
    if file.is_file() and any(config.folder.glob("*/checkpoint-*")):
        before = load_tokenizer(file)
        if (before.tokens(), before.merges()) != (tokenizer.tokens(), tokenizer.merges()):
            raise PretrainError(
                f"another tokenizer would come out than {file}, which the checkpoints in "
                f"{config.folder} were trained with; it stays. Delete the checkpoints to begin anew"
            )
    tokenizer.save(file)
    return tokenizer


def make_tokenizer(tokens: Sequence[str], merges: Sequence[tuple[str, str]]) -> Tokenizer:
    """A trained tokenizer made again from its tokens, the special ones last, and its merges."""
    ordinary = tokens[: -len(SPECIAL)]
    inner = make_empty({token: i for i, token in enumerate(ordinary)}, list(merges))
    inner.add_special_tokens(list(SPECIAL))
    return Tokenizer(inner)


def make_empty(
    vocabulary: dict[str, int] | None = None, merges: list[tuple[str, str]] | None = None
) -> Any:
    """The Qwen2 pre-tokenizer, no normalisation, as in llama.cpp; untrained if nothing is given."""
    from tokenizers import Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Inner

    inner = Inner(models.BPE(vocabulary, merges))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    return inner


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _sample(config: RunConfig) -> Iterator[str]:
    """Documents until each language has its share of the sample, spread over the corpus."""
    sizes: dict[str, int] = dict.fromkeys(config.corpus.mix, 0)
    for document in read_corpus(config):
        sizes[document.language] += len(document.text)
    room = {name: _SAMPLE_BYTES * share for name, share in config.corpus.mix.items()}
    stride = {name: max(1.0, size / max(1.0, room[name])) for name, size in sizes.items()}
    due: dict[str, float] = dict.fromkeys(sizes, 0.0)
    for document in read_corpus(config):
        if _is_due(document, due, stride):
            yield document.text


def _is_due(document: Document, due: dict[str, float], stride: dict[str, float]) -> bool:
    """Every `stride`-th character of a language, by whole documents."""
    due[document.language] += len(document.text)
    if due[document.language] < 0:
        return False
    due[document.language] -= len(document.text) * stride[document.language]
    return True
