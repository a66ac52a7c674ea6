"""`python -P -m neuralforge_trainer.learn.trainable BASE`: can that base be trained here?

Prints one JSON object, `{"reason": …}`: why not, or empty. Reads the file's head and tokenizer,
never its weights, so that nobody waits for a dequantised model to be told no.
Invariant: what it lets through, `load_vocabulary` and transformers' GGUF reader accept; memory
is judged by whoever asks. Knows no samples.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from neuralforge_adapters.base import Base, open_base
from neuralforge_adapters.errors import NeuralForgeError
from neuralforge_adapters.gguf_header import read_gguf_header
from neuralforge_adapters.home import Home
from neuralforge_trainer.learn.libraries import tame_libraries
from neuralforge_trainer.learn.vocabulary import load_vocabulary


def why_not(base: Base, home: Home) -> str:
    """Why `base` cannot be trained; empty where nothing speaks against it."""
    tame_libraries()
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    architecture = read_gguf_header(base.path).metadata.get("general.architecture")
    if architecture not in GGUF_SUPPORTED_ARCHITECTURES:
        return f"the installed transformers does not read the architecture {architecture} from GGUF"
    try:
        load_vocabulary(base, home)
    except NeuralForgeError as error:
        return str(error)
    return ""


def main() -> None:
    """Answer for the base on the command line."""
    home = Home.find()
    print(json.dumps({"reason": why_not(open_base(Path(sys.argv[1]), home), home)}))  # noqa: T201


if __name__ == "__main__":
    main()
