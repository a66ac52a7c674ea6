"""Does an exported base mean the same to llama.cpp, to transformers and to the tokenizer?

Invariant: a base that passes gets equal token ids from all three on a text full of difficult
places. Starts a real engine; trains nothing.
"""

from __future__ import annotations

from pathlib import Path

from neuralforge_adapters.base import open_base
from neuralforge_adapters.home import Home
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import CompleteRequest, EngineInfo
from neuralforge_trainer.errors import ExportError
from neuralforge_trainer.learn.vocabulary import load_vocabulary
from neuralforge_trainer.pretrain.tokenizer import Tokenizer

PROBE = (
    "def f(x):\n    return x['naïve'] + 1234567  # don't, we'll, I'M\r\n\r\n\t\tif (a&&b){}\n"
    '   \n\n  x = "日本語 — ß" ;;;\n<|fim_prefix|> __init__ camelCaseName SCREAMING_SNAKE\n'
    "α_β = {'a': [1, 2.5e-3]}\n      \n\n\n#------------------\n👩‍💻 \u00a0 end"
)


def check_export(path: Path, tokenizer: Tokenizer, home: Home) -> EngineInfo:
    """Load the file as serving and training do; returns what the engine says of it.

    Raises:
        ExportError: token ids differ somewhere.
        BaseFileError: llama.cpp cannot read it.
        BaseNotTrainableError: transformers cannot read it.
    """
    base = open_base(path, home)
    expected = tokenizer.encode(PROBE)
    _compare("llama.cpp", _llama_ids(path), expected)
    _compare("transformers", load_vocabulary(base, home).encode(PROBE), expected)
    with EngineClient(base) as engine:
        engine.complete(CompleteRequest("def add(a, b):\n    return a", "\n"))
        return engine.info


def _llama_ids(path: Path) -> list[int]:
    """The probe's ids by llama.cpp, from the file's vocabulary alone."""
    import llama_cpp

    from neuralforge_server.engine.vocabulary import Vocabulary

    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise ExportError(
            "llama.cpp cannot read the exported base, which is not kept; this is a fault of the "
            "export: report it"
        )
    try:
        return Vocabulary(llama_cpp.llama_model_get_vocab(model)).tokenize(PROBE)
    finally:
        llama_cpp.llama_model_free(model)


def _compare(reader: str, found: list[int], expected: list[int]) -> None:
    if found != expected:
        place = next(
            (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), -1
        )
        raise ExportError(
            f"{reader} reads other token ids from the exported base (first at {place}), which is "
            "not kept; this is a fault of the export: report it"
        )
