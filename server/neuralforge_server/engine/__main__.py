"""Starts the engine process; where llama.cpp cannot even be loaded, its status says so."""

from __future__ import annotations

import sys

from neuralforge_server.engine.ending import UNLOADABLE


def main() -> None:
    """Run the engine, if there is what it computes with."""
    try:
        from neuralforge_server.engine import child
    except (ImportError, OSError, RuntimeError) as error:  # all three are llama-cpp-python's
        sys.stderr.write(f"neuralforge: llama.cpp cannot be loaded: {error}\n")
        sys.exit(UNLOADABLE)
    child.main()


if __name__ == "__main__":
    main()
