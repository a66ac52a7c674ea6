"""`python -P -m neuralforge_server.engine.tokens BASE`: how llama.cpp splits texts into tokens.

A JSON list of texts on stdin, a JSON list of lists of ids on stdout; the vocabulary alone is
loaded. A process of its own, since a malformed GGUF may abort llama.cpp. Knows no weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from neuralforge_adapters.errors import BaseFileError


def tokenize(base: Path, texts: Sequence[str]) -> list[list[int]]:
    """The ids that llama.cpp gives `texts`; special tokens spelled out in them stay text.

    Raises:
        BaseFileError: llama.cpp cannot read the file's vocabulary.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "neuralforge_server.engine.tokens", str(base)],
        input=json.dumps(list(texts)),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}"
        raise BaseFileError(f"llama.cpp cannot read the vocabulary of {base}: {last}")
    ids: list[list[int]] = json.loads(done.stdout)
    return ids


def main() -> None:
    """Answer one list of texts."""
    import llama_cpp

    from neuralforge_server.engine.vocabulary import Vocabulary

    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(sys.argv[1].encode(), parameters)
    if not model:
        sys.exit("it is damaged or of an unknown kind")
    vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(model))
    texts = json.load(sys.stdin)
    json.dump([vocabulary.tokenize(text) for text in texts], sys.stdout)


if __name__ == "__main__":
    main()
