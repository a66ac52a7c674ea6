"""The indexes of a repository as its author's editor had them at a moment of the past.

Invariant: after `move`, context index, fast memory and `files` hold exactly the files of that
moment; nothing is read from a working tree. Knows no arm and no metric.
"""

from __future__ import annotations

from pathlib import Path

from neuralforge_adapters.base import Base
from neuralforge_adapters.fim import Window, split_lines
from neuralforge_adapters.home import Home
from neuralforge_server.context.index import ContextIndex
from neuralforge_server.context.places import context_file, memory_folder
from neuralforge_server.context.provider import ContextProvider
from neuralforge_server.engine.client import EngineClient
from neuralforge_server.engine.protocol import RememberRequest, Surroundings
from neuralforge_server.indexer.vocabulary import tokenizer
from neuralforge_server.memory.writer import MemoryWriter
from neuralforge_server.session.exclude import Exclusions
from neuralforge_trainer.evaluate.heldout import Item
from neuralforge_trainer.evaluate.moments import Moment

_CONTEXT_CHARS = 1200
"""Of snippets: what the engine shows of them in a context of 1,024 tokens."""


class Workspace:
    """One repository's files at a moment, with the indexes that serving would have of them."""

    def __init__(self, folder: Path, base: Base, name: str) -> None:
        """`folder` is empty and stays the caller's; `name` is the repository's for the base."""
        home, root = Home(folder / "home", "default"), folder / name
        root.mkdir()
        place = memory_folder(home, base.digest, root)
        self.memory_folder = str(place.parent)
        """What the engine is told to read."""
        self.files: dict[str, str] = {}
        """Text of every file, by path; the last one changed last."""
        self._memory = MemoryWriter(place, tokenizer(base.path))
        self._context = ContextIndex(context_file(home, root))
        self._home, self._root = home, root
        self._provider = ContextProvider(home, root, Exclusions())
        self._open = ""

    def move(self, moment: Moment) -> None:
        """Take in what has changed on disk since the moment before."""
        for path, text in moment.changed.items():
            self.files.pop(path, None)
            if text is None:
                self._memory.remove(path)
                self._context.remove(path)
            else:
                self.files[path] = text
                self._memory.put(path, text)
                self._context.put(path, text)
        self._memory.commit()
        self._context.commit()

    def around(self, item: Item) -> Surroundings:
        """The context that serving would show at an item's cursor."""
        text, line = item.prefix + item.suffix, item.prefix.count("\n")
        self._provider.edited(item.path, text, line)
        shown = "".join(Window().cut_text(item.prefix, item.suffix))
        return self._provider.around(item.path, split_lines(text), line, shown, _CONTEXT_CHARS)

    def restart(self, engine: EngineClient) -> None:
        """As a new session begins: no file is open, and no edit is remembered."""
        if self._open:
            engine.remember(RememberRequest(self._open, ""))
        self._open = ""
        self._provider.close()
        self._provider = ContextProvider(self._home, self._root, Exclusions())

    def open(self, engine: EngineClient, item: Item) -> None:
        """Let the engine know the file that is edited, without the line that is asked for."""
        if self._open not in ("", item.path):
            engine.remember(RememberRequest(self._open, ""))
            self._provider.closed(self._open)
        self._open = item.path
        engine.remember(RememberRequest(item.path, item.prefix + item.suffix))

    def close(self) -> None:
        """Let go of the files."""
        self._provider.close()
        self._context.close()
